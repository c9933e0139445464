"""What was planned, what the gate accepted, and what is real: how far their distributions lie apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from monai_diffaug.evaluation.fidelity.resampling import Drawn, Figure, figure, weighted_quantile
from monai_diffaug.evaluation.fidelity.windows import ACCEPTED, LOOKS, SHAPE, UNPAINTED, LesionView, values_of

THIRDS = ("smallest third", "middle third", "largest third")


def gaps(one: np.ndarray, other: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the Kolmogorov-Smirnov and the Wasserstein-1 distance of two weighted samples, (N,) and (M,).

    Example:
        >>> gaps(np.array([0.0, 1.0]), np.array([2.0, 3.0]), np.ones(2), np.ones(2))
        (1.0, 2.0)
    """
    values = np.concatenate([one, other])
    order = np.argsort(values, kind="stable")
    rises = np.concatenate([first / first.sum(), -second / second.sum()])[order]
    steps = np.diff(values[order])
    apart = np.abs(np.cumsum(rises))[:-1]
    # Only between different values do the distribution functions have their heights.
    return float(apart[steps > 0].max(initial=0.0)), float((apart * steps).sum())


def compare(one: Sequence[LesionView], other: Sequence[LesionView], first: Drawn, second: Drawn) -> dict[str, Any]:
    """Return of every fact both medians and how far the distributions are apart.

    Wasserstein distances are in standard deviations of the second set.
    """
    found = {}
    for name in (*SHAPE, *LOOKS):
        values, others = values_of(one, name), values_of(other, name)
        kept, known = np.isfinite(values), np.isfinite(others)
        if kept.sum() < 2 or known.sum() < 2:
            continue
        sides = values[kept], others[known]
        unit = max(float(sides[1].std()), 1e-12)
        parts = first.part(kept), second.part(known)
        found[name] = {
            "median": weighted_quantile(sides[0], parts[0].weights, 0.5),
            "other_median": weighted_quantile(sides[1], parts[1].weights, 0.5),
            "ks": figure(partial(_gap, sides, 0, 1.0), *parts),
            "wasserstein": figure(partial(_gap, sides, 1, unit), *parts),
        }
    return found


def _gap(sides: tuple[np.ndarray, np.ndarray], which: int, unit: float, first: np.ndarray, second: np.ndarray) -> float:
    return gaps(*sides, first, second)[which] / unit if first.any() and second.any() else float("nan")


def gate_shift(planned: Sequence[LesionView], training: Sequence[LesionView], held_out: Sequence[LesionView]) -> Any:
    """Return how planned, painted, accepted and real lesions differ; accepted ones are drawn along with planned ones.

    Args:
        planned: all lesions that a run planned, refused ones too.
        training: real lesions.
        held_out: other real ones.
    """
    accepted = np.array([view.status == ACCEPTED for view in planned])
    painted = np.array([view.status != UNPAINTED for view in planned])
    every = Drawn.of([view.case for view in planned], seed=1)
    real, apart = (Drawn.of([one.case for one in of], seed=seed) for of, seed in ((training, 2), (held_out, 3)))
    views = {"planned": planned, "painted": _chosen(planned, painted), "accepted": _chosen(planned, accepted)}
    sides = {"planned": every, "painted": every.part(painted), "accepted": every.part(accepted)}
    return {
        "counts": Counter(view.status for view in planned),
        "accepted_against_planned": compare(views["accepted"], planned, sides["accepted"], every),
        "accepted_against_painted": compare(views["accepted"], views["painted"], sides["accepted"], sides["painted"]),
        "planned_against_training": compare(planned, training, every, real),
        "accepted_against_training": compare(views["accepted"], training, sides["accepted"], real),
        "held_out_against_training": compare(held_out, training, apart, real),
        "acceptance": acceptance(planned, every),
        "words": {name: word_shares(one) for name, one in {**views, "training": training}.items()},
    }


def _chosen(views: Sequence[LesionView], which: np.ndarray) -> list[LesionView]:
    return [view for view, kept in zip(views, which, strict=True) if kept]


def acceptance(planned: Sequence[LesionView], drawn: Drawn) -> list[dict[str, Any]]:
    """Return the share of lesions that the gate accepted, of those planned and of those painted, by size and word."""
    accepted = np.array([view.status == ACCEPTED for view in planned], float)
    painted = np.array([view.status != UNPAINTED for view in planned], float)
    rows = []
    for name, inside in _bins(planned).items():
        weights = inside.astype(float)
        of_planned: Figure = figure(partial(_share, accepted, weights), drawn)
        of_painted: Figure = figure(partial(_share, accepted, weights * painted), drawn)
        counts = {"planned": int(weights.sum()), "painted": int((weights * painted).sum())}
        rows.append({"bin": name, **counts, "of_planned": of_planned, "of_painted": of_painted})
    return rows


def _share(accepted: np.ndarray, inside: np.ndarray, weights: np.ndarray) -> float:
    total = (weights * inside).sum()
    return float((weights * inside * accepted).sum() / total) if total else float("nan")


def _bins(views: Sequence[LesionView]) -> dict[str, np.ndarray]:
    """Return bins by third of the planned extent, and by the words of size and outline: name -> bool (N,)."""
    extents = values_of(views, "extent")
    thirds = np.searchsorted(np.quantile(extents, [1 / 3, 2 / 3]), extents, "right")
    found = {name: thirds == number for number, name in enumerate(THIRDS)}
    for kind in ("size", "outline"):
        said = np.array([view.words.get(kind, "") for view in views])
        found |= {f"{kind}: {word}": said == word for word in sorted(set(said.tolist()) - {""})}
    return found


def word_shares(views: Sequence[LesionView]) -> Mapping[str, Mapping[str, float]]:
    """Return how often each word is said: kind -> word -> share."""
    kinds = sorted({kind for view in views for kind in view.words})
    counts = {kind: Counter(view.words[kind] for view in views if kind in view.words) for kind in kinds}
    return {kind: {word: n / of.total() for word, n in of.most_common()} for kind, of in counts.items()}
