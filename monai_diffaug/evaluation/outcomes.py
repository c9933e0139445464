"""What a segmenter says of every test image: the raw figures that all tables come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from monai_diffaug.evaluation.cohorts import TestSet
from monai_diffaug.evaluation.shifts import shift_series
from monai_diffaug.synthesis import ImageFormat

FALSE_AREA = 0.001
"""Share of the image below which a predicted part that touches no lesion is a speck, and no false positive."""


def image_outcome(
    pred: np.ndarray, mask: np.ndarray, spacing: Sequence[float] | None = None
) -> dict[str, float | int | None]:
    """Return the figures of one image.

    Args:
        pred: bool (*spatial).
        mask: the truth, bool (*spatial).
        spacing: mm; pixels where it is unknown.

    Returns:
        ``dice`` and ``iou``, None where both are empty; ``hd95``: 95th percentile of the distances between the
        outlines, the image's diagonal where one of the two is empty, None where both are; ``false_positives``:
        predicted parts that touch no lesion.

    Example:
        >>> mask = np.zeros((20, 20), bool)
        >>> mask[5:15, 5:15] = True
        >>> image_outcome(mask, mask)
        {'dice': 1.0, 'iou': 1.0, 'hd95': 0.0, 'false_positives': 0}
    """
    spacing = tuple(spacing or (1.0,) * mask.ndim)
    both, union = int((pred & mask).sum()), int((pred | mask).sum())
    return {
        "dice": _dice(pred, mask),
        "iou": round(both / union, 5) if union else None,
        "hd95": _hd95(pred, mask, spacing),
        "false_positives": _false_positives(pred, mask),
    }


def _hd95(pred: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> float | None:
    """Return MONAI's definition: the larger of the two directed 95th percentiles between outlines."""
    if not pred.any() and not mask.any():
        return None
    if not pred.any() or not mask.any():
        return round(float(np.linalg.norm(np.multiply(mask.shape, spacing))), 3)
    edges = [one & ~ndimage.binary_erosion(one) for one in (pred, mask)]
    far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return round(max(float(np.percentile(far[1][edges[0]], 95)), float(np.percentile(far[0][edges[1]], 95))), 3)


def _false_positives(pred: np.ndarray, mask: np.ndarray) -> int:
    parts, count = ndimage.label(pred)
    if not count:
        return 0
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    touching = np.bincount(parts[mask], minlength=count + 1) > 0
    return int(((sizes >= FALSE_AREA * pred.size) & ~touching)[1:].sum())


def evaluate(test: TestSet, segment: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Return the raw figures of a segmenter on a test set: one row an image, one recall a lesion.

    Args:
        test: the images with their lesions.
        segment: image (C, *spatial) as stored -> bool (*spatial).
    """
    preds = [segment(case["image"]) for case in test.cases]
    rows = []
    for index, (case, pred) in enumerate(zip(test.cases, preds, strict=True)):
        mask = np.any(test.labelled.classes(index), axis=0)
        rows.append(image_outcome(pred, mask, case.get("spacing")))
    recalls = [
        round(float(preds[one.case][one.box][test.labelled.parts[one.case][one.box] == one.number].mean()), 4)
        for one in test.labelled.lesions
    ]
    return {"test": test.name, "images": {key: [row[key] for row in rows] for key in rows[0]}, "recalls": recalls}


def shifted(test: TestSet, segment: Callable[[np.ndarray], np.ndarray], images: ImageFormat) -> dict[str, Any]:
    """Return the Dice of every test image under every change of ``shift_series``; arguments as for ``evaluate``."""
    masks = [np.any(test.labelled.classes(index), axis=0) for index in range(len(test.cases))]
    dice = {
        shift.name: [
            _dice(segment(shift(case["image"], images)), mask) for case, mask in zip(test.cases, masks, strict=True)
        ]
        for shift in shift_series()
    }
    return {"test": test.name, "dice": dice}


def _dice(pred: np.ndarray, mask: np.ndarray) -> float | None:
    total = int(pred.sum()) + int(mask.sum())
    return round(2 * int((pred & mask).sum()) / total, 5) if total else None
