"""Bootstrap intervals over images, and over readers and images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LEVEL = 0.95


def redraw(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw indices with replacement within each group, so that every group keeps its number.

    Args:
        groups: (N,), the group of each thing.

    Example:
        >>> groups = np.array([0, 1, 0])
        >>> [int(one) for one in np.bincount(groups[redraw(groups, np.random.default_rng(0))])]
        [2, 1]
    """
    drawn = [rng.choice(np.flatnonzero(groups == group), int((groups == group).sum())) for group in np.unique(groups)]
    return np.concatenate(drawn) if drawn else np.zeros(0, int)


def bootstrap(
    figures: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, rng: np.random.Generator, draws: int
) -> np.ndarray:
    """Return percentile intervals, (figures, 2), of figures of redrawn images; NaN where a figure never is defined.

    Args:
        figures: indices of images -> (figures,).
        groups: (images,), drawn within each.
        draws: how often.
    """
    return intervals(np.array([figures(redraw(groups, rng)) for _ in range(draws)]))


def intervals(values: np.ndarray) -> np.ndarray:
    """Return the percentile interval of each column, (columns, 2), over its finite values."""
    low = 100 * (1 - LEVEL) / 2
    found = []
    for column in values.T:
        finite = column[np.isfinite(column)]
        found.append(np.percentile(finite, [low, 100 - low]) if finite.size else [np.nan, np.nan])
    return np.array(found)
