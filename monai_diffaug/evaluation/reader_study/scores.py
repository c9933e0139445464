"""From answers to figures: per reader, pooled, by size, and how far readers agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from monai_diffaug.evaluation.reader_study.agreement import auc, fleiss_kappa, weighted_kappa
from monai_diffaug.evaluation.reader_study.answers import Key, Reader
from monai_diffaug.evaluation.reader_study.resampling import bootstrap, intervals, redraw
from monai_diffaug.evaluation.reader_study.selection import REAL

CUT = 4  # from here on the realism scale calls a picture real
FIGURES = (
    *("auc", "accuracy", "sensitivity", "specificity"),
    *("realism_real", "realism_synthetic", "usefulness_real", "usefulness_synthetic"),
)


@dataclass(frozen=True)
class Ratings:
    """Answers to the first showing of every picture; NaN where there is none.

    Args:
        realism, usefulness: (readers, pictures).
        real: (pictures,), bool.
        sizes: (pictures,).
    """

    realism: np.ndarray
    usefulness: np.ndarray
    real: np.ndarray
    sizes: np.ndarray

    def figures(self, reader: int, pictures: np.ndarray) -> np.ndarray:
        """Return the ``FIGURES`` of one reader over the pictures of these indices."""
        return figures(self.realism[reader, pictures], self.usefulness[reader, pictures], self.real[pictures])


def figures(realism: np.ndarray, usefulness: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Return one reader's ``FIGURES``; NaN where there is no answer to take one from.

    Args:
        realism, usefulness: (pictures,), NaN for none.
        real: (pictures,), bool.

    Example:
        >>> realism = np.array([5.0, 4.0, 2.0, 4.0])
        >>> real = np.array([True, True, False, False])
        >>> dict(zip(FIGURES[:4], figures(realism, realism, real)[:4].tolist()))
        {'auc': 0.875, 'accuracy': 0.75, 'sensitivity': 0.5, 'specificity': 1.0}
    """
    on_real, on_synthetic = (realism[side & np.isfinite(realism)] for side in (real, ~real))
    right = np.concatenate([on_real >= CUT, on_synthetic < CUT])
    found = [auc(on_real, on_synthetic), _mean(right), _mean(on_synthetic < CUT), _mean(on_real >= CUT)]
    found += [_mean(on_real), _mean(on_synthetic)]
    found += [_mean(usefulness[side & np.isfinite(usefulness)]) for side in (real, ~real)]
    return np.array(found)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def mean_of_readers(rows: np.ndarray) -> np.ndarray:
    """Return the mean of each column of (readers, figures) over those that have it."""
    there = np.isfinite(rows)
    count = there.sum(0)
    return np.where(count > 0, np.where(there, rows, 0).sum(0) / np.maximum(count, 1), np.nan)


def score(key: Key, readers: Sequence[Reader], *, seed: int = 0, draws: int = 2000) -> dict[str, Any]:
    """Return all figures with 95 % intervals, as JSON; None where one is not defined.

    Args:
        key: of the study.
        readers: with their answers, 1 or more.
        seed, draws: of the bootstrap.
    """
    codes = [code for code, one in key.pictures.items() if one.repeats is None]
    ratings = _ratings(key, readers, codes)
    rng = np.random.default_rng(seed)
    everything = np.arange(len(codes))
    return {
        "study": key.study,
        "pictures": {"real": int(ratings.real.sum()), "synthetic": int((~ratings.real).sum())},
        "repeats": len(key.pictures) - len(codes),
        "bootstrap": {"draws": draws, "seed": seed, "level": 0.95},
        "readers": [
            {
                "reader": reader.name,
                "missing": _missing(key, reader),
                "median_seconds": _median_seconds(reader),
                **_named(ratings.figures(index, everything), _over_images(ratings, index, rng, draws)),
                "repeats": _repeats(key, reader),
            }
            for index, reader in enumerate(readers)
        ],
        "pooled": _pooled(ratings, everything, rng, draws),
        "by_size": _by_size(ratings, rng, draws),
        "agreement": _agreement(ratings, [one.name for one in readers], rng, draws),
    }


def _ratings(key: Key, readers: Sequence[Reader], codes: Sequence[str]) -> Ratings:
    tables = {}
    for scale in ("realism", "usefulness"):
        values = [[getattr(reader.answers.get(code), scale, None) for code in codes] for reader in readers]
        tables[scale] = np.array(values, dtype=float)
    shown = [key.pictures[code] for code in codes]
    real = np.array([one.kind == REAL for one in shown])
    return Ratings(tables["realism"], tables["usefulness"], real, np.array([one.size for one in shown]))


def _missing(key: Key, reader: Reader) -> dict[str, int]:
    """Count pictures, repeats too, without an answer on each scale."""
    given = {scale: [getattr(one, scale) for one in reader.answers.values()] for scale in ("realism", "usefulness")}
    return {scale: len(key.pictures) - sum(one is not None for one in values) for scale, values in given.items()}


