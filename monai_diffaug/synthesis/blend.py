"""Put the painted window back: outside the paint mask not one bit changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis.window import bounding_box


def paint_mask(
    mask: np.ndarray, forbidden: np.ndarray | None, spacing: Sequence[float] | None = None, *, margin: float = 0.1
) -> np.ndarray:
    """Return the label mask grown by a margin: where shadow, fold or oedema may show.

    Args:
        mask: the abnormality, bool (*spatial), not empty.
        forbidden: where nothing may change (existing lesions and their guard), or None.
        spacing: size of a pixel on each axis; equal on all where not given.
        margin: growth as a fraction of the extent, in the unit of ``spacing``; at least 2 pixels along each axis.
    """
    sizes = np.asarray(spacing or (1.0,) * mask.ndim)
    low, high = bounding_box(mask)
    reach = margin * float(np.max((high - low) * sizes))
    pixels = np.maximum(2, np.floor(reach / sizes).astype(int))
    box = tuple(slice(max(a - n, 0), b + n) for a, b, n in zip(low, high, pixels, strict=True))
    grown = np.zeros(mask.shape, bool)
    grown[box] = ndimage.distance_transform_edt(~mask[box], sampling=sizes) <= max(reach, 2 * sizes.min())
    if np.ptp(sizes) > 0:  # along a coarse axis the margin may be less than 2 pixels
        grown[box] |= ndimage.distance_transform_edt(~mask[box]) <= 2
    return grown if forbidden is None else (grown & ~forbidden) | mask


def feather(mask: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """Return alpha (*box) in [0, 1]: 1 on the label mask, falling to 0 at the paint mask's edge, 0 outside.

    Args:
        mask: the label mask, bool (*box).
        paint: the paint mask, bool (*box); it does not fade where it meets the box, which is the image's edge.
    """
    to_label = ndimage.distance_transform_edt(~mask)
    to_edge = ndimage.distance_transform_edt(paint) if not paint.all() else np.inf
    fade = 1 - to_label / np.maximum(to_label + to_edge, 1e-6)
    return np.where(paint, fade, 0).astype(np.float32)


def grain(original: np.ndarray) -> np.ndarray:
    """Return the finest detail of stored values (C, *box): the camera's grain, which no autoencoder keeps.

    That is what differs from the Gaussian mean over one pixel, bounded at three typical sizes (median absolute
    deviation), so that glare and vessels do not shine through paint.
    """
    values = original.astype(np.float64)
    detail = values - ndimage.gaussian_filter(values, (0, *[1.0] * (values.ndim - 1)))
    typical = 1.4826 * np.median(np.abs(detail), axis=tuple(range(1, detail.ndim)), keepdims=True)
    return np.clip(detail, -3 * typical, 3 * typical)


def composite(original: np.ndarray, values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return ``original`` with ``values`` blended in, in its own dtype: rounded and clipped to what that holds.

    Args:
        original: stored values, (C, *box).
        values: painted values in the image's intensity range, (C, *box).
        alpha: weight of ``values`` in [0, 1], (*box); where it is 0 every bit stays.
    """
    mixed = alpha * values + (1.0 - alpha) * original
    return np.where(alpha > 0, _to_dtype(mixed, original.dtype), original)


def _to_dtype(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if not np.issubdtype(dtype, np.integer):
        return values.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.rint(values), info.min, info.max).astype(dtype)
