"""One abnormality's place of work: what the networks see of it, and its patch of the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from monai_diffaug.synthesis.blend import composite, feather, grain
from monai_diffaug.synthesis.images import ImageFormat
from monai_diffaug.synthesis.planner import LesionPlan
from monai_diffaug.synthesis.provenance import Attempt
from monai_diffaug.synthesis.resample import resample, resample_mask
from monai_diffaug.synthesis.window import bounding_box


class Work(IntEnum):
    """What a site waits for, in this order."""

    ENCODE = 1
    PAINT = 2
    DELIVER = 3


@dataclass(frozen=True)
class Briefing:
    """What the networks are told of a site, and what is laid over their paint.

    Args:
        hidden: what they are not shown and may paint, on the window grid, 0 or 1, (1, *size).
        outline: what is to be painted, on the window grid, 0 or 1, (1, *size).
        start: the window that painting begins over, in [-1, 1], (C, *size).
        detail: stored values that are added to the paint, (C, *spot).
        begins: noise level at which painting begins; 1 = nothing of ``start`` is left inside.
    """

    hidden: Tensor
    outline: Tensor
    start: Tensor
    detail: np.ndarray
    begins: float = 1.0


def as_planned(site: Site) -> Briefing:
    """Return the briefing of an abnormality: its mask, its margin, the image's own grain."""
    return Briefing(site.paint, site.mask, site.window_image, grain(site.original[site.inner]))


@dataclass
class Site:
    """The state of one planned abnormality while attempts are made.

    Args:
        plan: what to paint.
        original: stored values of the image inside the window, (C, *box).
        spatial: spatial shape of the whole image.
        known: labelled lesions, bool (*spatial), or None.
        images: how stored values meet the networks' range.
        quantise: rounds painted values to what the image's file can hold, or None.
        brief: what the networks are told of the site.
    """

    plan: LesionPlan
    original: np.ndarray
    spatial: tuple[int, ...]
    known: np.ndarray | None
    images: ImageFormat
    quantise: Callable[[np.ndarray], np.ndarray] | None = None
    brief: Callable[[Site], Briefing] = as_planned
    attempts: list[Attempt] = field(default_factory=list)
    patch: np.ndarray | None = None
    pred: Tensor | None = None
    source: Tensor = field(init=False)
    blanked: Tensor = field(init=False)
    encoded: bool = False
    painted: tuple[Tensor, Attempt] | None = None
    before: tuple[str, ...] = ()
    unpaintable: bool = False

    def __post_init__(self) -> None:
        window = self.plan.window
        self.box = window.inside(self.spatial)
        self.spot = _spot(self.plan.paint)
        self.alpha = feather(self.plan.mask[self.spot], self.plan.paint[self.spot])
        self.mask = self.grid(self.plan.mask)
        self.paint = torch.maximum(self.grid(self.plan.paint), self.mask)
        self.seen = torch.zeros_like(self.mask) if self.known is None else self.grid(self.known)
        self.window_image = self.view(self.original)
        self.inner = self._inside_box(self.spot)

    @cached_property
    def told(self) -> Briefing:
        """What the networks are told; made when it is first asked for."""
        return self.brief(self)

    def grid(self, mask: np.ndarray) -> Tensor:
        """Return a mask of the image on the window grid, 0 or 1, (1, *size)."""
        part = self.plan.window.extend(mask[self.box], self.spatial)
        grid = torch.from_numpy(part.astype(np.float32))[None]
        return resample_mask(grid, self.plan.window.size) if part.any() else torch.zeros(1, *self.plan.window.size)

    def view(self, patch: np.ndarray) -> Tensor:
        """Return what the networks see of a patch (C, *box): (C, *size) in [-1, 1]."""
        whole = self.plan.window.extend(self.images.to_unit(patch), self.spatial)
        return resample(torch.from_numpy(whole), self.plan.window.size) * 2 - 1

    def deliver(self, painted: Tensor) -> None:
        """Blend a decoded window (C, *size) into the patch: the delivered pixels."""
        window = self.plan.window
        values = resample(painted.float().cpu(), window.shape, window.within(self.spot))
        patch = self.original.copy()
        mixed = composite(patch[self.inner], self._grained(self.images.from_network(values.numpy())), self.alpha)
        if self.quantise is not None:
            mixed = np.where(self.alpha > 0, self.quantise(mixed), mixed)
        patch[self.inner] = mixed
        self.patch = patch

    def _grained(self, values: np.ndarray) -> np.ndarray:
        """Lay fine detail over painted values (C, *spot)."""
        if self.images.grain == 0:
            return values
        return np.clip(values + self.images.grain * self.told.detail, *self.images.intensity_range)

    def end(self, attempt: Attempt, *, keep: bool = False) -> None:
        """End an attempt; pixels that are not accepted are forgotten, unless they are to be kept."""
        self.attempts.append(attempt)
        self.painted = None
        if not (attempt.accepted or keep):
            self.patch = None

    def delivered_view(self) -> Tensor:
        """Return what the networks see of the delivered pixels: (C, *size) in [-1, 1]."""
        return self.window_image if self.patch is None else self.view(self.patch)

    def paste_patch(self, image: np.ndarray) -> None:
        """Copy the painted pixels into ``image`` (C, *spatial), in place; the spots of neighbours may overlap."""
        if self.patch is not None:
            target = image[(slice(None), *self.spot)]
            np.copyto(target, self.patch[self.inner], where=self.alpha > 0)

    def paste_prediction(self, pred: np.ndarray) -> None:
        """Add the last prediction to ``pred``, bool (*spatial), in place."""
        if self.pred is not None:
            window = self.plan.window
            pred[self.box] |= resample(self.pred, window.shape, window.within(self.box))[0].numpy() >= 0.5

    def _inside_box(self, part: tuple[slice, ...]) -> tuple[slice, ...]:
        """Return slices of the image as slices of the patch, behind its channel axis."""
        shifted = [slice(p.start - b.start, p.stop - b.start) for p, b in zip(part, self.box, strict=True)]
        return (slice(None), *shifted)

    def change(self, view: Tensor) -> float:
        """Return the mean absolute change inside the mask, in units of the [-1, 1] range."""
        inside = self.mask[0] > 0
        return float((view - self.window_image)[:, inside].abs().mean())

    @property
    def work(self) -> Work:
        """What is to be done next, where it is not finished."""
        if not self.encoded:
            return Work.ENCODE
        return Work.PAINT if self.painted is None else Work.DELIVER

    @property
    def accepted(self) -> bool:
        return bool(self.attempts) and self.attempts[-1].accepted

    @property
    def finished(self) -> bool:
        """Accepted, refused before painting, or out of attempts."""
        return self.accepted or self.unpaintable or len(self.attempts) == len(self.plan.seeds)


def _spot(paint: np.ndarray) -> tuple[slice, ...]:
    """Return the paint mask's bounding box and one pixel around it, where alpha falls to 0."""
    low, high = bounding_box(paint)
    return tuple(slice(max(a - 1, 0), min(b + 1, n)) for a, b, n in zip(low, high, paint.shape, strict=True))


def union(sites: Sequence[Site], spatial: tuple[int, ...]) -> np.ndarray:
    """Return the sites' masks as one, uint8 (1, *spatial)."""
    union = np.zeros((1, *spatial), np.uint8)
    for site in sites:
        union[0][site.plan.mask] = 1
    return union


def pasted(image: np.ndarray, sites: Sequence[Site]) -> np.ndarray:
    """Return the image with the sites' delivered pixels; outside the paint masks these are the image's own."""
    whole = image.copy()
    for site in sites:
        site.paste_patch(whole)
    return whole
