"""``run.json``: what a run is, so that it can be resumed, replayed and judged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_diffaug.generation.cases import CaseList
from monai_diffaug.generation.files import atomic_write
from monai_diffaug.generation.inputs import CheckedCases
from monai_diffaug.generation.order import PlannedSample
from monai_diffaug.synthesis.provenance import environment, versions

if TYPE_CHECKING:
    from monai_diffaug.generation.offline import OfflineGenerator

NAME = "run.json"
# May differ between a run and its resumption; they are recorded, not compared.
_VOLATILE = ("environment", "versions")
_NEEDED = (
    *("bundle", "bundle_root", "preset", "variant", "prompts", "intensity_range", "batch_size"),
    *("images_root", "weights", "environment", "versions"),
)


def describe_run(
    generator: OfflineGenerator, found: CaseList, cases: CheckedCases, samples: Sequence[PlannedSample], output: Path
) -> dict[str, Any]:
    """Return the content of ``run.json``; paths are relative to ``output``."""
    synthesizer = generator.synthesizer
    about = dict(generator.about)
    if "bundle_root" in about:
        about["bundle_root"] = relative(Path(about["bundle_root"]), output)
    return {
        **about,
        "weights": dict(synthesizer.weights),
        "thresholds": synthesizer.renderer.gate.thresholds(),
        "max_attempts": synthesizer.planner.max_attempts,
        "intensity_range": list(synthesizer.images.intensity_range),
        "dtype": "float32",
        "batch_size": synthesizer.renderer.batch_size,
        "audit": generator.audit,
        "order": generator.order.to_json(),
        "count": len(samples),
        "images_root": relative(found.root, output),
        "inputs_sha256": cases.fingerprint,
        "bad_inputs": [list(one) for one in cases.bad],
        "notes": [list(one) for one in cases.notes],
        "environment": environment(synthesizer.renderer.device),
        "versions": versions(),
    }


def claim_output(output: Path, run: Mapping[str, Any], *, resume: bool) -> None:
    """Write ``run.json`` into a new folder, or make sure that a folder to resume is of the same run.

    Raises:
        ValueError: when the folder is not empty, or was made by another run.
    """
    begun = check_output(output, resume=resume)
    if begun:
        _compare(read_run(output), json.loads(json.dumps(run)), output)
    for left in output.rglob(".*.part"):
        left.unlink()
    if not begun:
        _make_folder(output)
        atomic_write(output / NAME, json.dumps(run, indent=2, ensure_ascii=False).encode())


def check_output(output: Path, *, resume: bool) -> bool:
    """Return whether a run was begun in a folder; it is cheap, so that nobody waits for what is refused.

    Raises:
        ValueError: when the folder is a file, is not empty and not to be resumed, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file; give a folder")
    # A process killed while it wrote the very first file leaves that file's part alone: still a new folder.
    there = sorted({path.name for path in output.iterdir()} - {f".{NAME}.part"}) if output.is_dir() else []
    if there and not resume:
        raise ValueError(f"output folder {output} is not empty ({there[0]} ...); give a new one, or --resume its run")
    if there and NAME not in there:
        raise ValueError(f"output folder {output} has no {NAME}, so it was not made by this tool; give a new folder")
    return bool(there)


def read_run(output: Path) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is broken.
    """
    path = output / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that generate has written")
    try:
        run = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}); the file was changed, make the run anew") from error
    missing = [key for key in _NEEDED if not isinstance(run, dict) or key not in run]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; the file was changed, make the run anew")
    return run


def relative(path: Path, start: Path) -> str:
    """Return ``path`` as seen from ``start``, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise ValueError(f"output folder {output} cannot be made ({error.strerror}); give another one") from error


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], output: Path) -> None:
    differing = [key for key in {**before, **now} if key not in _VOLATILE and before.get(key) != now.get(key)]
    if differing:
        key = differing[0]
        raise ValueError(
            f"output folder {output} was made by another run: {', '.join(differing)} differ "
            f"({key} was {before.get(key)!r}, now {now.get(key)!r}); "
            "resume with the same arguments or give a new folder"
        )
