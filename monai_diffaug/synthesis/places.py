"""Put a shape at the allowed place that is nearest to a wanted one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

TRIED = 512  # nearest candidates tried one by one; of those beyond, as many again, evenly spread


def place_nearest(
    blob: np.ndarray, allowed: np.ndarray, spacing: Sequence[float], centre: Sequence[float]
) -> np.ndarray | None:
    """Return a mask (*spatial) of the blob inside the allowed places, or None where none was found that holds it.

    Args:
        blob: a shape in its own bounding box, bool.
        allowed: bool (*spatial).
        spacing: size of a pixel on each axis.
        centre: wanted middle of the box on each axis, as fractions in [0, 1].
    """
    for start in _candidates(blob, allowed, np.asarray(spacing), np.asarray(centre)):
        box = tuple(slice(s, s + b) for s, b in zip(start, blob.shape, strict=True))
        if allowed[box][blob].all():
            mask = np.zeros(allowed.shape, bool)
            mask[box] = blob
            return mask
    return None


def _candidates(blob: np.ndarray, allowed: np.ndarray, spacing: np.ndarray, centre: np.ndarray) -> Iterator[list[int]]:
    """Yield first indices of the blob's box, from the wanted place outwards.

    Only a growing box around the wanted place is looked at: distances over a whole volume would cost seconds.
    """
    shape, size = np.array(allowed.shape), np.array(blob.shape)
    last = shape - size
    if (last < 0).any():
        return
    wanted = np.clip(centre * shape - size / 2, 0, last)
    inner, reach = 0.0, 0.5 * float((size * spacing).max())
    while inner < float(np.linalg.norm(shape * spacing)):
        low = np.clip(np.ceil(wanted - reach / spacing), 0, last).astype(int)
        high = np.clip(np.floor(wanted + reach / spacing), 0, last).astype(int)
        starts = low + np.argwhere(_roomy(blob, allowed, spacing, low, high))
        away = np.linalg.norm((starts - wanted) * spacing, axis=1)
        ring = np.flatnonzero((away >= inner) & (away < reach))
        order = ring[np.argsort(away[ring], kind="stable")]
        beyond = order[TRIED:]
        yield from starts[[*order[:TRIED], *beyond[:: max(1, len(beyond) // TRIED)]]].tolist()
        inner, reach = reach, 2 * reach


def _roomy(blob: np.ndarray, allowed: np.ndarray, spacing: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return for each first index from low to high whether the ball that the blob's depth holds could be allowed.

    Cheap, and never wrong to say no: a blob fits only where the largest ball inside of it does.
    """
    deep = ndimage.distance_transform_edt(np.pad(blob, 1), sampling=spacing)
    middle = np.array(np.unravel_index(np.argmax(deep), deep.shape)) - 1
    part = allowed[tuple(slice(a, b + n) for a, b, n in zip(low, high, blob.shape, strict=True))]
    depth = ndimage.distance_transform_edt(np.pad(part, 1), sampling=spacing)
    starts = tuple(slice(1 + m, 1 + m + b - a + 1) for m, a, b in zip(middle, low, high, strict=True))
    return depth[starts] >= deep.max()
