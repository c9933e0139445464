"""Shape and place of a new abnormality: shapes by formula, and shapes from a bank of real outlines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis.places import place_nearest
from monai_diffaug.synthesis.sizes import Size
from monai_diffaug.synthesis.window import bounding_box

Shape = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class NoRoomError(ValueError):
    """No allowed place is large enough for even the smallest abnormality that may be drawn."""


class MaskSampler(Protocol):
    """Draw one connected mask that lies wholly inside the allowed places."""

    def __call__(self, allowed: np.ndarray, spacing: Sequence[float], rng: np.random.Generator) -> np.ndarray:
        """Return a bool mask (*spatial) for ``allowed`` bool (*spatial); ``spacing`` in mm, 1 where unknown."""


@runtime_checkable
class AimedSampler(Protocol):
    """Draw a mask near a wanted size and place: what a ``MaskSampler`` needs besides, to follow targets."""

    def around(
        self,
        allowed: np.ndarray,
        spacing: Sequence[float],
        rng: np.random.Generator,
        *,
        extent: float,
        centre: Sequence[float],
    ) -> np.ndarray:
        """Return a bool mask (*spatial); ``extent`` and ``centre`` as in ``Target``."""


class FormulaShapes:
    """Smooth star-shaped blobs: an oriented ellipsoid whose radius waves with the direction.

    Args:
        elongation: range of the longest over the shortest axis.
        lobes: greatest relative wave of the radius; 0 gives ellipsoids.
    """

    def __init__(self, *, elongation: tuple[float, float] = (1.0, 2.5), lobes: float = 0.75) -> None:
        if not 1 <= elongation[0] <= elongation[1]:
            raise ValueError(f"elongation must be a rising range from 1, got {tuple(elongation)}")
        if not 0 <= lobes < 0.8:
            raise ValueError(f"lobes must lie in [0, 0.8), got {lobes}")
        self.elongation = elongation
        self.lobes = lobes

    def __call__(self, offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the mask of a blob of diameter about 1 around 0; ``offsets`` (dims, *spatial) in diameters."""
        dims = len(offsets)
        rotation = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
        axes = np.exp(rng.uniform(0, 1, dims) * np.log(rng.uniform(*self.elongation)))
        directions = rng.normal(size=(4, dims))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        phases = rng.uniform(0, 2 * np.pi, 4)
        strengths = (rng.uniform(0, self.lobes, 4) / np.array([2, 3, 4, 5])).astype(offsets.dtype)
        stretch = (2 * rotation * (axes / axes.min())[:, None]).astype(offsets.dtype)
        placed = np.tensordot(stretch, offsets, 1)
        radius = np.sqrt((placed**2).sum(0))
        unit = placed / np.maximum(radius, 1e-6)
        waves = [
            strength
            * np.cos(np.tensordot((frequency * direction).astype(unit.dtype), unit, 1) + unit.dtype.type(phase))
            for frequency, (strength, direction, phase) in enumerate(zip(strengths, directions, phases, strict=True), 2)
        ]
        return radius <= 1 + sum(waves)


