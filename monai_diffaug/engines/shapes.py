"""Outlines and sizes of labelled lesions, for masks that look like them."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monai_diffaug.engines.lesions import LabelledCases, Lesion
from monai_diffaug.synthesis import MasksByClass, ObservedShape


def observed_masks(labelled: LabelledCases) -> MasksByClass:
    """Return samplers that draw outlines and sizes of real lesions; a class without any has no sampler.

    Raises:
        ValueError: when there is no lesion at all.

    Example:
        >>> label = np.zeros((40, 80), np.uint8)
        >>> label[10:18, 20:28] = 1
        >>> labelled = LabelledCases([{"name": "a", "image": np.zeros((1, 40, 80)), "label": label}])
        >>> observed_masks(labelled).about["lesions"]
        {'lesion': 1}
    """
    shapes: dict[str, list[ObservedShape]] = {}
    for lesion in labelled.lesions:
        shapes.setdefault(lesion.name, []).append(_observed(labelled, lesion))
    if not shapes:
        names = " or ".join(one.name for one in labelled.abnormalities)
        raise ValueError(
            f"none of {len(labelled.cases)} labels holds a {names} of {labelled.least} pixels or more, "
            "so there are no shapes to draw; give labelled lesions"
        )
    return MasksByClass.from_shapes(shapes)


def _observed(labelled: LabelledCases, lesion: Lesion) -> ObservedShape:
    spacing, whole = labelled.spacing(lesion.case), labelled.parts[lesion.case]
    field = min(n * s for n, s in zip(whole.shape, spacing, strict=True))
    return ObservedShape(_even(whole[lesion.box] == lesion.number, spacing), labelled.extent(lesion) / field)


def _even(outline: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """Return an outline on pixels as long as wide: it will be turned, and painted at other spacings."""
    if max(spacing) == min(spacing):
        return outline
    even = ndimage.zoom(outline.astype(np.float32), np.array(spacing) / min(spacing), order=1) >= 0.5
    return even if even.any() else outline
