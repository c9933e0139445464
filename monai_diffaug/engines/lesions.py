"""What the labels of a training set say of its lesions: outlines, sizes, and the cut points of their looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from monai_diffaug.engines.words import attribute_cuts
from monai_diffaug.synthesis import EmpiricalSize, FormulaShapes, ImageFormat, OutlineBank, RandomMask
from monai_diffaug.synthesis.attributes import extent_of, measure


def lesion_masks(
    cases: Sequence[Mapping[str, Any]], *, least: int = 64
) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
    """Yield each lesion of ``least`` pixels or more: its case and its mask, bool (*spatial)."""
    for case in cases:
        parts, count = ndimage.label(case["label"] != 0)
        for number in range(1, count + 1):
            mask = parts == number
            if mask.sum() >= least:
                yield case, mask


def bank_masks(cases: Sequence[Mapping[str, Any]]) -> RandomMask:
    """Return a sampler of masks with the outlines and the sizes of real lesions: normal tissue is trained on these."""
    found = list(lesion_masks(cases))
    if not found:
        return RandomMask(FormulaShapes(), EmpiricalSize([32.0]))
    extents = [extent_of(mask, case.get("spacing") or (1.0,) * mask.ndim) for case, mask in found]
    return RandomMask(OutlineBank.from_labels(case["label"] for case in cases), EmpiricalSize(extents))


def measured_cuts(cases: Sequence[Mapping[str, Any]], images: ImageFormat) -> dict[str, tuple[float, float]]:
    """Return the cut points between the terciles of every measured attribute, for the bundle's ``attribute_cuts``."""
    return attribute_cuts([measure(images.to_unit(case["image"]), mask) for case, mask in lesion_masks(cases)])
