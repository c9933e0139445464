"""Means with bootstrap intervals over patients (or sequences) and trainings, single or paired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval.

    Args:
        value: the mean.
        low, high: 2.5th and 97.5th percentile of the bootstrap.
        draws: the bootstrap's own means, (DRAWS,).
    """

    value: float
    low: float
    high: float
    draws: np.ndarray

    @classmethod
    def of(cls, value: float, draws: np.ndarray) -> Estimate:
        """Return an estimate from the mean and the bootstrap's means; NaN where there is nothing."""
        if not np.isfinite(draws).any():
            return cls(value, float("nan"), float("nan"), draws)
        low, high = np.nanpercentile(draws, [2.5, 97.5])
        return cls(value, float(low), float(high), draws)

    def text(self, scale: float = 1.0, *, sign: bool = False, digits: int = 1) -> str:
        """Return ``value (low to high)``."""
        if np.isnan(self.value):
            return "-"
        form = f"{{:{'+' if sign else ''}.{digits}f}}"
        return f"{form} ({form} to {form})".format(*(scale * one for one in (self.value, self.low, self.high)))


class Bootstrap:
    """Draw patients and trainings with replacement, the same draws for every figure of one test set.

    Trainings are drawn alike for all test sets, where the same segmenters are tested: means over test sets vary as
    they should.

    Args:
        groups: of each row the patient or sequence.
        seeds: number of trainings.
        seed: of the draws.
        draws: how many.

    Example:
        >>> rows = np.array([[0.0, 1.0, 1.0, 0.0]])
        >>> Bootstrap(["a", "a", "b", "b"], seeds=1).mean(rows).value
        0.5
    """

    def __init__(self, groups: Sequence[str], seeds: int, *, seed: int = 0, draws: int = DRAWS) -> None:
        rng = np.random.default_rng(seed)
        names, own = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
        counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
        self.rows = counts[:, own].astype(float)
        self.trainings = (
            np.random.default_rng([seed, 1]).multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
        )

    def mean(self, rows: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
        """Return the mean over trainings of the mean over rows.

        Args:
            rows: of each training and row a value, NaN where there is none, (seeds, rows).
            weights: of each row, how much it counts (0 leaves it out), (rows,).
        """
        weight = np.isfinite(rows) * (1.0 if weights is None else weights)
        values = np.nan_to_num(rows)
        with np.errstate(invalid="ignore", divide="ignore"):
            value = float(((values * weight).sum(1) / weight.sum(1)).mean())
            drawn = (self.rows @ (values * weight).T) / (self.rows @ weight.T)  # (draws, seeds)
        return Estimate.of(value, (drawn * self.trainings).sum(1))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return ``one`` less ``other``, both of the same bootstrap: paired by patient and training."""
    return Estimate.of(one.value - other.value, one.draws - other.draws)


def relative(one: Estimate, other: Estimate) -> Estimate:
    """Return the change from ``other`` to ``one`` as a share of ``other``."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.float64(one.value) / other.value - 1
        return Estimate.of(float(value), one.draws / other.draws - 1)


def average(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of estimates of several test sets, each counting the same."""
    return Estimate.of(
        float(np.mean([one.value for one in estimates])), np.mean([one.draws for one in estimates], axis=0)
    )
