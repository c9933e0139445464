"""Draw what a sample shall be like from the lesions that a model misses: their sizes, places, classes and looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from monai_diffaug.synthesis.attributes import describe
from monai_diffaug.synthesis.prompts import SIZE_WORDS, Abnormality, split_words
from monai_diffaug.synthesis.window import bounding_box

STREAM = 1
"""Sets the draws of targets apart from the plan's own, which come from the sample's seed alone."""


@dataclass(frozen=True)
class Target:
    """What the first abnormality of a sample shall be like.

    Args:
        extent: longest side of its bounding box, as a fraction of the image's shortest side.
        centre: middle of its bounding box on each axis of the array, as fractions in [0, 1].
        words: attribute -> word for the prompt, such as ``{"colour": "redder"}``; the others are drawn.
        abnormality: name of its class, None = drawn.
        case: of the real lesion that it was drawn after, for the record.
    """

    extent: float
    centre: tuple[float, ...]
    words: Mapping[str, str] = field(default_factory=dict)
    abnormality: str | None = None
    case: str = ""

    def __post_init__(self) -> None:
        _check_place(self.extent, self.centre)

    def told(self, mask: np.ndarray | None, spacing: Sequence[float] | None) -> dict[str, Any]:
        """Return what was asked for, and how far from it a mask (*spatial) lies, for the record.

        ``moved`` counts in the image's shortest side, and is None without a mask.
        """
        moved = None
        if mask is not None:
            low, high = bounding_box(mask)
            sides = np.array(mask.shape) * np.asarray(spacing or 1.0)
            away = ((low + high) / 2 / mask.shape - self.centre) * sides
            moved = round(float(np.linalg.norm(away) / sides.min()), 4)
        return {**asdict(self), "centre": list(self.centre), "moved": moved}


@dataclass(frozen=True)
class LesionOutcome:
    """How a model fared at one real lesion.

    Args:
        case: its image.
        extent: longest side of its bounding box, as a fraction of the image's shortest side.
        centre: middle of its bounding box on each axis of the array, as fractions in [0, 1].
        missed: whether the model missed it.
        recall: share of it that the model found, None = unknown.
        abnormality: name of its class or its value in the label, as text; None = unknown.
        looks: attribute -> what ``attributes.measure`` gives, or a word; only what is known.
    """

    case: str
    extent: float
    centre: tuple[float, ...]
    missed: bool
    recall: float | None = None
    abnormality: str | None = None
    looks: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_place(self.extent, self.centre)
        if self.recall is not None and not 0 <= self.recall <= 1:
            raise ValueError(f"recall must lie in [0, 1], got {self.recall}")


class MissTargets:
    """Draw targets near the lesions that a model missed: a kernel density over size and place.

    A lesion is drawn by its weight: 1 where it was missed, ``exp(-(recall / smoothing)^2 / 2)`` where it was found in
    part. Then its extent is multiplied by a factor, uniform in the logarithm, and its centre is shifted on each axis,
    uniformly; its class and the words for its looks stay.

    Args:
        outcomes: of the model, at least one of them missed, all of equally many dimensions.
        cuts: class -> attribute -> cut points between its terciles (a bundle's ``attribute_cuts``), which make words of
            measured looks; what has none is left to the prompt bank. A single class is everybody's.
        smoothing: how far lesions that were found in part count too; 0 draws after missed ones alone.
        factor: greatest change of the extent, from 1.
        shift: greatest change of the centre on each axis, as a fraction of the image's side.
        digest: sha256 of the file that the outcomes stand in, for the run's report.

    Example:
        >>> missed = LesionOutcome("a", 0.1, (0.2, 0.7), True, looks={"colour": 0.05})
        >>> cuts = {"polyp": {"colour": (-0.01, 0.02)}}
        >>> targets = MissTargets([missed, LesionOutcome("b", 0.4, (0.5, 0.5), False)], cuts)
        >>> target = targets(seed=3)
        >>> target.case, dict(target.words), 0.08 <= target.extent <= 0.125
        ('a', {'colour': 'redder'}, True)
    """

    def __init__(
        self,
        outcomes: Sequence[LesionOutcome],
        cuts: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
        *,
        smoothing: float = 0.2,
        factor: float = 1.25,
        shift: float = 0.1,
        digest: str = "",
    ) -> None:
        if not any(one.missed for one in outcomes):
            raise ValueError(f"none of {len(outcomes)} lesions was missed, so there is nothing to draw after")
        if len({len(one.centre) for one in outcomes}) > 1:
            raise ValueError("the lesions' places have different numbers of dimensions; keep 2D and 3D apart")
        if smoothing < 0 or factor < 1 or not 0 <= shift <= 1:
            raise ValueError(
                "smoothing must be 0 or more, factor 1 or more and shift lie in [0, 1]; "
                f"got {smoothing}, {factor} and {shift}"
            )
        self.outcomes = tuple(outcomes)
        self.cuts = {
            name: {attribute: (float(low), float(high)) for attribute, (low, high) in own.items()}
            for name, own in (cuts or {}).items()
        }
        self.smoothing, self.factor, self.shift, self.digest = smoothing, factor, shift, digest
        self.weights = np.array([_weight(one, smoothing) for one in outcomes])

    @property
    def dims(self) -> int:
        """Number of dimensions of the places."""
        return len(self.outcomes[0].centre)

    def __call__(self, seed: int, abnormality: Abnormality | None = None) -> Target:
        """Return the target of a sample's seed; with a class, drawn among lesions of that class or of none.

        Raises:
            ValueError: when no lesion of the class was missed.
        """
        rng = np.random.default_rng([seed, STREAM])
        weights = self._weights_of(abnormality)
        drawn = self.outcomes[rng.choice(len(weights), p=weights / weights.sum())]
        extent = drawn.extent * self.factor ** rng.uniform(-1, 1)
        centre = np.clip(drawn.centre + self.shift * rng.uniform(-1, 1, self.dims), 0, 1)
        return Target(
            round(float(extent), 4),
            tuple(centre.round(4).tolist()),
            self.words(drawn),
            drawn.abnormality,
            drawn.case,
        )

    def check_order(self, prompt: str | None, abnormality: Abnormality | None) -> None:
        """Raise ValueError when an own text names a size, or no lesion of the asked class was missed."""
        sizes = [word for word in split_words(prompt or "") if word in SIZE_WORDS]
        if sizes:
            raise ValueError(f"prompt {prompt!r} says {sizes[0]!r}, but sizes come from the misses; leave it out")
        self._weights_of(abnormality)

    def words(self, outcome: LesionOutcome) -> dict[str, str]:
        """Return the words for a lesion's looks; measured ones without cut points have none."""
        words, cuts = {}, self._cuts_of(outcome)
        for name, look in outcome.looks.items():
            if isinstance(look, str):
                words[name] = look
            elif name in cuts:
                (words[name],) = describe({name: look}, {name: cuts[name]})
        return words

    @staticmethod
    def written(outcome: LesionOutcome) -> dict[str, str]:
        """Return the looks of a lesion that were given as words."""
        return {name: look for name, look in outcome.looks.items() if isinstance(look, str)}

    def _cuts_of(self, outcome: LesionOutcome) -> Mapping[str, tuple[float, float]]:
        if len(self.cuts) == 1:
            return next(iter(self.cuts.values()))
        return self.cuts.get(outcome.abnormality or "", {})

    def summary(self) -> dict[str, Any]:
        """Return what a run's report says: how many lesions, how they are drawn, and what of."""
        missed = [one for one in self.outcomes if one.missed]
        words = Counter(word for one in missed for word in self.words(one).values())
        return {
            "sha256": self.digest,
            "lesions": len(self.outcomes),
            "missed": len(missed),
            "smoothing": self.smoothing,
            "factor": self.factor,
            "shift": self.shift,
            "extents_missed": np.percentile([one.extent for one in missed], [0, 50, 100]).round(4).tolist(),
            "words_missed": dict(words.most_common()),
        }

    def _weights_of(self, abnormality: Abnormality | None) -> np.ndarray:
        if abnormality is None:
            return self.weights
        fits = [one.abnormality is None or abnormality.goes_by(one.abnormality) for one in self.outcomes]
        weights = self.weights * fits
        if not weights.any():
            raise ValueError(f"the misses hold no missed lesion of the class {abnormality.name!r}; leave the class out")
        return weights


def _weight(outcome: LesionOutcome, smoothing: float) -> float:
    if outcome.missed:
        return 1.0
    return 0.0 if outcome.recall is None or not smoothing else float(np.exp(-((outcome.recall / smoothing) ** 2) / 2))


def _check_place(extent: float, centre: Sequence[float]) -> None:
    if not (np.isfinite(extent) and extent > 0):
        raise ValueError(f"extent must be above 0, as a fraction of the image's shortest side; got {extent}")
    if not centre or not all(0 <= one <= 1 for one in centre):
        raise ValueError(f"a centre must be fractions in [0, 1], got {list(centre)}")
