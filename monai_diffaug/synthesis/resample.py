"""Resample to the network grid and back: axis by axis, so that images and volumes share it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate


def resample(tensor: Tensor, shape: Sequence[int], within: Sequence[slice] | None = None) -> Tensor:
    """Resample the last axes of ``tensor`` to ``shape``: linear, widened to a triangle filter when reducing.

    Torch antialiases images only; one axis at a time, a volume is a stack of them. No sample's values meet another's,
    so batch-mates do not matter.

    Args:
        tensor: floating values, (..., *spatial).
        shape: spatial shape to resample to; the edge is repeated where the filter leaves the tensor.
        within: part of the resampled grid to return; all of it when not given.
    """
    first = tensor.ndim - len(shape)
    for axis, out in enumerate(shape, start=first):
        if tensor.shape[axis] != out:
            tensor = _along(tensor, axis, out)
        if within is not None:
            part = within[axis - first]
            tensor = tensor.narrow(axis, part.start, part.stop - part.start)
    return tensor


def resample_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample a 0/1 mask and cut it at one half; a mask too thin for that keeps its fullest cells."""
    share = resample(mask, shape)
    threshold = min(0.5, float(share.max()))
    return ((share >= threshold) & (share > 0)).to(mask.dtype)


def _along(tensor: Tensor, axis: int, out: int) -> Tensor:
    """Resample one axis, seen as the rows or, for the last axis, the columns of images."""
    before, count, after = tensor.shape[:axis], tensor.shape[axis], tensor.shape[axis + 1 :]
    # A last extent of 1 would make torch take the layout for channels-last, and mix the values up.
    columns = math.prod(after)
    flat = (1, math.prod(before), count, columns) if columns > 1 else (1, 1, math.prod(before), count)
    size = (out, columns) if columns > 1 else (math.prod(before), out)
    resampled = interpolate(tensor.reshape(flat), size=size, mode="bilinear", antialias=True)
    return resampled.reshape(*before, out, *after)
