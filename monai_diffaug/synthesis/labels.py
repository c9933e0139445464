"""Merge a new abnormality into the label map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def label_value(label: np.ndarray | None, value: int) -> int:
    """Return the value to write: a label of 0 and 255 is binary and stays so, else ``value``."""
    if label is None or label.max() != 255:
        return value
    return 255 if bool(((label == 0) | (label == 255)).all()) else value


def check_fits(label: np.ndarray | None, value: int) -> None:
    """Raise ValueError when the label's dtype cannot hold ``value``."""
    if label is not None and np.issubdtype(label.dtype, np.integer) and value > np.iinfo(label.dtype).max:
        raise ValueError(f"value {value} does not fit a label of dtype {label.dtype}; store the label in a wider one")


def blank(spatial: tuple[int, ...], values: Sequence[int]) -> np.ndarray:
    """Return a label map of background (*spatial) whose dtype holds ``values``: uint8, or uint16 for large ones."""
    return np.zeros(spatial, np.uint8 if max(values, default=1) < 256 else np.uint16)


def merge(label: np.ndarray, mask: np.ndarray, value: int, protected: Sequence[int] = ()) -> np.ndarray:
    """Return a label map with ``value`` where the mask is and no protected value stands.

    Args:
        label: integer map (*spatial).
        mask: the new abnormality, bool (*spatial).
        value: its value in the label map.
        protected: values that stay as they are.

    Raises:
        ValueError: when the shapes differ or the label's dtype cannot hold ``value``.
    """
    if label.shape != mask.shape:
        raise ValueError(f"label has shape {label.shape} but the mask has {mask.shape}; they must be equal")
    check_fits(label, value)
    merged = label.copy()
    merged[mask & ~np.isin(label, list(protected))] = value
    return merged
