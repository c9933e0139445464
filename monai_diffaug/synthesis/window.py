"""The window around the mask: the networks never see the whole image.

Cost does not grow with the image, and a small lesion still covers many network cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Window:
    """A box of the image and the network grid that it is resampled to.

    Args:
        origin: first image index of the box on each axis; may be negative where the image is smaller than the box.
        shape: extent of the box in image pixels or voxels.
        size: extent of the network grid in cells.
    """

    origin: tuple[int, ...]
    shape: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def scale(self) -> float:
        """Log2 of image pixels per window cell (geometric mean over the axes)."""
        return math.log2(math.prod(self.shape) / math.prod(self.size)) / len(self.size)

    def inside(self, shape: Sequence[int]) -> tuple[slice, ...]:
        """Return the slices of an image of spatial ``shape`` that the box covers."""
        bounds = zip(self.origin, self.shape, shape, strict=True)
        return tuple(slice(max(o, 0), min(o + s, n)) for o, s, n in bounds)

    def extend(self, part: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Return the whole box (..., *self.shape) from its ``part`` inside the image: the edge is repeated outside."""
        pad = [(max(-o, 0), max(o + s - n, 0)) for o, s, n in zip(self.origin, self.shape, shape, strict=True)]
        if not any(before or after for before, after in pad):
            return part
        return np.pad(part, [(0, 0)] * (part.ndim - len(pad)) + pad, mode="edge")

    def within(self, part: Sequence[slice]) -> tuple[slice, ...]:
        """Return slices of the image as slices of the box."""
        return tuple(slice(s.start - o, s.stop - o) for o, s in zip(self.origin, part, strict=True))


class WindowSampler:
    """Draw a window around a lesion.

    The side is 1.5 to 4 times the lesion's extent and the centre is jittered by up to 0.4 of the extent, as in
    training: networks that only ever saw centred lesions learn the centre, not the lesion.

    Args:
        sizes: network grids to choose from, cells per axis; the smallest that keeps the reduction is taken.
        factors: range of window side over lesion extent.
        jitter: greatest shift of the centre, as a fraction of the extent.
        max_reduction: number of image pixels per window cell up to which a grid is taken; only a lesion too large for
            the largest grid is reduced more.
        max_enlargement: greatest number of window cells per image pixel.
        sides: physical sides to choose from (mm, or pixels where spacing is unknown); free when not given.

    Example:
        >>> import numpy as np
        >>> mask = np.zeros((300, 400), bool)
        >>> mask[100:140, 200:230] = True
        >>> window = WindowSampler(sizes=(128, 256))(mask, (1.0, 1.0), np.random.default_rng(0))
        >>> window.size
        (128, 128)
    """

    def __init__(
        self,
        sizes: Sequence[int] = (128, 256),
        *,
        factors: tuple[float, float] = (1.5, 4.0),
        jitter: float = 0.4,
        max_reduction: float = 2.0,
        max_enlargement: float = 4.0,
        sides: Sequence[float] | None = None,
    ) -> None:
        if not sizes or min(sizes) < 8:
            raise ValueError(f"sizes must name network grids of 8 cells or more, got {list(sizes)}")
        if not 1 < factors[0] <= factors[1]:
            raise ValueError(f"factors must be a rising range above 1, got {tuple(factors)}")
        if (
            jitter < 0
            or max_reduction < 1
            or max_enlargement < 1
            or (sides is not None and not min(sides, default=0) > 0)
        ):
            raise ValueError(
                "jitter must be 0 or more, max_reduction and max_enlargement 1 or more, sides positive; "
                f"got {jitter}, {max_reduction}, {max_enlargement}, {sides}"
            )
        self.sizes = tuple(sorted(int(size) for size in sizes))
        self.factors = (float(factors[0]), float(factors[1]))
        self.jitter = jitter
        self.max_reduction = max_reduction
        self.max_enlargement = max_enlargement
        self.sides = None if sides is None else tuple(sorted(float(side) for side in sides))

    def __call__(
        self,
        mask: np.ndarray,
        spacing: Sequence[float],
        rng: np.random.Generator,
        paint_mask: np.ndarray | None = None,
    ) -> Window:
        """Draw the window of a lesion.

        Args:
            mask: the lesion, bool (*spatial), not empty.
            spacing: size of a pixel on each axis, in mm (or 1 where unknown).
            rng: source of every draw.
            paint_mask: where pixels may change, bool (*spatial), always wholly inside the window; ``mask`` by default.
        """
        low, high = bounding_box(mask)
        extent = float(np.max((high - low) * spacing))
        paint_mask = mask if paint_mask is None else paint_mask
        low, high = bounding_box(paint_mask)
        # One pixel more than the paint mask, where the image has it: there the paint has faded to nothing.
        low, high = np.maximum(low - 1, 0), np.minimum(high + 1, paint_mask.shape)
        side = self._draw_side(extent, min(spacing), rng)
        # No wider than the image where the lesion allows it: the repeated edge beyond it is no tissue.
        room = min(n * s for n, s in zip(paint_mask.shape, spacing, strict=True))
        side = min(side, max(room, self.factors[0] * extent)) if self.sides is None else side
        shape = np.maximum(np.rint(side / np.asarray(spacing)).astype(int), high - low)
        size = next((n for n in self.sizes if (shape <= n * self.max_reduction).all()), self.sizes[-1])
        shift = rng.uniform(-self.jitter, self.jitter, len(low)) * extent / np.asarray(spacing)
        origin = np.rint((low + high) / 2 + shift - shape / 2).astype(int)
        origin = _keep_inside(origin, shape, paint_mask.shape)
        # The whole paint mask must be in the window, else what is outside would be left unpainted.
        origin = np.clip(origin, high - shape, low)
        return Window(_ints(origin), _ints(shape), (size,) * len(low))

    def _draw_side(self, extent: float, unit: float, rng: np.random.Generator) -> float:
        """Draw the physical side of the window; ``unit`` is the finest spacing."""
        low, high = self.factors[0] * extent, self.factors[1] * extent
        if self.sides is not None:
            fitting = [side for side in self.sides if low <= side <= high]
            above = [side for side in self.sides if side >= low]
            return float(rng.choice(fitting or above[:1] or self.sides[-1:]))
        finest = self.sizes[0] / self.max_enlargement * unit
        coarsest = self.sizes[-1] * self.max_reduction * unit
        return float(np.clip(rng.uniform(low, high), finest, max(coarsest, 1.1 * extent)))


def bounding_box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and one past the last index of True on each axis of ``mask``.

    Raises:
        ValueError: when the mask is empty.
    """
    low, high = [], []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if hit.size == 0:
            raise ValueError(f"the mask of shape {mask.shape} is empty; a mask with at least one pixel is needed")
        low.append(hit[0])
        high.append(hit[-1] + 1)
    return np.array(low), np.array(high)


def _keep_inside(origin: np.ndarray, shape: np.ndarray, image_shape: Sequence[int]) -> np.ndarray:
    """Shift the box into the image; centre it on the axes where the image is smaller."""
    room = np.asarray(image_shape) - shape
    return np.where(room >= 0, np.clip(origin, 0, np.maximum(room, 0)), np.floor_divide(room, 2))


def _ints(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
