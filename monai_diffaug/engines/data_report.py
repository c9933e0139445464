"""What a data set is like, before anything is trained on it: sizes, values, lesions, and what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_diffaug.engines.leaks import near_equal, shared
from monai_diffaug.engines.lesions import LabelledCases, measured_cuts
from monai_diffaug.synthesis import ImageFormat

FEW = {"train": 40, "val": 5}
"""Lesions of a class below which a split is said to have too few: fewer than 40 are learnt by heart, and fewer than 5
held-out ones tell nothing of the others."""
TOLD = 5


@dataclass(frozen=True)
class DataReport:
    """A data set's facts and faults.

    Args:
        facts: what the bundle keeps of it (``configs/data.json``): ``attribute_cuts``, ``size_cuts`` and ``extents``.
        lines: the report, to be printed.
        warnings: what should be looked at, one sentence each.
    """

    facts: dict[str, Any]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join([*self.lines, *(f"warning: {one}" for one in self.warnings)])


def data_report(
    splits: Mapping[str, LabelledCases], images: ImageFormat, patient_of: Callable[[str], str], *, data: str = ""
) -> DataReport:
    """Look at a data set.

    Args:
        splits: ``train``, ``val`` and, where there is one, ``test``.
        images: how stored values meet the networks' range.
        patient_of: case name -> patient.
        data: what the data set is called.

    Raises:
        ValueError: when no training case has a lesion.
    """
    training = splits["train"]
    if not training.lesions:
        raise ValueError(
            f"none of {len(training.cases)} training cases has a lesion of {training.least} pixels or more"
        )
    lines = [f"data report: {data}"]
    lines += [_split_line(name, one) for name, one in splits.items()]
    lines += _image_lines([case for one in splits.values() for case in one.cases], images)
    extents = {one.name: _extents(training, one.name) for one in training.abnormalities}
    lines += [_class_line(name, values, splits) for name, values in extents.items()]
    warnings = [*_too_few(splits), *_leaks(splits, images, patient_of), *_values(training, images)]
    return DataReport(_facts(training, images, extents, data), tuple(lines), tuple(warnings))


def _facts(
    training: LabelledCases, images: ImageFormat, extents: Mapping[str, Sequence[float]], data: str
) -> dict[str, Any]:
    every = [value for values in extents.values() for value in values]
    ranges = {name: _range(values or every) for name, values in extents.items()}
    low, high = (round(float(value), 3) for value in np.percentile(every, [100 / 3, 200 / 3]))
    return {
        "data": data,
        "cases": len(training.cases),
        "lesions": dict(Counter(lesion.name for lesion in training.lesions)),
        "attribute_cuts": {name: dict(cuts) for name, cuts in measured_cuts(training, images).items()},
        "size_cuts": [low, max(high, round(low + 0.001, 3))],
        "extents": ranges,
    }


def _range(values: Sequence[float]) -> list[float]:
    """Return the extents to draw, as shares of the shortest side: those of 9 of 10 lesions, none above 0.6.

    A lesion of more than that leaves too little of its surroundings in a window to be painted into.
    """
    low, high = np.percentile(values, [5, 95])
    high = min(float(high), 0.6)
    return [round(min(float(low), 0.8 * high), 4), round(high, 4)]


def _extents(labelled: LabelledCases, name: str) -> list[float]:
    """Return the extents of a class's lesions over the shortest side of their images."""
    found = []
    for lesion in labelled.lesions:
        if lesion.name == name:
            spacing = labelled.spacing(lesion.case)
            shape = labelled.parts[lesion.case].shape
            field = min(n * s for n, s in zip(shape, spacing, strict=True))
            found.append(labelled.extent(lesion) / field)
    return found


def _split_line(name: str, one: LabelledCases) -> str:
    ill = len({lesion.case for lesion in one.lesions})
    specks = sum(int(parts.max()) for parts in one.parts) - len(one.lesions)
    small = f", and {specks} specks of fewer than {one.least} pixels" if specks else ""
    return f"  {name}: {len(one.cases)} images, {ill} with lesions; {len(one.lesions)} lesions{small}"


def _image_lines(cases: Sequence[Mapping[str, Any]], images: ImageFormat) -> list[str]:
    shapes = np.array([case["image"].shape[1:] for case in cases])
    known = [case["spacing"] for case in cases if case.get("spacing")]
    sizes = " x ".join(_span(column) for column in shapes.T)
    spacing = " x ".join(_span(column) for column in np.array(known).T) + " mm" if known else "unknown, sizes in pixels"
    low, high = min(float(case["image"].min()) for case in cases), max(float(case["image"].max()) for case in cases)
    return [
        f"  size: {sizes}",
        f"  spacing: {spacing}",
        f"  values: {low:g} to {high:g}; the networks see {images.intensity_range[0]:g} to "
        f"{images.intensity_range[1]:g}",
    ]


def _span(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _class_line(name: str, extents: Sequence[float], splits: Mapping[str, LabelledCases]) -> str:
    counts = ", ".join(
        f"{sum(lesion.name == name for lesion in one.lesions)} in {split}" for split, one in splits.items()
    )
    if not extents:
        return f"  {name}: {counts}"
    low, middle, high = np.percentile(extents, [5, 50, 95])
    return (
        f"  {name}: {counts}; extent {low:.1%}, {middle:.1%}, {high:.1%} of the shortest side (5th, 50th, 95th of 100)"
    )


def _too_few(splits: Mapping[str, LabelledCases]) -> list[str]:
    found = []
    for split, least in FEW.items():
        counts = Counter(lesion.name for lesion in splits[split].lesions)
        found += [
            f"too few lesions: {one.name} has {counts[one.name]} in {split}, {least} or more are needed for results "
            "that hold for others"
            for one in splits[split].abnormalities
            if counts[one.name] < least
        ]
    return found


def _leaks(splits: Mapping[str, LabelledCases], images: ImageFormat, patient_of: Callable[[str], str]) -> list[str]:
    found, ours = [], splits["train"]
    for split, theirs in splits.items():
        if split == "train":
            continue
        names, others = ([str(case["name"]) for case in one.cases] for one in (ours, theirs))
        if both := shared(names, others, patient_of):
            found.append(f"train and {split} share patients ({len(both)}): {_some(both)}; put each into one split")
        if alike := near_equal(ours.cases, theirs.cases, images):
            pairs = _some([f"{one} and {other} ({value:.2f})" for one, other, value in alike])
            found.append(
                f"images of train and {split} show nearly the same ({len(alike)} pairs): {pairs}; "
                f"figures on {split} will be too good, put each pair into one split"
            )
    return found


def _values(training: LabelledCases, images: ImageFormat) -> list[str]:
    """Say where the images use little of the intensity range."""
    low, high = images.intensity_range
    used = [np.percentile(case["image"], [1, 99]) for case in training.cases]
    first, last = min(float(one[0]) for one in used), max(float(one[1]) for one in used)
    if last - first >= 0.3 * (high - low):
        return []
    return [
        f"the images use {first:g} to {last:g} of the intensity range {low:g} to {high:g}; with a narrower range "
        "(init --intensity-range) lesions stand out more"
    ]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more
