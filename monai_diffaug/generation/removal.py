"""Labelled images -> remover -> normal images in the same layout; resumable, sharded over processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from monai_diffaug.generation import manifest, sharing
from monai_diffaug.generation.cases import Case, CaseList
from monai_diffaug.generation.files import (
    BadInput,
    output_suffix,
    split_suffix,
    write_image,
    write_label,
    write_mask,
)
from monai_diffaug.generation.inputs import CheckedCases, LoadedCase, fingerprint, load_case
from monai_diffaug.generation.order import Order, PlannedSample, sample_seed
from monai_diffaug.generation.report import RunSummary, summarise
from monai_diffaug.generation.runfile import check_output, describe_run, refuse_nesting
from monai_diffaug.generation.shards import Shard, joined
from monai_diffaug.generation.stored import as_binary
from monai_diffaug.generation.writer import manifest_line
from monai_diffaug.synthesis import LesionRemover, RemovalResult, SynthesisRequest
from monai_diffaug.synthesis.provenance import file_digest


class OfflineRemover:
    """Write normal images and emptied labels; what was killed is made again by ``resume``, with the same bytes.

    Args:
        remover: paints and judges.
        about: what the run's report says of the bundle (``bundle.describe``).
        seed: from which, with the case id, every image's own seed is derived.
        resume: go on with an interrupted run.
        progress: show progress bars on standard error.
    """

    def __init__(
        self,
        remover: LesionRemover,
        about: Mapping[str, Any],
        *,
        seed: int = 0,
        resume: bool = False,
        progress: bool = True,
    ) -> None:
        self.remover, self.about, self.seed = remover, dict(about), seed
        self.resume, self.progress = resume, progress

    def check(self, found: CaseList) -> CheckedCases:
        """Read every input once: an image without a label cannot be used."""
        usable, digests, bad = [], {}, list(found.bad)
        for case in tqdm(found.cases, desc="checking inputs", unit="case", disable=not self.progress, leave=False):
            try:
                if case.label is None:
                    raise BadInput("it has no label; removal needs one for each image, empty where it is normal")
                load_case(case, self.remover.synthesizer)
            except ValueError as error:
                bad.append((case.source, str(error)))
                continue
            digests[case.id] = file_digest(case.image)
            usable.append(case)
        return CheckedCases(tuple(usable), digests, fingerprint(usable, digests), tuple(bad), (), False)

    def __call__(self, found: CaseList, output: Path) -> RunSummary:
        """Remove what is labelled.

        Args:
            found: the cases, from ``find_cases``, with their labels.
            output: folder to write; empty or new, unless resuming.

        Raises:
            ValueError: when the output folder cannot be used.
            OSError: when writing fails; what was finished before stays.
        """
        if found.searched:
            refuse_nesting(found.root, output)
        with joined() as shard:
            if shard.first:
                check_output(output, resume=self.resume)
            cases = self.check(found)
            if not cases.usable:
                return summarise([], cases.bad)
            samples = [PlannedSample(case.id, case, sample_seed(self.seed, case.id, 0)) for case in cases.usable]
            run = self._run(found, cases, output)
            self._make(sharing.begin(output, run, samples, shard, resume=self.resume), cases, output, shard)
            return summarise(sharing.end(output, samples, shard, {}), cases.bad)

    def _run(self, found: CaseList, cases: CheckedCases, output: Path) -> dict[str, Any]:
        order = Order(ratio=1.0, per_image=1, seed=self.seed)
        about = (self.remover.synthesizer, order, {**self.about, "task": "removal"}, found, cases, output)
        run = describe_run(*about, count=len(cases.usable), audit=False)
        return {**run, "thresholds": self.remover.renderer.gate.thresholds(), "margin": self.remover.margin}

    def _make(self, share: Sequence[PlannedSample], cases: CheckedCases, output: Path, shard: Shard) -> None:
        held: dict[int, LoadedCase] = {}
        part = output / manifest.part_name(shard.rank, shard.world_size)
        stream = self.remover.stream(self._requests(share, held))
        for index, result in tqdm(stream, desc="removing", total=len(share), disable=not self.progress):
            sample = share[index]
            files = write_removed(output, sample.case, held.pop(index), result)
            line = manifest_line(sample, cases.digests[sample.case.id], _told(result), files)
            manifest.append(part, line)

    def _requests(self, samples: Sequence[PlannedSample], held: dict[int, LoadedCase]) -> Iterator[SynthesisRequest]:
        for index, sample in enumerate(samples):
            held[index] = load_case(sample.case, self.remover.synthesizer)
            yield held[index].request(sample.seed, None, None)


def write_removed(output: Path, case: Case, loaded: LoadedCase, result: RemovalResult) -> dict[str, str | None]:
    """Write an image, its emptied label and the mask of what was removed, below their own paths; return these."""
    if not result.accepted or loaded.label is None:
        return dict.fromkeys(("image", "mask", "label", "prediction"))
    stem = PurePosixPath(case.source).parent / split_suffix(PurePosixPath(case.source).name)[0]
    image, label = output_suffix(loaded.stored), output_suffix(loaded.label)
    files = {"image": f"images/{stem}{image}", "mask": f"masks/{stem}{image}", "label": f"labels/{stem}{label}"}
    for name in files.values():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
    write_image(output / files["image"], result.image, loaded.stored)
    write_mask(output / files["mask"], result.mask, loaded.stored)
    write_label(output / files["label"], result.label.reshape(result.mask.shape[1:]), as_binary(loaded.label))
    return {**files, "prediction": None}


def _told(result: RemovalResult) -> dict[str, Any]:
    """Return a manifest's entries; an image that was normal already has no attempts."""
    record = result.record.to_json()
    return {**record, "accepted": result.accepted, "attempts": record["attempts"] if record["abnormalities"] else []}