def _median_seconds(reader: Reader) -> float | None:
    times = [one.seconds for one in reader.answers.values() if one.seconds is not None]
    return round(float(np.median(times)), 1) if times else None


def _over_images(ratings: Ratings, reader: int, rng: np.random.Generator, draws: int) -> np.ndarray:
    return bootstrap(lambda drawn: ratings.figures(reader, drawn), ratings.real, rng, draws)


def _pooled(ratings: Ratings, pictures: np.ndarray, rng: np.random.Generator, draws: int) -> dict[str, Any]:
    """Return the mean over readers; intervals redraw readers and images, each reader seeing the same images."""
    readers = np.arange(len(ratings.realism))

    def mean(who: np.ndarray, which: np.ndarray) -> np.ndarray:
        rows = {int(one): ratings.figures(int(one), which) for one in np.unique(who)}
        return mean_of_readers(np.array([rows[int(one)] for one in who]))

    redrawn = [
        mean(rng.choice(readers, len(readers)), pictures[redraw(ratings.real[pictures], rng)]) for _ in range(draws)
    ]
    return _named(mean(readers, pictures), intervals(np.array(redrawn)))


def _by_size(ratings: Ratings, rng: np.random.Generator, draws: int) -> list[dict[str, Any]]:
    """Return the pooled figures of the smallest, middle and largest third of all lesions."""
    parts = np.array_split(np.argsort(ratings.sizes, kind="stable"), 3)
    return [
        {
            "third": name,
            "from": round(float(ratings.sizes[part].min()), 4),
            "to": round(float(ratings.sizes[part].max()), 4),
            "real": int(ratings.real[part].sum()),
            "synthetic": int((~ratings.real[part]).sum()),
            **_pooled(ratings, part, rng, draws),
        }
        for name, part in zip(("small", "medium", "large"), parts, strict=True)
        if len(part)
    ]


def _agreement(ratings: Ratings, names: Sequence[str], rng: np.random.Generator, draws: int) -> dict[str, Any]:
    pairs = []
    for one, other in combinations(range(len(names)), 2):
        entry: dict[str, Any] = {"readers": [names[one], names[other]]}
        for scale, table in (("realism", ratings.realism), ("usefulness", ratings.usefulness)):
            both = np.flatnonzero(np.isfinite(table[[one, other]]).all(0))
            measured = _kappa_of(table[one, both], table[other, both], ratings.real[both], rng, draws)
            entry[scale] = {**measured, "pictures": len(both)}
        pairs.append(entry)
    return {"pairs": pairs, "fleiss_real_or_synthetic": _fleiss(ratings, rng, draws)}


def _kappa_of(
    one: np.ndarray, other: np.ndarray, real: np.ndarray, rng: np.random.Generator, draws: int
) -> dict[str, Any]:
    def measure(drawn: np.ndarray) -> np.ndarray:
        return np.array([weighted_kappa(one[drawn], other[drawn])])

    return _entry(measure(np.arange(len(one)))[0], bootstrap(measure, real, rng, draws)[0])


def _fleiss(ratings: Ratings, rng: np.random.Generator, draws: int) -> dict[str, Any] | None:
    """Return Fleiss' kappa of the call real or synthetic, over the pictures that all readers judged."""
    all_judged = np.flatnonzero(np.isfinite(ratings.realism).all(0))
    if len(ratings.realism) < 2 or not len(all_judged):
        return None
    real_calls = (ratings.realism[:, all_judged] >= CUT).sum(0)
    calls = np.stack([real_calls, len(ratings.realism) - real_calls], 1)

    def measure(drawn: np.ndarray) -> np.ndarray:
        return np.array([fleiss_kappa(calls[drawn])])

    interval = bootstrap(measure, ratings.real[all_judged], rng, draws)[0]
    return {**_entry(measure(np.arange(len(calls)))[0], interval), "pictures": len(calls)}


def _repeats(key: Key, reader: Reader) -> dict[str, Any]:
    """Return how far a reader agrees with themself on pictures shown twice; too few for an interval."""
    found: dict[str, Any] = {}
    for scale in ("realism", "usefulness"):
        twice = [
            (getattr(reader.answers.get(one.repeats), scale, None), getattr(reader.answers.get(code), scale, None))
            for code, one in key.pictures.items()
            if one.repeats is not None
        ]
        both = np.array([pair for pair in twice if None not in pair], dtype=float).reshape(-1, 2)
        found[scale] = {"pictures": len(both), "kappa": _plain(weighted_kappa(both[:, 0], both[:, 1]))}
    return found


def _named(values: np.ndarray, limits: np.ndarray) -> dict[str, Any]:
    return {name: _entry(value, limit) for name, value, limit in zip(FIGURES, values, limits, strict=True)}


def _entry(value: float, limits: np.ndarray) -> dict[str, Any]:
    return {"value": _plain(value), "low": _plain(limits[0]), "high": _plain(limits[1])}


def _plain(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
