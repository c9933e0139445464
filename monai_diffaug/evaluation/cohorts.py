"""The data of an experiment: a cohort of labelled training images, and test images with their lesions measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.generation.cases import CaseList, find_cases
from monai_diffaug.generation.datalists import split_names
from monai_diffaug.generation.pairs import find_labelled, find_split, read_found
from monai_diffaug.generation.splits import NAMES, patient_of
from monai_diffaug.synthesis import ImageFormat

LEAST = 12
"""Pixels of a lesion that counts; smaller specks are slips of the hand."""


@dataclass(frozen=True)
class LesionFacts:
    """What a test lesion is like, whatever a segmenter says of it.

    Args:
        name: its class.
        area: share of the image that it covers.
        diameter: of the disc or ball of the same size, in mm; None where spacing is unknown.
        contrast: distance between its mean colour and that of the ring around it, of [0, 1] colours.
    """

    name: str
    area: float
    diameter: float | None
    contrast: float


def find_data(text: str, split: str, *, patient: str | None = None) -> CaseList:
    """Find the cases of ``PATH`` or ``PATH:SPLIT``.

    Args:
        text: a folder or datalist (``generation.pairs.read_pairs``), with the split to read where it is another.
        split: the split to read else.
        patient: regular expression that finds the patient in a case's path.
    """
    path, _, named = text.rpartition(":")
    found, split = (Path(path), named) if path and not Path(text).exists() else (Path(text), split)
    if found.is_dir() and (found / "images").is_dir():  # one set, wanted whole
        return find_labelled(found)
    if found.is_file():  # a list that is there is meant as it is, and never divided
        own = split_names(found)
        key = next((one for one in NAMES.get(split, (split,)) if one in own), None)
        if key is not None:
            return find_cases(found, split=key)
    return find_split(found, split, patient=patient)


def draw_cohort(found: CaseList, num: int, seed: int, *, patient: str | None = None) -> CaseList:
    """Draw labelled images: patient by patient in turn, so that few of them tell of as many patients as can be.

    Args:
        found: all that could be used.
        num: how many; all of them where it is as many as there are.
        seed: of the draw.
        patient: as for ``find_data``.

    Raises:
        ValueError: when there are fewer.
    """
    if num > len(found.cases):
        raise ValueError(f"{num} training images were asked for, but {found.root} has {len(found.cases)}")
    rng = np.random.default_rng((seed, num))
    groups: dict[str, list[Any]] = {}
    for index in rng.permutation(len(found.cases)):
        case = found.cases[index]
        groups.setdefault(patient_of(case.id, patient), []).append(case)
    chosen: list[Any] = []
    while len(chosen) < num:
        chosen += [cases.pop() for cases in groups.values() if cases]
    return replace(found, cases=tuple(sorted(chosen[:num], key=lambda case: case.id)), passthrough={}, bad=())


@dataclass(frozen=True)
class TestSet:
    """Labelled images that no arm trains on.

    Args:
        name: what tables call it.
        cases: as ``read_pairs`` gives them.
        groups: of each case the patient or sequence, which intervals are drawn over.
        labelled: the cases' lesions.
        lesions: their facts, in the order of ``labelled.lesions``.
    """

    name: str
    cases: Sequence[Mapping[str, Any]]
    groups: Sequence[str]
    labelled: LabelledCases
    lesions: Sequence[LesionFacts]

    def to_json(self) -> dict[str, Any]:
        """Return what results refer to: cases, groups, lesions."""
        return {
            "name": self.name,
            "cases": [str(case["name"]) for case in self.cases],
            "groups": list(self.groups),
            "lesions": [
                {"case": lesion.case, **asdict(facts)}
                for lesion, facts in zip(self.labelled.lesions, self.lesions, strict=True)
            ],
        }


def read_test(
    name: str, found: CaseList, images: ImageFormat, labels: Mapping[str, Any], patient: str | None
) -> TestSet:
    """Read a test set and measure its lesions.

    Args:
        name: of the set.
        found: its cases.
        images: how stored values meet [0, 1].
        labels: keywords of ``LabelledCases``: ``abnormalities``, ``organ``, ``protected``.
        patient: as for ``find_data``.
    """
    cases = read_found(found, images, name=name)
    labelled = LabelledCases(cases, **labels, least=LEAST)
    groups = [patient_of(str(case["name"]), patient) for case in cases]
    return TestSet(name, cases, groups, labelled, [_facts(labelled, one, images) for one in labelled.lesions])


def _facts(labelled: LabelledCases, lesion: Any, images: ImageFormat) -> LesionFacts:
    case, part = labelled.cases[lesion.case], labelled.around(lesion)
    parts = labelled.parts[lesion.case]
    mask = parts[part] == lesion.number
    pixels = int(mask.sum())
    spacing = case.get("spacing")
    diameter = None if spacing is None else round(_diameter(pixels * float(np.prod(spacing)), mask.ndim), 3)
    contrast = ring_contrast(images.to_unit(case["image"][(slice(None), *part)]), mask, parts[part] > 0)
    return LesionFacts(lesion.name, round(pixels / parts.size, 6), diameter, round(contrast, 5))


def _diameter(measure: float, dims: int) -> float:
    """Return the diameter of a ball of ``dims`` dimensions with this area or volume."""
    return 2 * (measure * math.gamma(dims / 2 + 1)) ** (1 / dims) / math.sqrt(math.pi)


def ring_contrast(image: np.ndarray, mask: np.ndarray, lesions: np.ndarray) -> float:
    """Return the distance between the mean colours of a lesion and of the ring around it.

    Args:
        image: values in [0, 1], (C, *spatial).
        mask: the lesion, bool (*spatial).
        lesions: all lesions, which are no part of the ring, bool (*spatial).
    """
    reach = max(3, round(0.15 * float(mask.sum()) ** (1 / mask.ndim)))
    ring = ndimage.binary_dilation(mask, iterations=reach) & ~lesions
    if not ring.any():
        return 0.0
    return float(np.linalg.norm(image[:, mask].mean(1) - image[:, ring].mean(1)))
