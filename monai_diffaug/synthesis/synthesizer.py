"""One sample from one seed: plan, render, record. Every door ends here."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.class_masks import MasksByClass
from monai_diffaug.synthesis.gate import QualityGate
from monai_diffaug.synthesis.images import ImageFormat
from monai_diffaug.synthesis.labels import blank, check_fits, label_value, merge
from monai_diffaug.synthesis.masks import NoRoomError
from monai_diffaug.synthesis.open_gate import OpenGate
from monai_diffaug.synthesis.planner import LesionPlan, Planner
from monai_diffaug.synthesis.prompts import Abnormality
from monai_diffaug.synthesis.provenance import AbnormalityRecord, SynthesisRecord, split_mask, versions
from monai_diffaug.synthesis.renderer import Renderer
from monai_diffaug.synthesis.requests import SynthesisRequest, checked, from_fields, like
from monai_diffaug.synthesis.sites import Site, pasted, union
from monai_diffaug.synthesis.streams import finished
from monai_diffaug.synthesis.targets import MissTargets
from monai_diffaug.synthesis.window import bounding_box


@dataclass(frozen=True)
class SynthesisResult:
    """What came of one request; a refused one carries the source untouched.

    Args:
        image: (C, *spatial), dtype and container (array or tensor) of the request.
        label: merged integer map, shape of the given label, else (1, *spatial).
        mask: the new abnormality, 0 or 1, uint8 (1, *spatial); all 0 when refused.
        record: seeds, verdicts, prompts and versions.
        planned: what was asked for, painted or not, 0 or 1, uint8 (1, *spatial).
        prediction: what the validator saw last, 0 or 1, uint8 (1, *spatial).
        refused: the image as it was refused last, only for a refused sample of an audit.
    """

    image: Any
    label: Any
    mask: Any
    record: SynthesisRecord
    planned: Any
    prediction: Any
    refused: Any = None


@dataclass(frozen=True)
class _Begun:
    """A sample at work: ``asked`` is the request as it came, ``case`` the same with plain arrays."""

    index: int
    asked: SynthesisRequest
    case: SynthesisRequest
    sites: list[Site]


class AbnormalitySynthesizer:
    """Paint validated abnormalities into images.

    Args:
        images: what images it takes.
        planner: draws mask, text, window and noise seeds from a seed.
        renderer: paints and judges.
        weights: network name -> sha256, for the record.
        targets: what requests without mask or target of their own are drawn after; see ``aimed``.

    Example:
        >>> import numpy as np
        >>> from monai_diffaug import load_synthesizer
        >>> synthesizer = load_synthesizer("texture_demo")
        >>> frame = np.full((3, 200, 240), 120, np.uint8)
        >>> result = synthesizer(frame, seed=7)
        >>> result.image.shape, result.image.dtype, result.record.seed
        ((3, 200, 240), dtype('uint8'), 7)
        >>> bool(result.record.accepted), int(result.label.max())
        (True, 1)
    """

    def __init__(
        self,
        images: ImageFormat,
        planner: Planner,
        renderer: Renderer,
        *,
        weights: Mapping[str, str] | None = None,
        targets: MissTargets | None = None,
    ) -> None:
        self.images, self.planner, self.renderer = images, planner, renderer
        self.weights = dict(weights or {})
        self.targets = targets

    def __call__(
        self,
        image: Any,
        label: Any = None,
        seed: int = 0,
        spacing: Sequence[float] | None = None,
        regions: Any = None,
        mask: Any = None,
        prompt: str | None = None,
        abnormality: str | None = None,
    ) -> SynthesisResult:
        """Synthesize one sample; see ``SynthesisRequest`` for the arguments.

        Raises:
            ValueError: when the image, label, regions, mask, prompt or class cannot be used.
            TypeError: when an array has a dtype that is not numeric, or the seed is no integer.
        """
        return self.batch([SynthesisRequest(image, seed, label, spacing, regions, mask, prompt, abnormality)])[0]

    def batch(
        self, requests: Iterable[SynthesisRequest | Mapping[str, Any]], *, audit: bool = False
    ) -> list[SynthesisResult]:
        """Synthesize many samples; each is the same as alone, since the networks' batch shape is fixed.

        Args:
            requests: ``SynthesisRequest`` objects or mappings of their fields.
            audit: keep the pixels of refused samples too (``SynthesisResult.refused``).
        """
        results = dict(self.stream(requests, audit=audit))
        return [results[index] for index in range(len(results))]

    def stream(
        self, requests: Iterable[SynthesisRequest | Mapping[str, Any]], *, audit: bool = False
    ) -> Iterator[tuple[int, SynthesisResult]]:
        """Yield (index of the request, result) as soon as each sample is finished.

        Requests are taken until one batch is full, of windows of one grid that wait for the same work, so that retries
        find company. For each grid and work less than a batch is held back.

        Args:
            requests: ``SynthesisRequest`` objects or mappings of their fields.
            audit: keep the pixels of refused samples too (``SynthesisResult.refused``).
        """
        begun = (self._begin(index, request) for index, request in enumerate(requests))
        for sample in finished(begun, self.renderer, audit=audit):
            yield sample.index, self._finish(sample)

    def _begin(self, index: int, request: SynthesisRequest | Mapping[str, Any]) -> _Begun:
        asked = request if isinstance(request, SynthesisRequest) else from_fields(request)
        case = self._case(asked)
        return _Begun(index, asked, case, self._sites(case, self._draw(case)))

    def _finish(self, sample: _Begun) -> SynthesisResult:
        return self._result(sample.case, sample.sites, sample.asked)

    def plan(self, request: SynthesisRequest) -> tuple[LesionPlan, ...]:
        """Draw everything about a sample from its seed: masks, texts, windows, one noise seed per attempt.

        Nothing is planned where no allowed place holds what was drawn.
        """
        return self._draw(self._case(request))

    def aimed(self, targets: MissTargets) -> AbnormalitySynthesizer:
        """Return a synthesizer that draws each sample after the misses of a model, by the sample's seed.

        Raises:
            ValueError: when the misses are of another number of dimensions or of an unknown class.
            TypeError: when the mask sampler cannot draw near a place.
        """
        if targets.dims != self.images.spatial_dims:
            raise ValueError(f"the misses are {targets.dims}D but this bundle takes {self.images.spatial_dims}D images")
        self.planner.check_targets(targets)
        other = copy.copy(self)
        other.targets = targets
        return other

    def shaped(self, masks: MasksByClass) -> AbnormalitySynthesizer:
        """Return a synthesizer that draws the shapes and sizes of ``masks``; classes without any keep the bundle's.

        Raises:
            ValueError: when a class is unknown.
        """
        other = copy.copy(self)
        other.planner = self.planner.shaped(masks)
        return other

    def ungated(self) -> AbnormalitySynthesizer:
        """Return a synthesizer that delivers the first attempt whatever the gate says of it: for experiments alone.

        Raises:
            TypeError: when its gate is of removal, or open already.
        """
        own = self.renderer
        if not isinstance(own.gate, QualityGate):
            raise TypeError(f"only a QualityGate can be opened, got a {type(own.gate).__name__}")
        other = copy.copy(self)
        other.renderer = own.with_gate(OpenGate(own.gate), classes=own.classes)
        return other

    def _case(self, request: SynthesisRequest) -> SynthesisRequest:
        case = checked(request, self.images)
        if self.targets is None or case.mask is not None or case.target is not None:
            return case
        return replace(case, target=self.targets(case.seed, self.planner.asked_class(case.prompt, case.abnormality)))

    def _draw(self, case: SynthesisRequest) -> tuple[LesionPlan, ...]:
        try:
            plans = self.planner(case, self.images.to_unit(case.image))
        except NoRoomError:
            return ()
        for plan in plans:
            check_fits(case.label, label_value(case.label, plan.abnormality.value))
        return plans

    def replay(self, request: SynthesisRequest, record: SynthesisRecord) -> SynthesisResult:
        """Render the recorded, accepted attempts again, without gating.

        Args:
            request: the source image and label, and as ``mask`` the sample's recorded mask.
            record: of the sample; its ``batch_size`` must be the renderer's, or the bytes may differ.
        """
        case = checked(request, self.images)
        if case.mask is None:
            raise ValueError("a replay needs the sample's recorded mask, got none")
        painted = [one for one in record.abnormalities if one.accepted]
        masks = split_mask(case.mask != 0, painted)
        sites = self._sites(case, [self._recorded(case, *pair) for pair in zip(painted, masks, strict=True)])
        self.renderer.prepare(sites)
        for site, one in zip(sites, painted, strict=True):
            site.attempts[:] = one.attempts
            self.renderer.repaint(site, one.attempts[-1].seed)
        return self._result(case, sites, request)

    def _recorded(self, case: SynthesisRequest, one: AbnormalityRecord, mask: np.ndarray) -> LesionPlan:
        """Return the plan that a record tells of."""
        abnormality = Abnormality(one.name, one.value)
        paint = self.planner.paint(mask, case.label, case.spacing)
        return LesionPlan(abnormality, one.prompt, mask, paint, one.window, tuple(a.seed for a in one.attempts))

    def _sites(self, case: SynthesisRequest, plans: Sequence[LesionPlan]) -> list[Site]:
        known = None if case.label is None else self.planner.regions.existing_lesions(case.label)
        spatial = case.image.shape[1:]
        patches = [case.image[(slice(None), *plan.window.inside(spatial))] for plan in plans]
        about = spatial, known, self.images, case.quantise
        return [Site(plan, patch, *about) for plan, patch in zip(plans, patches, strict=True)]

    def _result(self, case: SynthesisRequest, sites: list[Site], asked: SynthesisRequest) -> SynthesisResult:
        """Stages 8 to 10: paste what was accepted, merge it into the label, record everything."""
        spatial = case.image.shape[1:]
        accepted = [site for site in sites if site.accepted]
        values = [one.value for one in self.planner.abnormalities]
        merged = blank(spatial, values) if case.label is None else case.label
        for site in accepted:
            value = label_value(case.label, site.plan.abnormality.value)
            merged = merge(merged, site.plan.mask, value, self.planner.regions.protected)
        prediction = np.zeros(spatial, bool)
        for site in sites:
            site.paste_prediction(prediction)
        painted = [site for site in sites if site.patch is not None]
        return SynthesisResult(
            image=like(pasted(case.image, accepted), asked.image),
            label=_same_shape(merged, asked.label, asked.image),
            mask=like(union(accepted, spatial), asked.image),
            record=self._record(case, sites),
            planned=like(union(sites, spatial), asked.image),
            prediction=like(prediction[None].astype(np.uint8), asked.image),
            refused=None if accepted or not painted else like(pasted(case.image, painted), asked.image),
        )

    def _record(self, case: SynthesisRequest, sites: Sequence[Site]) -> SynthesisRecord:
        first = sites[0].plan.mask if sites else None
        return SynthesisRecord(
            seed=case.seed,
            abnormalities=tuple(_abnormality(site, case) for site in sites),
            unit="pixels" if case.spacing is None else "mm",
            batch_size=self.renderer.batch_size,
            weights=dict(self.weights),
            versions=dict(versions()),
            target=None if case.target is None else case.target.told(first, case.spacing),
        )


def _abnormality(site: Site, case: SynthesisRequest) -> AbnormalityRecord:
    plan = site.plan
    low, high = bounding_box(plan.mask)
    return AbnormalityRecord(
        name=plan.abnormality.name,
        value=label_value(case.label, plan.abnormality.value),
        prompt=plan.prompt,
        bbox=(tuple(low.tolist()), tuple(high.tolist())),
        extent=extent_of(plan.mask, case.spacing or (1.0,) * plan.mask.ndim),
        window=plan.window,
        attempts=tuple(site.attempts),
    )


def _same_shape(merged: np.ndarray, label: Any, image: Any) -> Any:
    """Return the merged label in the given label's shape and container, else as the image's, (1, *spatial)."""
    if label is None:
        return like(merged[None].copy(), image)
    return like(merged.reshape(label.shape).copy(), label)
