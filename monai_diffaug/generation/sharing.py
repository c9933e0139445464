"""One run, shared between processes: claim its folder, tell each process what to make, put the manifest in order."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_diffaug.generation import manifest
from monai_diffaug.generation.files import atomic_write
from monai_diffaug.generation.order import PlannedSample
from monai_diffaug.generation.runfile import claim_output
from monai_diffaug.generation.shards import Shard


def begin(
    output: Path, run: Mapping[str, Any], samples: Sequence[PlannedSample], shard: Shard, *, resume: bool
) -> list[PlannedSample]:
    """Claim the output folder and return this process's share of what is not there yet.

    Args:
        output: the run's folder.
        run: content of its ``run.json``.
        samples: all that are planned.
        shard: this process.
        resume: go on with a run that was begun.

    Raises:
        ValueError: when the folder was made by another run.
    """
    if shard.first:
        claim_output(output, run, resume=resume)
    shard.wait()
    done = manifest.recover(output) if resume else {}
    shard.wait()  # nobody appends while another still reads
    return [sample for sample in samples if sample.id not in done][shard.rank :: shard.world_size]


def end(
    output: Path, samples: Sequence[PlannedSample], shard: Shard, passthrough: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Wait for all processes, write manifest and datalist in planned order, and return the manifest's lines.

    Args:
        output, samples, shard: as for ``begin``.
        passthrough: other splits of a given datalist.
    """
    shard.wait()
    if shard.first:
        lines = manifest.finish(output, [sample.id for sample in samples])
        listed = json.dumps(manifest.datalist(lines, passthrough), indent=2, ensure_ascii=False)
        atomic_write(output / "datalist.json", listed.encode())
    shard.wait()
    return manifest.read(output / manifest.NAME)
