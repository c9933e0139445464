"""How alike the lesions of one set are to each other: the mean MS-SSIM of pairs of windows."""

from __future__ import annotations

import numpy as np
import torch
from monai.metrics import MultiScaleSSIMMetric

from monai_diffaug.evaluation.fidelity.resampling import Drawn, Figure, figure

PAIRS = 300


def draw_pairs(cases: np.ndarray, weights: np.ndarray, *, pairs: int, seed: int = 0) -> np.ndarray:
    """Return pairs of lesions of different cases, (pairs, 2); each lesion's chance is its weight.

    Raises:
        ValueError: when there is one case alone.
    """
    rng = np.random.default_rng(seed)
    chances = weights / weights.sum()
    if len(np.unique(cases[weights > 0])) < 2:
        raise ValueError("all lesions are of one image, so there are no pairs to compare; give more images")
    found: list[np.ndarray] = []
    while len(found) < pairs:
        both = rng.choice(len(cases), 2, p=chances)
        if cases[both[0]] != cases[both[1]]:
            found.append(both)
    return np.stack(found)


def similarities(windows: np.ndarray, pairs: np.ndarray, *, batch_size: int = 20) -> np.ndarray:
    """Return the MS-SSIM of pairs of windows, (pairs,).

    Args:
        windows: uint8 (N, C, *size), 161 cells or more on each axis.
        pairs: (pairs, 2).
        batch_size: pairs at once.
    """
    metric = MultiScaleSSIMMetric(spatial_dims=windows.ndim - 2, data_range=1.0, reduction="none")
    found = []
    for start in range(0, len(pairs), batch_size):
        one, other = (torch.from_numpy(windows[rows]).float() / 255 for rows in pairs[start : start + batch_size].T)
        found.append(torch.as_tensor(metric(one, other)).flatten())
    return torch.cat(found).double().numpy()


def diversity(windows: np.ndarray, cases: np.ndarray, drawn: Drawn, *, seed: int = 0) -> Figure:
    """Return the mean MS-SSIM of pairs of unlike cases; lower is more diverse.

    Args:
        windows: uint8 (N, C, *size).
        cases: of each lesion, (N,).
        drawn: the set; pairs are drawn by its weights.
        seed: draws the pairs.
    """
    pairs = draw_pairs(cases, drawn.weights, pairs=PAIRS, seed=seed)
    values = similarities(windows, pairs)
    # Pairs were drawn by the weights already: a draw counts how often cases came, and no more.
    times = np.divide(drawn.draws, drawn.weights, out=np.zeros_like(drawn.draws), where=drawn.weights > 0)
    return figure(lambda weights: _mean(values, weights, pairs), Drawn(np.ones(len(cases)), times))


def _mean(values: np.ndarray, weights: np.ndarray, pairs: np.ndarray) -> float:
    both = weights[pairs[:, 0]] * weights[pairs[:, 1]]
    return float((values * both).sum() / both.sum()) if both.any() else float("nan")