class OutlineBank:
    """Outlines of real lesions, drawn with random flips and axis order.

    Args:
        outlines: bool arrays (*any shape), each the bounding box of one lesion.

    Example:
        >>> import numpy as np
        >>> label = np.zeros((40, 40), int)
        >>> label[5:12, 8:20] = 1
        >>> [outline.shape for outline in OutlineBank.from_labels([label]).outlines]
        [(7, 12)]
    """

    def __init__(self, outlines: Iterable[np.ndarray]) -> None:
        self.outlines = tuple(np.asarray(outline, bool) for outline in outlines)
        if not self.outlines or not all(outline.any() for outline in self.outlines):
            raise ValueError(f"a bank needs at least one outline and no empty one, got {len(self.outlines)} outlines")

    @classmethod
    def from_labels(cls, labels: Iterable[np.ndarray], *, min_pixels: int = 16) -> OutlineBank:
        """Collect every connected foreground component of ``min_pixels`` or more from integer label maps."""
        outlines = []
        for label in labels:
            components, _ = ndimage.label(np.asarray(label) > 0)
            for index, box in enumerate(ndimage.find_objects(components), start=1):
                outline = components[box] == index
                if outline.sum() >= min_pixels:
                    outlines.append(outline)
        return cls(outlines)

    def __call__(self, offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return one outline scaled to diameter 1 around 0; ``offsets`` (dims, *spatial) in diameters."""
        outline = self.outlines[rng.integers(len(self.outlines))]
        outline = outline.transpose(rng.permutation(outline.ndim))
        outline = np.flip(outline, tuple(axis for axis in range(outline.ndim) if rng.random() < 0.5))
        longest = max(outline.shape)
        centre = (np.array(outline.shape) - 1) / 2
        places = offsets * longest + centre.reshape(-1, *[1] * (offsets.ndim - 1))
        return ndimage.map_coordinates(outline.astype(np.float32), places, order=1, mode="constant") >= 0.5


class RandomMask:
    """Draw a shape, a diameter and a place.

    Args:
        shape: ``FormulaShapes`` or ``OutlineBank``: offsets from the centre in diameters -> mask.
        size: distribution of the diameter.
        min_pixels: a mask of fewer pixels or voxels is drawn again, larger.

    Example:
        >>> import numpy as np
        >>> from monai_diffaug.synthesis import PhysicalSize
        >>> sampler = RandomMask(FormulaShapes(), PhysicalSize(10, 30))
        >>> mask = sampler(np.ones((64, 96), bool), (1.0, 1.0), np.random.default_rng(3))
        >>> mask.shape, bool(mask.any())
        ((64, 96), True)
    """

    def __init__(self, shape: Shape, size: Size, *, min_pixels: int = 12) -> None:
        if min_pixels < 1:
            raise ValueError(f"min_pixels must be 1 or more, got {min_pixels}")
        self.shape = shape
        self.size = size
        self.min_pixels = min_pixels

    def __call__(self, allowed: np.ndarray, spacing: Sequence[float], rng: np.random.Generator) -> np.ndarray:
        """Return the mask; the drawn diameter is shrunk only where it fits nowhere.

        Raises:
            NoRoomError: when nothing fits down to ``min_pixels``.
        """
        diameter = self.size([n * s for n, s in zip(allowed.shape, spacing, strict=True)], rng)
        blob = self._blob(diameter, spacing, rng)
        while blob.sum() < self.min_pixels:
            diameter *= 1.25
            blob = self._blob(diameter, spacing, rng)
        mask = _place(blob, allowed, np.flatnonzero(allowed), rng)
        return self._shrunk(diameter, allowed, spacing, rng) if mask is None else mask

    def around(
        self,
        allowed: np.ndarray,
        spacing: Sequence[float],
        rng: np.random.Generator,
        *,
        extent: float,
        centre: Sequence[float],
    ) -> np.ndarray:
        """Return a mask of the wanted extent, at the allowed place that is nearest to the wanted one and holds it.

        One shape is drawn; it is shrunk only where it fits nowhere.

        Args:
            allowed, spacing, rng: as for a call.
            extent: longest side of the mask's box, as a fraction of the image's shortest side.
            centre: middle of the mask's box on each axis, as fractions in [0, 1].

        Raises:
            NoRoomError: when nothing fits down to ``min_pixels``.
        """
        wanted = extent * min(n * s for n, s in zip(allowed.shape, spacing, strict=True))
        seed = int(rng.integers(2**62))
        blob = self._sized(wanted, spacing, seed)
        while blob.sum() < self.min_pixels:
            wanted *= 1.25
            blob = self._sized(wanted, spacing, seed)
        while blob.sum() >= self.min_pixels:
            mask = place_nearest(blob, allowed, spacing, centre)
            if mask is not None:
                return mask
            wanted *= 0.85
            blob = self._sized(wanted, spacing, seed)
        raise self._no_room(allowed)

    def _sized(self, extent: float, spacing: Sequence[float], seed: int) -> np.ndarray:
        """Return the blob of one seed whose box is ``extent`` long: shapes vary, so that its diameter is searched."""
        diameter = extent
        for _ in range(3):
            blob = self._blob(diameter, spacing, np.random.default_rng(seed))
            if not blob.any():
                break
            diameter *= extent / max(n * s for n, s in zip(blob.shape, spacing, strict=True))
        return blob

    def _shrunk(
        self, diameter: float, allowed: np.ndarray, spacing: Sequence[float], rng: np.random.Generator
    ) -> np.ndarray:
        """Return a smaller mask, from the largest that the deepest allowed place could hold downwards."""
        depth = ndimage.distance_transform_edt(allowed, sampling=spacing)
        diameter = min(0.8 * diameter, 3 * float(depth.max()))
        while diameter > 0:
            blob = self._blob(diameter, spacing, rng)
            if blob.sum() < self.min_pixels:
                break
            places = np.flatnonzero(depth >= min(0.3 * diameter, 0.9 * depth.max()))
            mask = _place(blob, allowed, places, rng)
            if mask is not None:
                return mask
            diameter *= 0.85
        raise self._no_room(allowed)

    def _no_room(self, allowed: np.ndarray) -> NoRoomError:
        return NoRoomError(
            f"no allowed place holds an abnormality: {int(allowed.sum())} of {allowed.size} pixels are allowed, "
            f"but none fits {self.min_pixels} connected ones; widen the regions or draw smaller sizes"
        )

    def _blob(self, diameter: float, spacing: Sequence[float], rng: np.random.Generator) -> np.ndarray:
        """Return the blob in its own bounding box."""
        reach = [int(np.ceil(0.85 * diameter / s)) + 1 for s in spacing]
        grid = np.meshgrid(
            *(np.arange(-r, r + 1) * (s / diameter) for r, s in zip(reach, spacing, strict=True)), indexing="ij"
        )
        blob = largest_component(self.shape(np.stack(grid).astype(np.float32), rng))
        return blob[_box(blob)] if blob.any() else blob


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a bool mask."""
    components, count = ndimage.label(mask)
    if count < 2:
        return mask
    return components == 1 + np.argmax(np.bincount(components.ravel())[1:])


def _place(blob: np.ndarray, allowed: np.ndarray, places: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Put the blob's box around random allowed pixels until it fits; None when it never does."""
    if places.size == 0 or any(b > n for b, n in zip(blob.shape, allowed.shape, strict=True)):
        return None
    for place in rng.choice(places, 48):
        centre = np.unravel_index(place, allowed.shape)
        start = [int(c) - b // 2 for c, b in zip(centre, blob.shape, strict=True)]
        box = tuple(slice(s, s + b) for s, b in zip(start, blob.shape, strict=True))
        if min(start) >= 0 and allowed[box].shape == blob.shape and allowed[box][blob].all():
            mask = np.zeros(allowed.shape, bool)
            mask[box] = blob
            return mask
    return None


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    low, high = bounding_box(mask)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))
