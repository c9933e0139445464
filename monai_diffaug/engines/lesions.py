"""What the labels of a data set say of its lesions: which there are, of which class; outlines, sizes, looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from monai_diffaug.engines.words import attribute_cuts
from monai_diffaug.synthesis import Abnormality, EmpiricalSize, FormulaShapes, ImageFormat, OutlineBank, RandomMask
from monai_diffaug.synthesis.attributes import measure

Cases = Sequence[Mapping[str, Any]]
"""Dictionaries with ``name``, ``image`` (C, *spatial) and ``label`` (*spatial) as stored, and ``spacing``."""


@dataclass(frozen=True)
class Lesion:
    """One connected lesion of one class: ``number`` in its case's ``parts``, inside ``box``."""

    case: int
    number: int
    name: str
    box: tuple[slice, ...]


class LabelledCases:
    """Find the lesions of every class in the labels of cases.

    Where there is one class alone, a label of 0 and 255 is of it, whatever the class's own value is.

    Args:
        cases: see ``Cases``.
        abnormalities: the classes, with their label values.
        organ: label values in which a lesion may lie; empty means on the background.
        protected: label values that are no lesion and stay as they are.
        least: lesions with fewer pixels are not drawn: they have no looks to measure.

    Raises:
        ValueError: when a label holds a value that is nobody's.

    Example:
        >>> label = np.zeros((32, 32), np.uint8)
        >>> label[2:12, 2:12], label[12:24, 12:24], label[28:] = 1, 2, 5
        >>> case = {"name": "a", "image": np.zeros((1, 32, 32)), "label": label}
        >>> cases = LabelledCases([case], [Abnormality("cyst", 1), Abnormality("tumour", 2)], protected=[5])
        >>> [lesion.name for lesion in cases.lesions]
        ['cyst', 'tumour']
    """

    def __init__(
        self,
        cases: Cases,
        abnormalities: Sequence[Abnormality] = (Abnormality("lesion"),),
        *,
        organ: Sequence[int] = (),
        protected: Sequence[int] = (),
        least: int = 64,
    ) -> None:
        self.cases, self.abnormalities, self.least = cases, tuple(abnormalities), least
        self.organ, self.protected = tuple(organ), tuple(protected)
        self.parts: list[np.ndarray] = []
        self.lesions: list[Lesion] = []
        for index in range(len(cases)):
            self._add(index)

    def mask(self, lesion: Lesion) -> np.ndarray:
        """Return where a lesion is, bool (*spatial)."""
        return self.parts[lesion.case] == lesion.number

    def masks(self) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
        """Yield every lesion's case and mask, bool (*spatial)."""
        return ((self.cases[lesion.case], self.mask(lesion)) for lesion in self.lesions)

    def spacing(self, case: int) -> tuple[float, ...]:
        """Return the size of a pixel of a case in mm; 1 where it is unknown."""
        return self.cases[case].get("spacing") or (1.0,) * self.parts[case].ndim

    def around(self, lesion: Lesion) -> tuple[slice, ...]:
        """Return a part of the image that holds a lesion and the ring that it is compared with."""
        reach = 16 + max(side.stop - side.start for side in lesion.box) // 4
        return tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in lesion.box)

    def extent(self, lesion: Lesion) -> float:
        """Return the longest side of a lesion's bounding box, in the unit of the spacing."""
        lengths = [side.stop - side.start for side in lesion.box]
        return max(n * s for n, s in zip(lengths, self.spacing(lesion.case), strict=True))

    def classes(self, case: int) -> np.ndarray:
        """Return where the lesions of each class are, specks too, bool (K, *spatial)."""
        return np.stack([self._class_map(self.cases[case], one) for one in self.abnormalities])

    def place(self, case: int) -> np.ndarray:
        """Return where normal tissue is in which a lesion could lie, bool (*spatial)."""
        label = self.cases[case]["label"]
        return np.isin(label, self.organ) if self.organ else label == 0

    def only(self, name: str) -> LabelledCases:
        """Return the same cases with the lesions of one class alone."""
        chosen = next(one for one in self.abnormalities if one.name == name)
        index = self.abnormalities.index(chosen)
        own = [{**case, "label": self.classes(number)[index]} for number, case in enumerate(self.cases)]
        return LabelledCases(own, [Abnormality(name)], least=self.least)

    def _add(self, index: int) -> None:
        case = self.cases[index]
        self._refuse_unnamed(case)
        parts, count = np.zeros(case["label"].shape, np.int32), 0
        for one in self.abnormalities:
            own, more = ndimage.label(self._class_map(case, one))
            parts[own > 0] = own[own > 0] + count
            sizes, boxes = np.bincount(own.ravel(), minlength=more + 1)[1:], ndimage.find_objects(own)
            for number, (pixels, box) in enumerate(zip(sizes, boxes, strict=True), start=count + 1):
                if pixels >= self.least:
                    self.lesions.append(Lesion(index, number, one.name, box))
            count += more
        self.parts.append(parts)

    def _class_map(self, case: Mapping[str, Any], one: Abnormality) -> np.ndarray:
        label = case["label"]
        alone = len(self.abnormalities) == 1 and one.value != 255 and 255 not in (*self.organ, *self.protected)
        return (label == one.value) | (label == 255) if alone else label == one.value

    def _refuse_unnamed(self, case: Mapping[str, Any]) -> None:
        named = {one.value: one.name for one in self.abnormalities}
        known = {0, *named, *self.organ, *self.protected, *([255] if len(named) == 1 else [])}
        strange = sorted(set(np.unique(case["label"]).tolist()) - known)
        if strange:
            names = ", ".join(f"{value} ({name})" for value, name in named.items())
            raise ValueError(
                f"the label of {case['name']} holds the value {strange[0]:g}, but the bundle's lesions are {names}, "
                f"its organ {list(self.organ)} and its protected values {list(self.protected)}; name it in "
                "common.json, or start the bundle anew with one more --lesion or --protect"
            )


def bank_masks(labelled: LabelledCases) -> RandomMask:
    """Return a sampler of masks with the outlines and the sizes of real lesions: normal tissue is trained on these."""
    if not labelled.lesions:
        return RandomMask(FormulaShapes(), EmpiricalSize([32.0]))
    extents = [labelled.extent(one) for one in labelled.lesions]
    return RandomMask(OutlineBank(_outlines(labelled)), EmpiricalSize(extents))


def _outlines(labelled: LabelledCases, *, least: int = 16) -> Iterator[np.ndarray]:
    for parts in labelled.parts:
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            outline = parts[box] == number
            if outline.sum() >= least:
                yield outline


def measured_cuts(labelled: LabelledCases, images: ImageFormat) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the cut points between the terciles of every measured attribute of each class (``attribute_cuts``).

    A class of fewer than three lesions gets those of all classes together.
    """
    measured: dict[str, list[dict[str, float]]] = {one.name: [] for one in labelled.abnormalities}
    for lesion in labelled.lesions:
        part = labelled.around(lesion)
        image = images.to_unit(labelled.cases[lesion.case]["image"][(slice(None), *part)])
        measured[lesion.name].append(measure(image, labelled.parts[lesion.case][part] == lesion.number))
    everything = [one for own in measured.values() for one in own]
    return {name: attribute_cuts(own if len(own) > 2 else everything) for name, own in measured.items()}
