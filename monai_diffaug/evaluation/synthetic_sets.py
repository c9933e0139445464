"""The synthetic images of a cohort, made once and shared by the cells that train on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from monai_diffaug.bundle import Bundle, bundle_entry, describe, load_synthesizer
from monai_diffaug.evaluation.arms import Synthetic
from monai_diffaug.evaluation.cells import claimed
from monai_diffaug.generation import manifest
from monai_diffaug.generation.cases import Case, CaseList, find_cases
from monai_diffaug.generation.folders import stem_below
from monai_diffaug.generation.misses import aimed
from monai_diffaug.generation.offline import OfflineGenerator
from monai_diffaug.generation.order import Order
from monai_diffaug.generation.removal import OfflineRemover
from monai_diffaug.synthesis import AbnormalitySynthesizer, LesionRemover, MasksByClass


@dataclass(frozen=True)
class SetMaker:
    """Make the synthetic sets of one cohort below a folder; what is finished is not made again.

    Args:
        bundle: who paints.
        cohort: the labelled images.
        shapes: masks with the outlines and sizes of the cohort's lesions.
        folder: of this cohort and seed.
        seed: of all draws.
        normals: folder of images without lesions, for the sets on new backgrounds.
        batch_size: fixed batch shape of the networks.
        device: where they run.
    """

    bundle: Bundle
    cohort: CaseList
    shapes: MasksByClass
    folder: Path
    seed: int
    normals: Path | None = None
    batch_size: int = 8
    device: str = "cpu"

    def __call__(self, wanted: Synthetic, misses: Path | None = None) -> list[Path]:
        """Return the folders of finished ``generate`` runs that hold the set.

        Args:
            wanted: what is made.
            misses: table of missed lesions, for a targeted set.
        """
        return [self._made(part, misses if part.targeted else None) for part in wanted.parts()]

    def _made(self, wanted: Synthetic, misses: Path | None) -> Path:
        output = self.folder / wanted.key()
        with claimed(output, wait=True):
            found = self._backgrounds() if wanted.cleaned else self.cohort
            generator = OfflineGenerator(
                self._synthesizer(wanted, misses),
                Order(num=max(1, round(wanted.ratio * len(self.cohort.cases))), seed=self.seed),
                describe(self.bundle, preset="fast", variant=self._variant, prompts=wanted.prompts),
                resume=output.exists(),
                progress=False,
            )
            generator(found, output)
        return output

    def _backgrounds(self) -> CaseList:
        """Return the cohort's images without their lesions, and the user's normal images."""
        output = self.folder / "cleaned_images"
        with claimed(output, wait=True):
            about = describe(self.bundle, preset="fast", variant=self._variant, prompts="standard")
            plain = _synthesizer(self.bundle.root, self.batch_size, self.device, "standard", self._variant)
            remover = OfflineRemover(
                LesionRemover(plain), about, seed=self.seed, resume=output.exists(), progress=False
            )
            remover(self.cohort, output)
        there = (output / "images").is_dir()
        cleaned = find_cases(output / "images", output / "labels").cases if there else ()
        normals = find_cases(self.normals).cases if self.normals is not None else ()
        return _joined((*cleaned, *normals))

    def _synthesizer(self, wanted: Synthetic, misses: Path | None) -> AbnormalitySynthesizer:
        synthesizer = _synthesizer(self.bundle.root, self.batch_size, self.device, wanted.prompts, self._variant)
        if wanted.own_shapes:
            synthesizer = synthesizer.shaped(self.shapes)
        if misses is not None:
            synthesizer = aimed(synthesizer, misses, bundle_entry(self.bundle, "attribute_cuts", variant=self._variant))
        return synthesizer if wanted.gate else synthesizer.ungated()

    @property
    def _variant(self) -> str | None:
        return self.bundle.variant_for(self.cohort.spatial_dims)


@lru_cache(maxsize=2)
def _synthesizer(root: Path, batch_size: int, device: str, prompts: str, variant: str | None) -> AbnormalitySynthesizer:
    """Return a bundle's synthesizer, loaded once for many sets."""
    return load_synthesizer(root, device=device, prompts=prompts, variant=variant, batch_size=batch_size)


def _joined(cases: Sequence[Case]) -> CaseList:
    """Return cases of several folders as one list, ids made different.

    Raises:
        ValueError: when there is none.
    """
    if not cases:
        raise ValueError("no lesion of the cohort could be removed, and there are no normal images; give --normals")
    whole = [replace(case, image=Path(os.path.abspath(case.image))) for case in cases]
    root = Path(os.path.commonpath([case.image.parent for case in whole]))
    renamed = [
        replace(
            case,
            source=case.image.relative_to(root).as_posix(),
            id=stem_below(case.image, root).replace("/", "__"),
        )
        for case in whole
    ]
    return CaseList(root, tuple(sorted(renamed, key=lambda case: case.id)), (), {})


def accepted(folders: Sequence[Path], *, least_iou: float = 0.0) -> list[tuple[Path, Path]]:
    """Return image and label of every accepted sample of finished runs.

    Args:
        folders: of ``generate`` runs.
        least_iou: only samples with an overlap above this.
    """
    return [
        (folder / line["image"], folder / line["label"])
        for folder in folders
        for line in manifest.read(folder / manifest.NAME)
        if line["accepted"] and line["iou"] > least_iou
    ]


def told(folders: Sequence[Path]) -> dict[str, Any]:
    """Return how many samples of finished runs were planned, tried and accepted."""
    lines = [line for folder in folders for line in manifest.read(folder / manifest.NAME)]
    return {
        "sets": [folder.name for folder in folders],
        "planned": len(lines),
        "accepted": sum(line["accepted"] for line in lines),
        "attempts": sum(len(line["attempts"]) for line in lines),
    }
