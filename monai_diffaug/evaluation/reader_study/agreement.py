"""Small measures of agreement and of telling apart; NaN where a measure is not defined."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

LEVELS = 5  # of both scales


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the chance that a positive value exceeds a negative one, ties counted half (Mann-Whitney).

    Args:
        positive, negative: values, 1-dimensional.

    Example:
        >>> auc(np.array([3, 4, 5]), np.array([1, 3]))
        0.9166666666666666
        >>> auc(np.array([2, 2]), np.array([2]))
        0.5
    """
    count, others = len(positive), len(negative)
    if not count or not others:
        return float("nan")
    ranks = rankdata(np.concatenate([positive, negative]))
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * others))


def weighted_kappa(one: np.ndarray, other: np.ndarray, levels: int = LEVELS) -> float:
    """Return Cohen's kappa with quadratic weights (Cohen, Psychol Bull 1968).

    Args:
        one, other: ratings of the same things, whole numbers from 1 to ``levels``.

    Example:
        >>> weighted_kappa(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 4]))
        1.0
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} ratings; both must be of the same things")
    table = np.zeros((levels, levels))
    np.add.at(table, (np.asarray(one, int) - 1, np.asarray(other, int) - 1), 1)
    grid = np.arange(levels)
    weights = (grid[:, None] - grid[None]) ** 2
    chance = np.outer(table.sum(1), table.sum(0)) / max(table.sum(), 1)
    expected = float((weights * chance).sum())
    return 1 - float((weights * table).sum()) / expected if expected else float("nan")


def fleiss_kappa(calls: np.ndarray) -> float:
    """Return Fleiss' kappa (Psychol Bull 1971).

    Args:
        calls: how many readers put a thing into a class, (things, classes); every row has the same sum, 2 or more.

    Example:
        >>> fleiss_kappa(np.array([[3, 0], [0, 3], [3, 0]]))
        1.0
    """
    calls = np.asarray(calls, float)
    readers = calls.sum(1)
    if not len(calls):
        return float("nan")
    if readers.min() < 2 or readers.min() != readers.max():
        raise ValueError(f"rows sum to {readers.min():g} to {readers.max():g}; all need the same number of readers, 2+")
    count = readers[0]
    observed = ((calls**2).sum(1) - count).mean() / (count * (count - 1))
    expected = float(((calls.sum(0) / calls.sum()) ** 2).sum())
    return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")
