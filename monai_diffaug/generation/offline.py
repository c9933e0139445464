"""Cases x seeds -> synthesizer -> files: batched, resumable, sharded over processes, independent of order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_diffaug.generation import manifest, sharing
from monai_diffaug.generation.cases import CaseList
from monai_diffaug.generation.gallery import write_gallery
from monai_diffaug.generation.inputs import CheckedCases, LoadedCase, check_cases, load_case
from monai_diffaug.generation.order import Order, PlannedSample
from monai_diffaug.generation.report import JUDGED, RunSummary, summarise
from monai_diffaug.generation.runfile import check_output, describe_run, refuse_nesting
from monai_diffaug.generation.shards import Shard, joined
from monai_diffaug.generation.writer import SampleWriter
from monai_diffaug.synthesis import AbnormalitySynthesizer, SynthesisRequest, SynthesisResult


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

    Raises:
        ValueError: when the order contradicts the misses that the synthesizer is aimed at.
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
        if synthesizer.targets is not None:
            asked = synthesizer.planner.asked_class(order.prompt, order.abnormality)
            synthesizer.targets.check_order(order.prompt, asked)
        self.synthesizer, self.order, self.about = synthesizer, order, dict(about)
        self.audit, self.resume, self.progress = audit, resume, progress

    def check(self, found: CaseList) -> CheckedCases:
        """Read every input once; see ``check_cases``."""
        bar = partial(tqdm, desc="checking inputs", unit="case", disable=not self.progress, leave=False)
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
        if found.searched:
            refuse_nesting(found.root, output)
        with joined() as shard:
            if shard.first:
                check_output(output, resume=self.resume)
            cases = self.check(found)
            if not cases.usable:
                return _nothing(cases)
            samples = self.order.plan(cases.usable)
            about = (self.synthesizer, self.order, self.about, found, cases, output)
            run = describe_run(*about, count=len(samples), audit=self.audit)
            rate = self._make(sharing.begin(output, run, samples, shard, resume=self.resume), cases, output, shard)
            lines = sharing.end(output, samples, shard, found.passthrough)
            if shard.first:
                write_gallery(output)
            shard.wait()
            recorded = self.about.get("recorded_rate")
            return summarise(lines, cases.bad, notes=cases.notes, rate=rate, recorded_rate=recorded)

    def _make(self, share: list[PlannedSample], cases: CheckedCases, output: Path, shard: Shard) -> float | None:
        """Make this process's share; return accepted samples a second, None where too few were made to tell."""
        writer = SampleWriter(output, binary_labels=cases.binary_labels, audit=self.audit)
        part = output / manifest.part_name(shard.rank, shard.world_size)
        accepted, tried, start = 0, 0, time.perf_counter()
        with tqdm(total=len(share), desc="synthesizing", unit="sample", disable=not self.progress) as bar:
            for sample, loaded, result in self._results(share):
                line = writer.write(sample, cases.digests[sample.case.id], loaded, result)
                manifest.append(part, line)
                accepted += line["accepted"]
                tried += 1
                bar.set_postfix_str(f"{100 * accepted / tried:.0f} % accepted", refresh=False)
                bar.update()
        return accepted / (time.perf_counter() - start) if len(share) >= JUDGED else None

    def _results(self, samples: Sequence[PlannedSample]) -> Iterator[tuple[PlannedSample, LoadedCase, SynthesisResult]]:
        """Yield results as they are finished; the manifest is put in planned order at the end."""
        held: dict[int, LoadedCase] = {}
        for index, result in self.synthesizer.stream(self._requests(samples, held), audit=self.audit):
            yield samples[index], held.pop(index), result

    def _requests(self, samples: Sequence[PlannedSample], held: dict[int, LoadedCase]) -> Iterator[SynthesisRequest]:
        """Yield requests, reading each case once; ``held`` keeps the case of every request that is under way."""
        loaded: LoadedCase | None = None
        for index, sample in enumerate(samples):
            if loaded is None or loaded.case != sample.case:
                loaded = load_case(sample.case, self.synthesizer)
            held[index] = loaded
            yield loaded.request(sample.seed, self.order.prompt, self.order.abnormality)


def _nothing(cases: CheckedCases) -> RunSummary:
    """Return the summary of a run without any usable image."""
    if not cases.bad:
        raise ValueError("every image has a lesion already and was left out as asked, so there is nothing to make")
    return summarise([], cases.bad, notes=cases.notes)
