"""What the strict reader returns: stored numbers as they are, what they mean, and where each plane came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset


class BadDicom(ValueError):
    """Say in one sentence which file or series cannot be used, what came, what was needed and what to do."""


@dataclass(frozen=True)
class Plane:
    """One stored frame: which object holds it, and what its numbers mean.

    Args:
        path: the file.
        header: its dataset without pixels.
        frame: number of the frame in it, from 0.
        slope, intercept: modality value = slope * stored + intercept.
        inverted: MONOCHROME1: the lowest stored number is white.
        padding: lowest and highest stored number that stand for "no image here", or None.
    """

    path: Path
    header: Dataset
    frame: int = 0
    slope: float = 1.0
    intercept: float = 0.0
    inverted: bool = False
    padding: tuple[int, int] | None = None

    @property
    def sop_uid(self) -> str:
        return str(self.header.SOPInstanceUID)

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest number that its stored bits can hold."""
        bits, signed = int(self.header.BitsStored), int(self.header.PixelRepresentation)
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)

    def values(self, stored: np.ndarray) -> np.ndarray:
        """Return modality values, float32, brighter for more; MONOCHROME1 is turned over within its stored bits."""
        upright = sum(self.limits) - stored.astype(np.float64) if self.inverted else stored.astype(np.float64)
        return (self.slope * upright + self.intercept).astype(np.float32)

    def to_stored(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return what to store for modality values: rounded, clipped to the stored bits, in the stored sense.

        What would be a number that stands for padding, which viewers leave blank, becomes the next one that does not.
        """
        upright = np.rint((values.astype(np.float64) - self.intercept) / self.slope)
        stored = sum(self.limits) - upright if self.inverted else upright
        return self._beside_padding(np.clip(stored, *self.limits)).astype(dtype)

    def _beside_padding(self, stored: np.ndarray) -> np.ndarray:
        """Return stored numbers with those of padding moved to its nearer end, where the stored bits reach so far."""
        if self.padding is None:
            return stored
        (low, high), (least, most) = self.padding, self.limits
        ends = [end for end in (low - 1, high + 1) if least <= end <= most]
        if not ends:
            return stored
        nearer = np.where(np.abs(stored - ends[0]) <= np.abs(stored - ends[-1]), ends[0], ends[-1])
        return np.where((stored >= low) & (stored <= high), nearer, stored)

    @property
    def meaning(self) -> tuple[float, float, bool]:
        """What values depend on, beside the stored numbers."""
        return self.slope, self.intercept, self.inverted


@dataclass(frozen=True)
class DicomImage:
    """One image for the synthesizer: a frame, or all slices of a series.

    Args:
        stored: decoded stored numbers: colour (3, rows, columns) uint8, grey frame (1, rows, columns), volume
            (1, columns, rows, slices), as MONAI's readers have it.
        planes: one for a frame; for a volume one a slice, in the order of the last axis.
        affine: (4, 4), index to world in mm, RAS, as MONAI's; None for frames.
        spacing: size of a voxel on each axis in mm; None for frames, whose bundles count in pixels.
        notes: what was left out or is to be known, one sentence each.
    """

    stored: np.ndarray
    planes: tuple[Plane, ...]
    affine: np.ndarray | None = None
    spacing: tuple[float, ...] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def series_uid(self) -> str:
        return str(self.planes[0].header.SeriesInstanceUID)

    @cached_property
    def padded(self) -> np.ndarray:
        """Where there is no image, bool (*spatial): nothing may be painted there."""
        padded = np.zeros(self.stored.shape[1:], bool)
        for plane, stored, where in self._each(padded):
            if plane.padding is not None:
                low, high = plane.padding
                where[...] = ((stored >= low) & (stored <= high)).all(0)
        return padded

    @cached_property
    def image(self) -> np.ndarray:
        """What a synthesizer takes, (C, *spatial): colour as stored; grey as modality values, float32.

        Padding gets the lowest value of the image, so that it does not count as one.
        """
        if self.stored.shape[0] > 1:
            return self.stored
        values = np.empty(self.stored.shape, np.float32)
        for plane, stored, part in self._each(values):
            part[...] = plane.values(stored)
        if self.padded.any() and not self.padded.all():
            values[:, self.padded] = values[:, ~self.padded].min()
        return values

    @property
    def quantise(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Rounds painted values to what can be stored; None for colour, and where slices differ in their rescaling."""
        first = self.planes[0]
        alike = all((plane.meaning, plane.padding) == (first.meaning, first.padding) for plane in self.planes)
        if self.stored.shape[0] > 1 or not alike:
            return None
        return lambda values: first.values(first.to_stored(values, self.stored.dtype))

    def restored(self, painted: np.ndarray) -> np.ndarray:
        """Return stored numbers of a painted ``image``: where it did not change, and in padding, every bit stays."""
        if self.stored.shape[0] > 1:
            return painted.astype(self.stored.dtype)
        result = np.empty_like(self.stored)
        changed = (painted != self.image) & ~self.padded
        for plane, values, part in self._each(result, painted):
            part[...] = plane.to_stored(values, self.stored.dtype)
        return np.where(changed, result, self.stored)

    def _each(self, target: np.ndarray, source: np.ndarray | None = None) -> list[tuple[Plane, np.ndarray, np.ndarray]]:
        """Return each plane with its part of ``source`` (by default the stored numbers) and of ``target``."""
        source = self.stored if source is None else source
        if len(self.planes) == 1:
            return [(self.planes[0], source, target)]
        return [(plane, source[..., k], target[..., k]) for k, plane in enumerate(self.planes)]

    def plane_pixels(self, stored: np.ndarray, index: int) -> np.ndarray:
        """Return one plane of stored numbers as DICOM holds it: (rows, columns) or (rows, columns, 3)."""
        if self.affine is None:
            return np.moveaxis(stored, 0, -1) if stored.shape[0] > 1 else stored[0]
        return stored[0, :, :, index].T
