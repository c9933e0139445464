"""Resample to the network grid and back: one small matrix an axis, shared by images and volumes.

Torch's own interpolation antialiases images only, and names its modes by the number of dimensions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def resample(tensor: Tensor, shape: Sequence[int], within: Sequence[slice] | None = None) -> Tensor:
    """Resample the last axes of ``tensor`` to ``shape``: linear, widened to a triangle filter when reducing.

    Args:
        tensor: floating values, (..., *spatial).
        shape: spatial shape to resample to; the edge is repeated where the filter leaves the tensor.
        within: part of the resampled grid to compute; all of it when not given.
    """
    return _along_axes(tensor, shape, _linear_matrix, within)


def resample_mask(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """Resample a 0/1 mask by area fraction and cut at one half; a mask too thin for that keeps its fullest cells."""
    area = _along_axes(mask, shape, _area_matrix)
    threshold = min(0.5, float(area.max()))
    return ((area >= threshold) & (area > 0)).to(mask.dtype)


def _along_axes(
    tensor: Tensor, shape: Sequence[int], make: Callable[[int, int], Tensor], within: Sequence[slice] | None = None
) -> Tensor:
    first = tensor.ndim - len(shape)
    for axis, out in enumerate(shape, start=first):
        part = slice(None) if within is None else within[axis - first]
        if tensor.shape[axis] != out or within is not None:
            matrix = make(tensor.shape[axis], out)[part].to(tensor.device, tensor.dtype)
            tensor = _multiply(tensor, matrix, axis, first)
    return tensor


def _multiply(tensor: Tensor, matrix: Tensor, axis: int, first: int) -> Tensor:
    """Multiply ``matrix`` (out, n) along one axis, the samples and channels before ``first`` kept apart.

    ``bmm`` instead of ``matmul``: that would fold the samples into the rows of one product, whose last bits depend on
    a row's place, so that batch-mates would matter.
    """
    before, count, after = tensor.shape[:axis], tensor.shape[axis], tensor.shape[axis + 1 :]
    if after:
        batch = tensor.reshape(-1, count, math.prod(after))
        product = torch.bmm(matrix.expand(len(batch), *matrix.shape), batch)
    else:
        batch = tensor.reshape(math.prod(tensor.shape[:first]), -1, count)
        product = torch.bmm(batch, matrix.T.expand(len(batch), *matrix.T.shape))
    return product.reshape(*before, len(matrix), *after)


@functools.lru_cache(maxsize=512)
def _linear_matrix(count: int, out: int) -> Tensor:
    ratio = count / out
    width = max(ratio, 1.0)
    centres = (torch.arange(out, dtype=torch.float64)[:, None] + 0.5) * ratio - 0.5
    taps = (torch.arange(count, dtype=torch.float64)[None] - centres) / width
    weights = (1 - taps.abs()).clamp_min(0)
    # Taps beyond the edge are missing; what is left is scaled up, which repeats the edge.
    return (weights / weights.sum(1, keepdim=True)).float()


@functools.lru_cache(maxsize=512)
def _area_matrix(count: int, out: int) -> Tensor:
    ratio = count / out
    left = torch.arange(out, dtype=torch.float64)[:, None] * ratio
    cell = torch.arange(count, dtype=torch.float64)[None]
    overlap = torch.minimum(left + ratio, cell + 1) - torch.maximum(left, cell)
    return (overlap.clamp_min(0) / ratio).float()
