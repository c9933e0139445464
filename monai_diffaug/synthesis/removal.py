"""Labelled image to one without its lesions: normal tissue, accepted only if the validator then finds nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.blend import paint_mask
from monai_diffaug.synthesis.erasing import Erasing
from monai_diffaug.synthesis.normal_gate import NormalGate
from monai_diffaug.synthesis.planner import LesionPlan
from monai_diffaug.synthesis.prompts import NORMAL_TEXT, Abnormality
from monai_diffaug.synthesis.provenance import AbnormalityRecord, Attempt, SynthesisRecord, versions
from monai_diffaug.synthesis.requests import SynthesisRequest, checked, from_fields, like
from monai_diffaug.synthesis.sites import Site
from monai_diffaug.synthesis.streams import finished
from monai_diffaug.synthesis.synthesizer import AbnormalitySynthesizer
from monai_diffaug.synthesis.window import bounding_box

TOO_LARGE = "too little tissue around the lesion"
MOST = 0.6
"""Share of the image that a lesion with its margin may cover: from less than the rest no tissue can be continued."""


@dataclass(frozen=True)
class RemovalResult:
    """What came of one request; where one lesion could not be removed, the source comes back untouched.

    Args:
        accepted: whether no lesion is left.
        image: (C, *spatial), dtype and container (array or tensor) of the request.
        label: emptied of lesions where they were removed, shape of the given label.
        mask: the lesions that there were, 0 or 1, uint8 (1, *spatial).
        record: seeds, verdicts and versions; its abnormalities are the removed ones.
    """

    accepted: bool
    image: Any
    label: Any
    mask: Any
    record: SynthesisRecord


@dataclass(frozen=True)
class _Begun:
    index: int
    asked: SynthesisRequest
    case: SynthesisRequest
    sites: list[Site]


class LesionRemover:
    """Paint normal tissue over every labelled lesion.

    Lesions whose margins meet are removed together. The others of an image are removed one by one into the source, and
    pasted together.

    Args:
        synthesizer: whose networks, windows and label values are used; its networks must know normal tissue.
        gate: judges what was painted; by default with the synthesizer's own reconstruction error.
        margin: growth of the paint mask over the lesion, as a fraction of the extent: lesions shade their surroundings.

    Example:
        >>> from monai_diffaug import load_synthesizer
        >>> remover = LesionRemover(load_synthesizer("texture_demo"))  # its bumps are no tissue: nothing is accepted
        >>> image, label = np.full((3, 96, 96), 120, np.uint8), np.zeros((1, 96, 96), np.uint8)
        >>> label[:, 40:60, 40:60] = 1
        >>> result = remover(image, label, seed=3)
        >>> result.accepted, bool((result.image == image).all()), int(result.mask.sum())
        (False, True, 400)
    """

    def __init__(
        self, synthesizer: AbnormalitySynthesizer, *, gate: NormalGate | None = None, margin: float = 0.25
    ) -> None:
        if not 0 <= margin < 1:
            raise ValueError(f"margin must lie in [0, 1), got {margin}")
        self.synthesizer, self.margin = synthesizer, margin
        own = synthesizer.renderer
        self.renderer = own.with_gate(gate or NormalGate(reconstruction_error=own.gate.min_change / 3))

    def __call__(self, image: Any, label: Any, seed: int = 0, spacing: Sequence[float] | None = None) -> RemovalResult:
        """Remove the lesions of one image; see ``SynthesisRequest`` for the arguments and errors."""
        return dict(self.stream([SynthesisRequest(image, seed, label, spacing)]))[0]

    def stream(self, requests: Iterable[SynthesisRequest | Mapping[str, Any]]) -> Iterator[tuple[int, RemovalResult]]:
        """Yield (index of the request, result) as soon as each image is finished."""
        begun = (self._begin(index, request) for index, request in enumerate(requests))
        for one in finished(begun, self.renderer):
            yield one.index, self._finish(one)

    def plan(self, case: SynthesisRequest) -> list[LesionPlan]:
        """Draw windows and noise seeds for every lesion of a checked request."""
        rng = np.random.default_rng(case.seed)
        lesions = self.lesions(case)
        forbidden = self._forbidden(case)
        parts, count = ndimage.label(lesions)
        grown = np.zeros(lesions.shape, bool)
        for number in range(1, count + 1):
            grown |= paint_mask(parts == number, forbidden, case.spacing, margin=self.margin)
        groups, _ = ndimage.label(grown | lesions)
        held = np.unique(groups[lesions]).tolist()  # a forbidden place may cut islands off a margin
        return [self._plan(case, lesions & (groups == one), groups == one, rng) for one in held]

    def _forbidden(self, case: SynthesisRequest) -> np.ndarray:
        """Return where no margin is painted and no colour is taken from: protected labels, black border, text."""
        regions, unit = self.synthesizer.planner.regions, self.synthesizer.images.to_unit(case.image)
        return np.any([np.isin(case.label, regions.protected), *(rule(unit) for rule in regions.rules)], axis=0)

    def lesions(self, case: SynthesisRequest) -> np.ndarray:
        """Return where a checked request's lesions are, bool (*spatial)."""
        if case.label is None:
            raise ValueError("removal needs a label that says where the lesions are, got none")
        return self.synthesizer.planner.regions.existing_lesions(case.label)

    def _plan(
        self, case: SynthesisRequest, mask: np.ndarray, paint: np.ndarray, rng: np.random.Generator
    ) -> LesionPlan:
        planner = self.synthesizer.planner
        spacing = case.spacing or (1.0,) * mask.ndim
        seeds = tuple(int(seed) for seed in rng.integers(2**31 - 1, size=planner.max_attempts))
        return LesionPlan(
            self._class(case, mask), NORMAL_TEXT, mask, paint, planner.windows(mask, spacing, rng, paint), seeds
        )

    def _class(self, case: SynthesisRequest, mask: np.ndarray) -> Abnormality:
        """Return the class of most of a mask's pixels; where no class has that value, the first."""
        values, counts = np.unique(np.asarray(case.label)[mask], return_counts=True)
        value, known = int(values[counts.argmax()]), self.synthesizer.planner.abnormalities
        named = next((one for one in known if one.value == value), known[0])
        return replace(named, value=value)

    def _begin(self, index: int, request: SynthesisRequest | Mapping[str, Any]) -> _Begun:
        asked = request if isinstance(request, SynthesisRequest) else from_fields(request)
        case = checked(asked, self.synthesizer.images)
        lesions = self.lesions(case)
        plans = self.plan(case)
        hidden = np.any([lesions, *(plan.paint for plan in plans)], axis=0)
        erasing = Erasing(hidden, ~(hidden | self._forbidden(case)))
        sites = [self._site(case, plan, lesions & ~plan.mask, erasing) for plan in plans]
        return _Begun(index, asked, case, sites)

    def _site(self, case: SynthesisRequest, plan: LesionPlan, others: np.ndarray, erasing: Erasing) -> Site:
        spatial = case.image.shape[1:]
        patch = case.image[(slice(None), *plan.window.inside(spatial))]
        site = Site(plan, patch, spatial, others, self.synthesizer.images, case.quantise, erasing)
        if plan.paint.mean() > MOST:
            site.unpaintable = True
            site.attempts.append(Attempt(plan.seeds[0], 0.0, False, (TOO_LARGE,), stopped_early=True))
        return site

    def _finish(self, one: _Begun) -> RemovalResult:
        """Paste what was painted, if all of it was accepted, and record everything."""
        case, lesions = one.case, self.lesions(one.case)
        accepted = all(site.accepted for site in one.sites)
        image, label = case.image.copy(), np.asarray(case.label).copy()
        if accepted:
            for site in one.sites:
                site.paste_patch(image)
            organ = self.synthesizer.planner.regions.organ
            label[lesions] = organ[0] if organ else 0
        record = SynthesisRecord(
            seed=case.seed,
            abnormalities=tuple(_record(site, case) for site in one.sites),
            unit="pixels" if case.spacing is None else "mm",
            batch_size=self.renderer.batch_size,
            weights=dict(self.synthesizer.weights),
            versions=dict(versions()),
        )
        return RemovalResult(
            accepted,
            like(image, one.asked.image),
            like(label.reshape(one.asked.label.shape), one.asked.label),
            like(lesions[None].astype(np.uint8), one.asked.image),
            record,
        )


def _record(site: Site, case: SynthesisRequest) -> AbnormalityRecord:
    plan = site.plan
    low, high = bounding_box(plan.mask)
    return AbnormalityRecord(
        name=plan.abnormality.name,
        value=plan.abnormality.value,
        prompt=plan.prompt,
        bbox=(tuple(low.tolist()), tuple(high.tolist())),
        extent=extent_of(plan.mask, case.spacing or (1.0,) * plan.mask.ndim),
        window=plan.window,
        attempts=tuple(site.attempts),
    )
