"""Intervals over cases, and weights that bring one set of lesions to the sizes of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 500
BINS = 5


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over cases, NaN where there is none."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float | None]:
        return {name: float(one) if np.isfinite(one) else None for name, one in vars(self).items()}

    def text(self, digits: int = 3) -> str:
        """Return ``value (low to high)``."""
        if not np.isfinite(self.value):
            return "-"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class Drawn:
    """One set of lesions, and its bootstrap.

    Args:
        weights: how much each lesion counts, (N,).
        draws: the same in each draw of cases, (DRAWS, N).
    """

    weights: np.ndarray
    draws: np.ndarray

    @classmethod
    def of(cls, cases: Sequence[str], weights: np.ndarray | None = None, *, seed: int = 0) -> Drawn:
        """Draw cases with replacement; lesions of one case share light, tissue and patient and are drawn together.

        Args:
            cases: of each lesion.
            weights: how much each counts; all the same by default.
            seed: of the draws.

        Example:
            >>> drawn = Drawn.of(["a", "a", "b"])
            >>> bool((drawn.draws[:, 0] == drawn.draws[:, 1]).all()), drawn.weights.tolist()
            (True, [1.0, 1.0, 1.0])
        """
        names, own = np.unique(np.asarray(cases, dtype=str), return_inverse=True)
        chances = np.full(len(names), 1 / len(names))
        counts = np.random.default_rng(seed).multinomial(len(names), chances, size=DRAWS)[:, own]
        base = np.ones(len(own)) if weights is None else np.asarray(weights, float)
        return cls(base, counts * base)

    def part(self, chosen: np.ndarray) -> Drawn:
        """Return some of the lesions (bool, (N,)) in the same draws: figures of both are paired."""
        return Drawn(self.weights[chosen], self.draws[:, chosen])


def figure(statistic: Callable[..., float], *sets: Drawn) -> Figure:
    """Return a statistic with the interval of its bootstrap.

    Args:
        statistic: takes the weights (N,) of each set and returns a number, NaN where it has none.
        sets: one or more.
    """
    value = statistic(*(one.weights for one in sets))
    drawn = np.array([statistic(*weights) for weights in zip(*(one.draws for one in sets), strict=True)])
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if len(drawn) else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high))


def matching(sizes: np.ndarray, wanted: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """Return weights (N,) under which lesions have the sizes of others: the same share in each of their quantile bins.

    Args:
        sizes: of the lesions to weigh, (N,).
        wanted: of the others, (M,).
        bins: equally full ones of ``wanted``; a bin that no lesion falls into is left out.

    Raises:
        ValueError: when no size is shared.

    Example:
        >>> matching(np.array([1.0, 1.0, 9.0]), np.array([1.0, 2.0, 8.0, 9.0]), bins=2).tolist()
        [0.75, 0.75, 1.5]
    """
    cuts = np.quantile(wanted, np.linspace(0, 1, bins + 1)[1:-1])
    mine, theirs = np.searchsorted(cuts, sizes, "right"), np.searchsorted(cuts, wanted, "right")
    there, goal = (np.bincount(one, minlength=bins) / len(one) for one in (mine, theirs))
    weights = np.divide(goal, there, out=np.zeros(bins), where=there > 0)[mine]
    # No lesion stands in for one far larger or smaller than all of the others.
    weights[(sizes < wanted.min() / 1.5) | (sizes > wanted.max() * 1.5)] = 0
    if not weights.any():
        raise ValueError(
            f"the sizes of two sets do not meet: {sizes.min():g} to {sizes.max():g} pixels, and {wanted.min():g} to "
            f"{wanted.max():g}; compare sets of like sizes"
        )
    return weights * len(sizes) / weights.sum()


def effective(weights: np.ndarray) -> float:
    """Return how many equally weighted lesions would tell as much."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def weighted_quantile(values: np.ndarray, weights: np.ndarray, at: float) -> float:
    """Return the smallest value that at least a share ``at`` of the weight lies at or below; NaNs are left out.

    Example:
        >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.5)
        2.0
    """
    kept = np.isfinite(values) & (weights > 0)
    if not kept.any():
        return float("nan")
    order = np.argsort(values[kept])
    total = np.cumsum(weights[kept][order])
    place = int(np.searchsorted(total, at * total[-1] * (1 - 1e-12)))
    return float(values[kept][order][min(place, len(total) - 1)])
