"""Lesions cut out, brought to one small grid, and compared pixel by pixel; any number of dimensions."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import torch

from monai_diffaug.synthesis.resample import resample
from monai_diffaug.synthesis.window import bounding_box

WIDEN = 0.1


def lesion_crop(unit: np.ndarray, mask: np.ndarray, side: int = 32) -> np.ndarray:
    """Return a lesion's bounding box, a little widened, resampled to (C, side, ...), float32.

    Args:
        unit: values in [0, 1], (C, *spatial).
        mask: the lesion, bool (*spatial), not empty.
        side: cells on each axis; proportions are not kept.
    """
    low, high = bounding_box(mask)
    wide = np.maximum(np.rint(WIDEN * (high - low)).astype(int), 1)
    box = tuple(slice(max(a - w, 0), b + w) for a, b, w in zip(low, high, wide, strict=True))
    part = np.ascontiguousarray(unit[(slice(None), *box)], np.float32)
    return resample(torch.from_numpy(part), (side,) * mask.ndim).numpy()


def turns(crop: np.ndarray) -> np.ndarray:
    """Return all flips and turns by right angles of a crop (C, side, ...), (K, C, side, ...); the first is itself."""
    axes = range(1, crop.ndim)
    choices = product((False, True), repeat=len(axes))
    flips = [tuple(axis for axis, flip in zip(axes, choice, strict=True) if flip) for choice in choices]
    return np.stack([np.flip(crop.transpose(0, *order), flip) for order in permutations(axes) for flip in flips])


def flattened(crops: np.ndarray) -> np.ndarray:
    """Return crops (N, C, side, ...) as rows of unit length, each channel without its mean: neither light nor tint."""
    values = crops.reshape(len(crops), crops.shape[1], -1)
    values = (values - values.mean(2, keepdims=True)).reshape(len(crops), -1)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def nearest(crop: np.ndarray, rows: np.ndarray) -> tuple[float, int, int]:
    """Return the best normalised correlation of a crop with others, which one it is, and the crop's turn.

    Args:
        crop: (C, side, ...).
        rows: the others, ``flattened``.

    Example:
        >>> crops = np.random.default_rng(0).random((3, 1, 8, 8))
        >>> value, which, turn = nearest(np.flip(crops[1], 2), flattened(crops))
        >>> round(value, 3), which
        (1.0, 1)
    """
    found = flattened(turns(crop)) @ rows.T
    turn, which = np.unravel_index(int(found.argmax()), found.shape)
    return float(found[turn, which]), int(which), int(turn)
