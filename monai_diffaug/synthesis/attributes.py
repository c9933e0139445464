"""Attributes of a lesion in words: of its outline alone, and of its looks against the ring around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis.window import bounding_box

TERCILES: Mapping[str, tuple[str, str, str]] = {
    "colour": ("paler", "same colour", "redder"),
    "brightness": ("darker", "same brightness", "brighter"),
    "border": ("blurred border", "soft border", "sharp border"),
    "texture": ("smooth", "fine texture", "rough"),
    "shine": ("matte", "satin", "shiny"),
}
"""Words for the lower, middle and upper third of each measured attribute."""


def extent_of(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Return the longest side of the mask's bounding box, in the unit of ``spacing``."""
    low, high = bounding_box(mask)
    return float(np.max((high - low) * np.asarray(spacing)))


def size_word(mask: np.ndarray, spacing: Sequence[float], cuts: tuple[float, float]) -> str:
    """Return small, medium or large: the extent over the image's shortest side against two cut points."""
    field = min(n * s for n, s in zip(mask.shape, spacing, strict=True))
    fraction = extent_of(mask, spacing) / field
    return ("small", "medium", "large")[int(fraction >= cuts[0]) + int(fraction >= cuts[1])]


def outline_word(mask: np.ndarray, spacing: Sequence[float]) -> str:
    """Return round, oval, lobed or irregular for a bool mask (*spatial).

    The cut points come from real polyps (``benchmarks/outline_words.py``): half of them are longer than 1.37, a third
    has a misfit above 0.052, a tenth one above 0.076.
    """
    low, high = bounding_box(mask)
    part = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    points = np.argwhere(part) * np.asarray(spacing)
    if len(points) < 3 * mask.ndim:
        return "round"
    lacking = misfit(points)
    if lacking > 0.052:
        return "irregular" if lacking > 0.076 else "lobed"
    return "oval" if elongation(points) > 1.35 else "round"


def elongation(points: np.ndarray) -> float:
    """Return the longest over the shortest axis of points (N, dims), by their second moments."""
    moments = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 1e-6))
    return float(moments[-1] / moments[0])


def misfit(points: np.ndarray) -> float:
    """Return the share of points (N, dims) outside the solid ellipsoid of the same second moments."""
    dims = points.shape[1]
    centred = points - points.mean(0)
    covariance = np.cov(centred.T)
    # A solid ellipsoid has second moments of semi-axis^2 / (dims + 2).
    distance = np.einsum("ni,ij,nj->n", centred, np.linalg.pinv(covariance), centred) / (dims + 2)
    # Pixels have an extent: what sticks out by a quarter of one is no lobe.
    shortest = np.sqrt(np.linalg.eigvalsh(covariance)[0] * (dims + 2))
    return float((np.sqrt(distance) > 1 + 0.25 / max(shortest, 1.0)).mean())


def measure(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Measure a real lesion's looks against the ring around it.

    Args:
        image: values in [0, 1], (C, *spatial).
        mask: the lesion, bool (*spatial), not empty.

    Returns:
        ``colour``: change of the first channel's share (0 for one channel); ``brightness``: change of the mean;
        ``border``: mean gradient across the edge; ``texture``: deviation of the fine detail inside; ``shine``: how far
        the brightest hundredth stands above the median.
    """
    around = _around(mask)
    image, mask = image[(slice(None), *around)], mask[around]
    ring = _ring(mask)
    grey = image.mean(0)
    share = image[0] / np.maximum(image.sum(0), 1e-3)
    edge = mask ^ ndimage.binary_erosion(mask)
    slope = np.sqrt(sum(g**2 for g in np.gradient(ndimage.gaussian_filter(grey, 1.0))))
    detail = grey - ndimage.gaussian_filter(grey, 2.0)
    return {
        "colour": float(share[mask].mean() - share[ring].mean()),
        "brightness": float(grey[mask].mean() - grey[ring].mean()),
        "border": float(slope[edge].mean()),
        "texture": float(detail[mask].std()),
        "shine": float(np.percentile(grey[mask], 99) - np.median(grey[mask])),
    }


def describe(measured: Mapping[str, float], cuts: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the words of measured attributes, by the cut points between their terciles."""
    return [
        TERCILES[name][int(measured[name] >= low) + int(measured[name] >= high)] for name, (low, high) in cuts.items()
    ]


def _around(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the part of an image that bears on a mask's looks: its ring, and what the filters reach."""
    low, high = bounding_box(mask)
    reach = max(12, _width(low, high) + 4)
    return tuple(slice(max(a - reach, 0), b + reach) for a, b in zip(low.tolist(), high.tolist(), strict=True))


def _width(low: np.ndarray, high: np.ndarray) -> int:
    return max(3, round(0.2 * float(np.max(high - low))))


def _ring(mask: np.ndarray) -> np.ndarray:
    """Return the surroundings of a mask: a belt of about a fifth of its extent, a few pixels away from its edge."""
    low, high = bounding_box(mask)
    width = _width(low, high)
    near = ndimage.binary_dilation(mask, iterations=2)
    ring = ndimage.binary_dilation(near, iterations=width) & ~near
    return ring if ring.any() else ~mask if not mask.all() else mask
