"""Cases x seeds -> synthesizer -> files: batched, resumable, sharded over processes, independent of order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_diffaug.generation import manifest
from monai_diffaug.generation.cases import CaseList
from monai_diffaug.generation.files import atomic_write
from monai_diffaug.generation.gallery import write_gallery
from monai_diffaug.generation.inputs import CheckedCases, LoadedCase, check_cases, load_case
from monai_diffaug.generation.order import Order, PlannedSample
from monai_diffaug.generation.report import RunSummary, summarise
from monai_diffaug.generation.runfile import check_output, claim_output, describe_run
from monai_diffaug.generation.shards import Shard, joined
from monai_diffaug.generation.writer import SampleWriter, manifest_line
from monai_diffaug.synthesis import AbnormalitySynthesizer, NoRoomError, SynthesisResult
from monai_diffaug.synthesis.provenance import versions


class OfflineGenerator:
    """Make a set of synthetic images in a folder.

    A sample exists once its manifest line is on the disk; what was killed before that is made again by ``resume``,
    with the same bytes. The result does not depend on order, resume or number of processes.

    Args:
        synthesizer: paints and validates, at its fixed batch shape.
        order: what is asked for.
        about: what the run's report says of the bundle (``bundle.describe``).
        audit: write refused samples below ``rejected/`` too.
        resume: go on with an interrupted run of the same order.
        progress: show progress bars on standard error.
    """

    def __init__(
        self,
        synthesizer: AbnormalitySynthesizer,
        order: Order,
        about: Mapping[str, Any],
        *,
        audit: bool = False,
        resume: bool = False,
        progress: bool = True,
    ) -> None:
        self.synthesizer, self.order, self.about = synthesizer, order, dict(about)
        self.audit, self.resume, self.progress = audit, resume, progress

    def check(self, found: CaseList) -> CheckedCases:
        """Read every input once; see ``check_cases``."""
        bar = lambda cases: tqdm(cases, "checking inputs", unit="case", disable=not self.progress, leave=False)  # noqa: E731
        skip = self.order.on_existing == "skip"
        return check_cases(found, self.synthesizer, skip_existing=skip, watch=bar)

    def __call__(self, found: CaseList, output: Path) -> RunSummary:
        """Make the samples.

        Args:
            found: the cases, from ``find_cases``.
            output: folder to write; empty or new, unless resuming.

        Raises:
            ValueError: when no input is usable, or the output folder cannot be used.
            OSError: when writing fails; what was finished before stays.
        """
        with joined() as shard:
            if shard.first:
                check_output(output, resume=self.resume)
            cases = self.check(found)
            if not cases.usable:
                return _nothing(cases)
            samples = self.order.plan(cases.usable)
            if shard.first:
                claim_output(output, describe_run(self, found, cases, samples, output), resume=self.resume)
            shard.wait()
            done = manifest.recover(output) if self.resume else {}
            shard.wait()  # nobody appends while another still reads
            rate = self._make([sample for sample in samples if sample.id not in done], cases, output, shard)
            shard.wait()
            if shard.first:
                self._finish(output, samples, found)
            shard.wait()
            recorded = self.about.get("recorded_rate")
            lines = manifest.read(output / manifest.NAME)
            return summarise(lines, cases.bad, notes=cases.notes, rate=rate, recorded_rate=recorded)

    def _make(self, samples: list[PlannedSample], cases: CheckedCases, output: Path, shard: Shard) -> float | None:
        """Make this process's share; return accepted samples a second."""
        share = samples[shard.rank :: shard.world_size]
        writer = SampleWriter(output, binary_labels=cases.binary_labels, audit=self.audit)
        part = output / manifest.part_name(shard.rank, shard.world_size)
        accepted, tried, start = 0, 0, time.perf_counter()
        with tqdm(total=len(share), desc="synthesizing", unit="sample", disable=not self.progress) as bar:
            for sample, loaded, result in self._results(share):
                if result is None:
                    line = self._no_room(sample, cases.digests[sample.case.id], loaded)
                else:
                    line = writer.write(sample, cases.digests[sample.case.id], loaded, result)
                manifest.append(part, line)
                accepted += line["accepted"]
                tried += 1
                bar.set_postfix_str(f"{100 * accepted / tried:.0f} % accepted", refresh=False)
                bar.update()
        return accepted / (time.perf_counter() - start) if share else None

    def _results(
        self, samples: Sequence[PlannedSample]
    ) -> Iterable[tuple[PlannedSample, LoadedCase, SynthesisResult | None]]:
        """Yield results in planned order; larger batches look ahead so that retries find company."""
        size = self.synthesizer.renderer.batch_size
        step = 1 if size == 1 else 4 * size
        loaded: LoadedCase | None = None
        for start in range(0, len(samples), step):
            chunk = []
            for sample in samples[start : start + step]:
                if loaded is None or loaded.case != sample.case:
                    loaded = load_case(sample.case, self.synthesizer)
                chunk.append((sample, loaded))
            yield from self._synthesize(chunk)

    def _synthesize(
        self, chunk: list[tuple[PlannedSample, LoadedCase]]
    ) -> list[tuple[PlannedSample, LoadedCase, SynthesisResult | None]]:
        requests = [case.request(sample.seed, self.order.prompt, self.order.abnormality) for sample, case in chunk]
        try:
            results: list[SynthesisResult | None] = list(self.synthesizer.batch(requests, audit=self.audit))
        except NoRoomError:
            if len(chunk) == 1:
                return [(*chunk[0], None)]
            return [made for one in chunk for made in self._synthesize([one])]
        return [(*pair, result) for pair, result in zip(chunk, results, strict=True)]

    def _finish(self, output: Path, samples: Sequence[PlannedSample], found: CaseList) -> None:
        lines = manifest.finish(output, [sample.id for sample in samples])
        listed = json.dumps(manifest.datalist(lines, found.passthrough), indent=2, ensure_ascii=False)
        atomic_write(output / "datalist.json", listed.encode())
        write_gallery(output)

    def _no_room(self, sample: PlannedSample, digest: str, loaded: LoadedCase) -> dict[str, Any]:
        """Return the line of a sample for whose drawn size no place was found."""
        reasons = {"reasons": ["no room"], "stopped_early": True}
        record = {
            "seed": sample.seed,
            "accepted": False,
            "prompt": self.order.prompt or "",
            "iou": 0.0,
            "attempts": [{"seed": sample.seed, "iou": 0.0, "accepted": False, **reasons}],
            "abnormalities": [],
            "unit": "pixels" if loaded.stored.spacing is None else "mm",
            "batch_size": self.synthesizer.renderer.batch_size,
            "weights": dict(self.synthesizer.weights),
            "versions": versions(),
        }
        return manifest_line(sample, digest, record, dict.fromkeys(("image", "mask", "label", "prediction")))


def _nothing(cases: CheckedCases) -> RunSummary:
    """Return the summary of a run without any usable image."""
    if not cases.bad:
        raise ValueError("every image has a lesion already and was left out as asked, so there is nothing to make")
    return summarise([], cases.bad, notes=cases.notes)
