"""Stages 1 to 4: draw everything about a sample from one seed, before anything is painted."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from monai_diffaug.synthesis.attributes import size_word
from monai_diffaug.synthesis.blend import paint_mask
from monai_diffaug.synthesis.class_masks import MasksByClass
from monai_diffaug.synthesis.masks import AimedSampler, MaskSampler, NoRoomError
from monai_diffaug.synthesis.prompts import SIZE_WORDS, Abnormality, PromptBank, split_words
from monai_diffaug.synthesis.regions import Regions
from monai_diffaug.synthesis.requests import SynthesisRequest
from monai_diffaug.synthesis.targets import MissTargets
from monai_diffaug.synthesis.window import Window, WindowSampler


@dataclass(frozen=True)
class LesionPlan:
    """One abnormality to paint.

    Args:
        abnormality: its class.
        prompt: its text.
        mask: where it shall be, bool (*spatial).
        paint: where pixels may change, bool (*spatial); contains ``mask``.
        window: what the networks see.
        seeds: of the noise, one per attempt.
    """

    abnormality: Abnormality
    prompt: str
    mask: np.ndarray
    paint: np.ndarray
    window: Window
    seeds: tuple[int, ...]


class Planner:
    """Draw place, shape, text and window of one or more abnormalities.

    Args:
        regions: where an abnormality may lie.
        masks: shape, size and place, of any class or by class.
        prompts: text that fits the mask.
        windows: what the networks see of the image.
        abnormalities: the classes, at least one.
        counts: weight of 1, 2, 3 ... abnormalities in one image.
        margin: growth of the paint mask over the label mask, as a fraction of the extent.
        max_attempts: noise draws for the same mask and prompt before the sample is refused.
    """

    def __init__(
        self,
        regions: Regions,
        masks: MaskSampler,
        prompts: PromptBank,
        windows: WindowSampler,
        *,
        abnormalities: Sequence[Abnormality],
        counts: Sequence[float] = (1.0,),
        margin: float = 0.1,
        max_attempts: int = 4,
    ) -> None:
        if (
            not abnormalities
            or not sum(one.weight for one in abnormalities)
            or len({one.name for one in abnormalities}) < len(abnormalities)
        ):
            raise ValueError(
                f"abnormalities must have distinct names and weights that are not all 0, got {list(abnormalities)}"
            )
        if not 0 <= margin < 1:
            raise ValueError(f"margin must lie in [0, 1), got {margin}")
        if max_attempts < 1 or not counts or min(counts) < 0 or sum(counts) <= 0:
            raise ValueError(f"max_attempts and counts must be positive, got {max_attempts} and {list(counts)}")
        self.regions, self.masks, self.prompts, self.windows = regions, masks, prompts, windows
        # The rules guess where a drawn mask belongs; who gives a mask knows better than a guess.
        self.given_regions = Regions(organ=regions.organ, protected=regions.protected, gap=regions.gap)
        self.abnormalities = tuple(abnormalities)
        self.counts = np.asarray(counts, float) / sum(counts)
        self.margin = margin
        self.max_attempts = max_attempts

    def __call__(self, request: SynthesisRequest, unit_image: np.ndarray) -> tuple[LesionPlan, ...]:
        """Return the abnormalities to paint; ``unit_image`` is the image scaled to [0, 1].

        Raises:
            ValueError: when nothing is allowed, or a given mask, prompt or class does not fit.
        """
        self.check_order(request.prompt, request.abnormality)
        rng = np.random.default_rng(request.seed)
        regions = self.regions if request.mask is None else self.given_regions
        allowed = regions(unit_image, request.label, request.regions, request.spacing)
        count = 1 if request.mask is not None else int(rng.choice(len(self.counts), p=self.counts)) + 1
        plans: list[LesionPlan] = []
        for _ in range(count):
            try:
                plans.append(self._draw(request, allowed, plans, rng))
            except NoRoomError:
                if not plans:
                    raise
                break  # fewer than drawn: the image is full
            allowed = allowed & ~plans[-1].paint
            request = replace(request, target=None)  # it was for the first
        return tuple(plans)

    def shaped(self, masks: MasksByClass) -> Planner:
        """Return a planner that draws other masks; classes that have none there keep their own.

        Raises:
            ValueError: when a class is unknown.
        """
        for name in masks.samplers:
            self.check_order(None, name)
        own = {one.name: self._sampler(one.name) for one in self.abnormalities}
        other = copy.copy(self)
        other.masks = MasksByClass({**own, **masks.samplers}, about=masks.about)
        return other

    def check_order(self, prompt: str | None, abnormality: str | None) -> None:
        """Raise ValueError when the prompt has no known word, the class is unknown, or they contradict each other."""
        names = [one.name for one in self.abnormalities]
        if abnormality is not None and abnormality not in names:
            raise ValueError(f"abnormality {abnormality!r} is unknown to this bundle; it knows: {', '.join(names)}")
        if prompt is not None:
            self.prompts.check_words(prompt, names)
        named = [one.name for one in self._named(prompt)]
        if len(named) > 1 or (abnormality is not None and named and named != [abnormality]):
            asked = f", but {abnormality!r} was asked for" if abnormality else "; one at a time can be asked for"
            raise ValueError(f"prompt {prompt!r} names the class {' and '.join(named)}{asked}")

    def check_targets(self, targets: MissTargets) -> None:
        """Raise ValueError or TypeError where this planner cannot follow the targets; warn of words without effect."""
        for one in self.abnormalities:
            _aimed(self._sampler(one.name))
        for name in sorted({one.abnormality for one in targets.outcomes if one.abnormality is not None}):
            self._known(name)
        # What was measured is told by the words that the bank has; a word that somebody wrote should have an effect.
        self.prompts.check_wanted([targets.written(one) for one in targets.outcomes])

    def _draw(
        self,
        request: SynthesisRequest,
        allowed: np.ndarray,
        others: Sequence[LesionPlan],
        rng: np.random.Generator,
    ) -> LesionPlan:
        spacing, target = _spacing(request, allowed), request.target
        abnormality = self._class(request, rng)
        mask, paint = self._apart(request, abnormality.name, allowed, others, rng)
        prompt = request.prompt
        if prompt is None:
            prompt = self.prompts.draw(abnormality, mask, spacing, rng, None if target is None else target.words)
        else:
            self.prompts.check_size(prompt, mask, spacing)
        window = self.windows(mask, spacing, rng, paint)
        seeds = tuple(int(seed) for seed in rng.integers(2**31 - 1, size=self.max_attempts))
        return LesionPlan(abnormality, prompt, mask, paint, window, seeds)

    def paint(self, mask: np.ndarray, label: np.ndarray | None, spacing: Sequence[float] | None = None) -> np.ndarray:
        """Return where pixels may change for ``mask``: its margin, but nothing that must stay as it is."""
        forbidden = None if label is None else self.regions.untouchable(label, spacing)
        return paint_mask(mask, forbidden, spacing, margin=self.margin)

    def _named(self, prompt: str | None) -> list[Abnormality]:
        """Return the classes that a text names."""
        words = set(split_words(prompt or ""))
        return [one for one in self.abnormalities if words.issuperset(split_words(one.name))]

    def _known(self, text: str) -> Abnormality:
        """Return the class that goes by a text."""
        for one in self.abnormalities:
            if one.goes_by(text):
                return one
        known = ", ".join(f"{one.name} ({one.value})" for one in self.abnormalities)
        raise ValueError(f"the target's class {text!r} is unknown to this bundle; it knows: {known}")

    def asked_class(self, prompt: str | None, abnormality: str | None) -> Abnormality | None:
        """Return the class that is asked for by name or by an own text; None where it is to be drawn."""
        if abnormality is not None:
            return next((one for one in self.abnormalities if one.name == abnormality), None)
        return next(iter(self._named(prompt)), None)

    def _class(self, request: SynthesisRequest, rng: np.random.Generator) -> Abnormality:
        if asked := self.asked_class(request.prompt, request.abnormality):
            return asked
        if request.target is not None and request.target.abnormality is not None:
            return self._known(request.target.abnormality)
        weights = np.array([one.weight for one in self.abnormalities], float)
        return self.abnormalities[rng.choice(len(weights), p=weights / weights.sum())]

    def _apart(
        self,
        request: SynthesisRequest,
        name: str,
        allowed: np.ndarray,
        others: Sequence[LesionPlan],
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a mask and its paint mask, which keeps clear of those drawn before.

        Drawn again rather than cut, so that a paint mask depends on nothing but its own mask and the label: replay
        does not know the abnormalities that were refused.
        """
        for _ in range(8):
            mask = self._mask(request, name, allowed, rng)
            paint = self.paint(mask, request.label, request.spacing)
            if not any((paint & other.paint).any() for other in others):
                return mask, paint
        raise NoRoomError("no room for one more abnormality beside those drawn before")

    def _mask(self, request: SynthesisRequest, name: str, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if request.mask is not None:
            return _given(np.asarray(request.mask) != 0, allowed)
        spacing = _spacing(request, allowed)
        asked = [word for word in split_words(request.prompt or "") if word in SIZE_WORDS]
        for _ in range(32):  # a size word in the user's text steers the size
            mask = self._shape(request, name, allowed, rng)
            if not asked or size_word(mask, spacing, self.prompts.size_cuts) in asked:
                return mask
        raise NoRoomError(f"no {asked[0]} abnormality fits the allowed places or the bundle's sizes; change the prompt")

    def _shape(self, request: SynthesisRequest, name: str, allowed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spacing, target, masks = _spacing(request, allowed), request.target, self._sampler(name)
        if target is None:
            return masks(allowed, spacing, rng)
        return _aimed(masks).around(allowed, spacing, rng, extent=target.extent, centre=target.centre)

    def _sampler(self, name: str) -> MaskSampler:
        return self.masks.of(name) if isinstance(self.masks, MasksByClass) else self.masks


def _aimed(masks: MaskSampler) -> AimedSampler:
    if not isinstance(masks, AimedSampler):
        raise TypeError(f"{type(masks).__name__} cannot draw near a wanted size and place: it has no around()")
    return masks


def _spacing(request: SynthesisRequest, allowed: np.ndarray) -> tuple[float, ...]:
    return tuple(request.spacing or (1.0,) * allowed.ndim)


def _given(mask: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    if not mask.any():
        raise ValueError("the given mask is empty; it needs at least one non-zero pixel")
    outside = int((mask & ~allowed).sum())
    if outside:
        raise ValueError(
            f"{outside} of the given mask's {int(mask.sum())} pixels lie where nothing may be painted "
            f"(existing lesions and their surroundings, or outside the allowed regions); move the mask"
        )
    return mask
