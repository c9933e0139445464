"""Run every measure, each time beside its yardstick: synthetic against training, held-out real against training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.evaluation.fidelity.diversity import diversity
from monai_diffaug.evaluation.fidelity.features import FeatureNet, features_of
from monai_diffaug.evaluation.fidelity.gate_shift import gate_shift
from monai_diffaug.evaluation.fidelity.kernel_distance import distance, subset_size
from monai_diffaug.evaluation.fidelity.neighbours import Nearest, nearest_features, nearest_pixels, privacy
from monai_diffaug.evaluation.fidelity.resampling import Drawn, Figure, effective, figure, matching, weighted_quantile
from monai_diffaug.evaluation.fidelity.windows import ACCEPTED, LesionView, values_of, windows_of

EDGES = ("rim", "sharpness")


@dataclass(frozen=True)
class Lesions:
    """One set of lesions that are there to be seen.

    Args:
        views: real or accepted ones.
        pixels: their extents, (N,).
        cases: the image of each, (N,).
        features: (N, D).
    """

    views: tuple[LesionView, ...]
    pixels: np.ndarray
    cases: np.ndarray
    features: np.ndarray

    def drawn(self, weights: np.ndarray | None, seed: int) -> Drawn:
        return Drawn.of(self.cases.tolist(), weights, seed=seed)


@dataclass(frozen=True)
class Fidelity:
    """What was measured.

    Args:
        figures: by section; values are ``Figure`` and numbers.
        neighbours: set (synthetic, held_out) -> measure (pixels, features) -> nearest training lesions.
        synthetic, training, held_out: the lesions.
    """

    figures: dict[str, Any]
    neighbours: dict[str, dict[str, Nearest]]
    synthetic: Lesions
    training: Lesions
    held_out: Lesions


class Measures:
    """Compare synthetic with real lesions.

    Sizes are matched by weights: training lesions to those of the set that they are compared with, and where synthetic
    and held-out lesions are compared with each other, held-out ones to the synthetic.

    Args:
        net: whose features are compared.
        cache: folder that keeps features; None = nowhere.
        seed: of every draw.
    """

    def __init__(self, net: FeatureNet, *, cache: Path | None = None, seed: int = 0) -> None:
        self.net, self.cache, self.seed = net, cache, seed

    def __call__(
        self, planned: Sequence[LesionView], training: Sequence[LesionView], held_out: Sequence[LesionView]
    ) -> Fidelity:
        """Measure everything.

        Args:
            planned: of a run, accepted and refused.
            training: real lesions that the bundle was trained on.
            held_out: real lesions that it was not trained on.

        Raises:
            ValueError: when the sizes of two sets do not meet.
        """
        accepted = [view for view in planned if view.status == ACCEPTED]
        named = (("synthetic", accepted), ("training", training), ("held-out", held_out))
        fake, train, apart = (self._lesions(views, what) for what, views in named)
        near = {
            name: {
                "pixels": nearest_pixels(_crops(one), _crops(train)),
                "features": nearest_features(one.features, train.features),
            }
            for name, one in (("synthetic", fake), ("held_out", apart))
        }
        figures = {
            "sizes": self._sizes(fake, train, apart),
            "distance": self._distances(fake, train, apart),
            "diversity": self._diversity(fake, train, apart),
            "edges": self._edges(fake, train, apart),
            "privacy": self._privacy(fake, apart, near),
            "gate": gate_shift(planned, training, held_out),
        }
        return Fidelity(figures, near, fake, train, apart)

    def _lesions(self, views: Sequence[LesionView], what: str) -> Lesions:
        features = features_of(self.net, windows_of(views), cache=self.cache, what=what)
        pixels, cases = np.array([one.pixels for one in views]), np.array([one.case for one in views])
        return Lesions(tuple(views), pixels, cases, features)

    def _sizes(self, fake: Lesions, train: Lesions, apart: Lesions) -> dict[str, Any]:
        """Return of each set its lesions, and how many remain, in effect, at the sizes of the synthetic ones."""
        found = {"synthetic": {"lesions": len(fake.views), "effective": float(len(fake.views))}}
        for name, one in (("training", train), ("held_out", apart)):
            found[name] = {"lesions": len(one.views), "effective": effective(matching(one.pixels, fake.pixels))}
        return found

    def _distances(self, fake: Lesions, train: Lesions, apart: Lesions) -> dict[str, Any]:
        pairs = {
            name: (one.drawn(None, self.seed), train.drawn(matching(train.pixels, one.pixels), self.seed + 1))
            for name, one in (("synthetic", fake), ("held_out", apart))
        }
        size = subset_size(*(drawn for pair in pairs.values() for drawn in pair))
        return {
            name: distance(one.features, train.features, *pairs[name], size=size, seed=self.seed)
            for name, one in (("synthetic", fake), ("held_out", apart))
        }

    def _diversity(self, fake: Lesions, train: Lesions, apart: Lesions) -> dict[str, Figure]:
        found = {"synthetic": diversity(windows_of(fake.views), fake.cases, fake.drawn(None, self.seed))}
        for name, one in (("training", train), ("held_out", apart)):
            drawn = one.drawn(matching(one.pixels, fake.pixels), self.seed + 1)
            found[name] = diversity(windows_of(one.views), one.cases, drawn, seed=self.seed)
        return found

    def _edges(self, fake: Lesions, train: Lesions, apart: Lesions) -> dict[str, dict[str, Figure]]:
        """Return the medians of rim and sharpness over those of training lesions."""
        found: dict[str, dict[str, Figure]] = {}
        for name, one in (("synthetic", fake), ("held_out", apart)):
            sides = one.drawn(None, self.seed), train.drawn(matching(train.pixels, one.pixels), self.seed + 1)
            found[name] = {
                edge: figure(partial(_ratio, values_of(one.views, edge), values_of(train.views, edge)), *sides)
                for edge in EDGES
            }
        return found

    def _privacy(self, fake: Lesions, apart: Lesions, near: dict[str, dict[str, Nearest]]) -> dict[str, Any]:
        sides = fake.drawn(None, self.seed), apart.drawn(matching(apart.pixels, fake.pixels), self.seed + 1)
        return {
            kind: privacy(near["synthetic"][kind].distances, near["held_out"][kind].distances, *sides)
            for kind in ("pixels", "features")
        }


def _ratio(values: np.ndarray, others: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    bottom = weighted_quantile(others, second, 0.5)
    return weighted_quantile(values, first, 0.5) / bottom if bottom else float("nan")


def _crops(lesions: Lesions) -> np.ndarray:
    return np.stack([view.crop for view in lesions.views if view.crop is not None])
