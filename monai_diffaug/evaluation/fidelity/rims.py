"""Gradients along outlines and fine detail of a lesion, in image pixels; any number of dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis.attributes import extent_of


def slope(grey: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Return the gradient's magnitude of a slightly smoothed image (*spatial)."""
    return np.sqrt(sum(part**2 for part in np.gradient(ndimage.gaussian_filter(grey, sigma))))


def edge(mask: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of a mask; where it meets the image's border there is no edge."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def edge_slope(grey: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean gradient on a mask's edge.

    Args:
        grey: values in [0, 1], (*spatial).
        mask: bool (*spatial), not empty.
    """
    on = edge(mask)
    return float(slope(grey)[on].mean()) if on.any() else float("nan")


def detail_ratio(grey: np.ndarray, mask: np.ndarray, paint: np.ndarray, known: np.ndarray) -> float:
    """Return the mean absolute Laplacian inside a lesion over that of the belt just outside its paint mask.

    The outermost two pixels of the lesion are left out, and of the belt what is dark or labelled.

    Args:
        grey: values in [0, 1], (*spatial).
        mask: the lesion, bool (*spatial), not empty.
        paint: where a synthetic lesion of this mask may change pixels, bool (*spatial).
        known: other lesions, bool (*spatial).
    """
    detail = np.abs(ndimage.laplace(grey))
    width = max(3, round(0.2 * extent_of(mask, (1.0,) * mask.ndim)))
    belt = ndimage.binary_dilation(paint, iterations=width + 1) & ~ndimage.binary_dilation(paint)
    belt &= ~known & (grey > 0.06)
    inner = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    inner = inner if inner.any() else mask
    outside = float(detail[belt].mean()) if belt.any() else 0.0
    return float(detail[inner].mean()) / outside if outside else float("nan")


def seam(grey: np.ndarray, mask: np.ndarray, paint: np.ndarray, known: np.ndarray) -> float:
    """Return the gradient on the paint mask's outline over that on parallel curves 3 and 4 pixels away.

    A paste that ends abruptly shows as a ratio above that of the untouched image.

    Args:
        grey: values in [0, 1], (*spatial).
        mask: the lesion, bool (*spatial): its own edge is no seam and is left out.
        paint: bool (*spatial), not empty.
        known: other lesions, bool (*spatial).
    """
    away = ndimage.distance_transform_edt(paint) - ndimage.distance_transform_edt(~paint)
    steep, free = slope(grey, 0.5), ~ndimage.binary_dilation(mask | known)
    on, beside = (np.abs(away) <= 1) & free, (np.abs(away) >= 3) & (np.abs(away) <= 4) & free
    return float(steep[on].mean() / max(steep[beside].mean(), 1e-6)) if on.any() and beside.any() else float("nan")


def matched_median(values: Sequence[float], bins: Sequence[str], wanted: Mapping[str, int]) -> float:
    """Return the median of values weighted so that their bins weigh as in ``wanted``; nan where no bin is shared.

    Args:
        values: numbers; those that are nan are left out.
        bins: the bin of each.
        wanted: bin -> count of the others that these are compared with.

    Example:
        >>> matched_median([1.0, 2.0, 9.0], ["a", "a", "b"], {"a": 1, "b": 3})
        9.0
    """
    pairs = sorted((v, name) for v, name in zip(values, bins, strict=True) if np.isfinite(v) and wanted.get(name))
    if not pairs:
        return float("nan")
    there = [name for _, name in pairs]
    weights = np.cumsum([wanted[name] / there.count(name) for name in there])
    return float(pairs[int(np.searchsorted(weights, weights[-1] / 2 - 1e-9))][0])
