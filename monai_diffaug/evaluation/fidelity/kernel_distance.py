"""Distances between sets of features: the kernel distance (KID), and the Fréchet distance beside it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from monai_diffaug.evaluation.fidelity.resampling import Drawn, Figure, figure

SUBSETS, LARGEST = 100, 100


@dataclass(frozen=True)
class Distance:
    """How far one set of lesions lies from another.

    Args:
        kid: unbiased, of all lesions, with its interval over cases.
        mean, deviation: of the same over subsets of equal size.
        frechet: mean over these subsets; biased upwards, the more so the smaller they are.
        size: lesions of a subset.
    """

    kid: Figure
    mean: float
    deviation: float
    frechet: float
    size: int


def kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the cubic polynomial kernel of features (N, D) and (M, D), (N, M).

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018, section 4.
    """
    return (one @ other.T / one.shape[1] + 1) ** 3


def kernel_distance(one: np.ndarray, other: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased squared MMD of two weighted sets.

    A lesion is never compared with itself, not even where a bootstrap draws it twice: else drawing would bias it.

    Args:
        one: features (N, D); other: features (M, D).
        first: weights (N,); second: weights (M,).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> one, other = rng.standard_normal((2, 200, 4))
        >>> bool(abs(kernel_distance(one, other, np.ones(200), np.ones(200))) < 0.1)
        True
    """
    return _weighted(kernel(one, one), kernel(other, other), kernel(one, other), first, second)


def _weighted(
    within: np.ndarray, beyond: np.ndarray, between: np.ndarray, first: np.ndarray, second: np.ndarray
) -> float:
    own = _apart(within, first) + _apart(beyond, second)
    return float(own - 2 * (first @ between @ second) / (first.sum() * second.sum()))


def _apart(values: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean over pairs of unlike members."""
    pairs = weights.sum() ** 2 - (weights**2).sum()
    return float((weights @ values @ weights - (weights**2) @ np.diag(values)) / pairs) if pairs > 0 else float("nan")


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the squared Fréchet distance of the normal distributions with the moments of two sets, (N, D) and (M, D).

    The trace of the root of the product of two covariances is the sum of singular values of a small (N, M) matrix, so
    it costs little where there are fewer lesions than features. With these it is far too large: compare equal N only.
    """
    centred = [(part - part.mean(0)) / np.sqrt(len(part) - 1) for part in (one, other)]
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    spread = sum(float((part**2).sum()) for part in centred)
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + spread - 2 * cross)


def distance(one: np.ndarray, other: np.ndarray, first: Drawn, second: Drawn, *, size: int, seed: int = 0) -> Distance:
    """Return how far one set of features lies from another.

    Args:
        one: features (N, D); other: features (M, D).
        first: of the N lesions; second: of the M lesions.
        size: lesions of a subset.
        seed: draws the subsets.
    """
    rng = np.random.default_rng(seed)
    grams = [kernel(a, b) for a, b in ((one, one), (other, other), (one, other))]
    kids, frechets, ones = [], [], np.ones(size)
    for number in range(SUBSETS):
        rows, columns = (_subset(part.weights, size, rng) for part in (first, second))
        parts = grams[0][np.ix_(rows, rows)], grams[1][np.ix_(columns, columns)], grams[2][np.ix_(rows, columns)]
        kids.append(_weighted(*parts, ones, ones))
        if number < 10:  # each costs more, and they differ little
            frechets.append(frechet_distance(one[rows], other[columns]))
    kid = figure(partial(_weighted, *grams), first, second)
    return Distance(kid, float(np.mean(kids)), float(np.std(kids)), float(np.mean(frechets)), size)


def _subset(weights: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(len(weights), size, replace=False, p=weights / weights.sum())


def subset_size(*sets: Drawn) -> int:
    """Return how many lesions subsets can have that all sets can give, and still differ."""
    return max(2, min(LARGEST, *(int((one.weights > 0).sum()) // 2 for one in sets)))
