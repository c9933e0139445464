"""Images that two splits share: near-equal frames, found by their detail, and patients, found by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from monai_diffaug.synthesis import ImageFormat
from monai_diffaug.synthesis.resample import resample

NEAR_EQUAL = 0.65
"""Correlation of two images' detail from which on they are taken for the same scene.

Between Kvasir-SEG's training and validation images the greatest is 0.61. PH2 shows some lesions twice: across a split
0.70 to 0.80, the next pair 0.58.
"""
CELLS, BROAD, RIM = 32, 3.0, 0.15


def near_equal(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], images: ImageFormat
) -> list[tuple[str, str, float]]:
    """Return pairs of images, one of each split, that show nearly the same: their names and how alike they are.

    Compared is what is left of small copies without their broad light and colour, which all images of a kind share.

    Args:
        ours, theirs: cases of two splits.
        images: how stored values meet [0, 1].
    """
    if not ours or not theirs:
        return []
    details = np.stack([_detail(images.to_unit(case["image"])) for case in (*ours, *theirs)])
    details -= details.mean(0)  # what all of them show, such as a frame's rim, tells nothing
    details /= np.maximum(np.linalg.norm(details, axis=1, keepdims=True), 1e-9)
    alike = details[: len(ours)] @ details[len(ours) :].T
    return [
        (str(ours[a]["name"]), str(theirs[b]["name"]), float(alike[a, b]))
        for a, b in np.argwhere(alike > NEAR_EQUAL).tolist()
    ]


def shared(ours: Sequence[str], theirs: Sequence[str], patient_of: Callable[[str], str]) -> list[str]:
    """Return the patients that cases of both splits, given by their names, are of."""
    return sorted({patient_of(name) for name in ours} & {patient_of(name) for name in theirs})


def _detail(unit: np.ndarray) -> np.ndarray:
    """Return the finer part of a small grey copy of an image's middle (C, *spatial), of norm 1, flat.

    Strong edges are bounded: else a black corner would outweigh everything else.
    """
    middle = tuple(slice(int(RIM * n), n - int(RIM * n)) for n in unit.shape[1:])
    grey = np.ascontiguousarray(np.log(unit.mean(0)[middle] + 0.1))[None]
    small = resample(torch.from_numpy(grey), (CELLS,) * (unit.ndim - 1))[0].numpy().astype(np.float64)
    fine = small - ndimage.gaussian_filter(small, BROAD)
    bound = 2 * 1.4826 * float(np.median(np.abs(fine)))
    fine = np.clip(fine, -bound, bound)
    return (fine / max(float(np.linalg.norm(fine)), 1e-9)).ravel()
