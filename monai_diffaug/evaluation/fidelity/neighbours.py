"""Are synthetic lesions nearer to the training lesions than lesions are that nobody trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_diffaug.evaluation.fidelity.crops import flattened, nearest
from monai_diffaug.evaluation.fidelity.resampling import Drawn, Figure, figure, weighted_quantile

LOWEST = 0.01
"""Share of held-out lesions that lie nearer than the bound below which a lesion counts as conspicuously near."""


@dataclass(frozen=True)
class Nearest:
    """The nearest training lesion of each lesion of a set.

    Args:
        distances: 0 for the same, (N,).
        which: number of the training lesion, (N,).
        turns: flip or turn of the lesion under which it is nearest, see ``crops.turns``; 0 is none, (N,).
    """

    distances: np.ndarray
    which: np.ndarray
    turns: np.ndarray


@dataclass(frozen=True)
class Privacy:
    """Synthetic against held-out distances to the training lesions.

    Args:
        ratio: of the medians; below 1 the synthetic ones are nearer.
        auc: chance that a synthetic lesion is nearer than a held-out one; 0.5 where they are alike, 1 for copies.
        below: share of synthetic lesions nearer than ``bound``.
        bound: the distance that 1 % of held-out lesions lie below.
    """

    ratio: Figure
    auc: Figure
    below: Figure
    bound: float


def nearest_features(features: np.ndarray, training: np.ndarray) -> Nearest:
    """Return nearest neighbours by one less the cosine of features, (N, D) and (M, D)."""
    rows, others = (part / np.linalg.norm(part, axis=1, keepdims=True).clip(1e-12) for part in (features, training))
    cosines = rows @ others.T
    which = cosines.argmax(1)
    return Nearest((1 - cosines.max(1)).clip(0), which, np.zeros(len(rows), int))


def nearest_pixels(crops: np.ndarray, training: np.ndarray) -> Nearest:
    """Return nearest neighbours by one less the correlation of crops, (N, C, side, ...), over all flips and turns."""
    rows = flattened(training)
    found = [nearest(crop, rows) for crop in crops]
    values, which, turns = (np.array(one) for one in zip(*found, strict=True))
    return Nearest((1 - values).clip(0), which, turns)


def auc(nearer: np.ndarray, farther: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the chance that one of the first distances is below one of the second; ties count half.

    Args:
        nearer: (N,); farther: (M,).
        first: weights (N,); second: weights (M,).

    Example:
        >>> auc(np.array([1.0, 3.0]), np.array([2.0, 3.0]), np.ones(2), np.ones(2))
        0.625
    """
    below = (nearer[:, None] < farther) + 0.5 * (nearer[:, None] == farther)
    return _wins(below, first, second)


def _wins(below: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ below @ second / (first.sum() * second.sum()))


def privacy(synthetic: np.ndarray, held_out: np.ndarray, first: Drawn, second: Drawn) -> Privacy:
    """Compare the distances to the training lesions of synthetic lesions (N,) and of held-out ones (M,)."""
    below = (synthetic[:, None] < held_out) + 0.5 * (synthetic[:, None] == held_out)
    bound = weighted_quantile(held_out, second.weights, LOWEST)

    def ratio(one: np.ndarray, other: np.ndarray) -> float:
        return weighted_quantile(synthetic, one, 0.5) / max(weighted_quantile(held_out, other, 0.5), 1e-12)

    def share(one: np.ndarray, other: np.ndarray) -> float:
        near = synthetic < weighted_quantile(held_out, other, LOWEST)
        return float((one * near).sum() / one.sum())

    return Privacy(
        figure(ratio, first, second),
        figure(lambda one, other: _wins(below, one, other), first, second),
        figure(share, first, second),
        bound,
    )
