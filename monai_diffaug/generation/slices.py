"""Cut a sample's images into small pictures and outlines: Scan -> `find_lesion` -> `cut_views` -> View."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from monai_diffaug.generation.outlines import trace
from monai_diffaug.generation.scans import PLAIN, Plane, Scan, window_limits

SIDE = 192  # longest side of a picture, pixels
QUALITY = 80  # of the WebP encoder
MARGIN = 2.2  # side of a close-up over the lesion's extent
SMALLEST_WINDOW = 32  # side of a close-up, image pixels: below this there is nothing to recognise

Region = list[tuple[float, float]]  # from, to along x, y, z, in cells of the array


@dataclass(frozen=True)
class Lesion:
    """Say where to look: the index of the lesion's middle and its bounding box [low, high), each (x, y, z)."""

    centre: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True)
class View:
    """Hold what one row of a card shows.

    Args:
        close: True for the lesion's window, False for the whole frame.
        size: width and height of the pictures, pixels.
        before, after: WebP bytes, or None.
        mask, prediction: outlines as SVG path data in quarter pixels, "" for none.
        window: x, y, width, height of the close-up in the whole frame's pixels, or None.
    """

    plane: Plane
    close: bool
    size: tuple[int, int]
    before: bytes | None
    after: bytes | None
    mask: str
    prediction: str
    window: tuple[float, ...] | None


@dataclass(frozen=True)
class _Cut:
    """One plane at one index, a box (left, upper, right, lower) in it, and the size that the box is drawn at."""

    plane: Plane
    index: int
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    def of(self, array: np.ndarray) -> np.ndarray:
        return np.swapaxes(array[(slice(None),) * self.plane.axis + (self.index,)], 0, 1)


def find_lesion(mask: np.ndarray) -> Lesion | None:
    """Find the largest connected part of a boolean mask (X, Y, Z); None when the mask is empty."""
    bounds = ndimage.find_objects(mask.astype(np.uint8))
    if not bounds:
        return None
    parts, count = ndimage.label(mask[bounds[0]])
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:])) if count > 1 else 1
    # The median index is the index of some voxel, so that each cut through it meets the lesion, even a hollow one.
    indices = [np.sort(axis) + place.start for axis, place in zip(np.nonzero(parts == largest), bounds[0], strict=True)]
    centre, low, high = zip(*((int(i[i.size // 2]), int(i[0]), int(i[-1]) + 1) for i in indices), strict=True)
    return Lesion(centre, low, high)


def _window(shape: Sequence[int], spacing: Sequence[float], lesion: Lesion) -> Region:
    """Place a cube (in mm) around the lesion, moved and cut so that it stays inside the image."""
    extent = max((high - low) * step for low, high, step in zip(lesion.low, lesion.high, spacing, strict=True))
    side = max(MARGIN * extent, SMALLEST_WINDOW * min(spacing))
    window: Region = []
    for length, step, low, high in zip(shape, spacing, lesion.low, lesion.high, strict=True):
        cells = min(side / step, length)
        start = min(max((low + high - cells) / 2, 0.0), length - cells)
        window.append((start, start + cells))
    return window


def _limits_near(lesion: Lesion, scans: Sequence[Scan]) -> tuple[float, float]:
    """Find the limits of a close-up: soft tissue would vanish in the whole volume's range, from air to bone.

    They hold for before and after alike: the lesion's box in both, and half as much again on either side.
    """
    if scans[0].limits == PLAIN:
        return PLAIN
    box = tuple(slice(low, high) for low, high in zip(lesion.low, lesion.high, strict=True))
    limits = [window_limits(scan.array[box]) for scan in scans]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    return low - (high - low) / 2, high + (high - low) / 2


def _picture(scan: Scan | None, cut: _Cut, limits: tuple[float, float]) -> bytes | None:
    if scan is None:
        return None
    pixels = cut.of(scan.array)
    if limits != PLAIN:
        grey = (pixels.astype(np.float32) - limits[0]) * (255 / (limits[1] - limits[0]))
        pixels = np.rint(np.clip(np.nan_to_num(grey), 0, 255))
    picture = Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] == 3 else pixels[..., 0], np.uint8))
    buffer = io.BytesIO()
    picture.resize(cut.size, Image.Resampling.BICUBIC, box=cut.box).save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def _outline(mask: np.ndarray | None, cut: _Cut) -> str:
    if mask is None:
        return ""
    drawn = Image.fromarray(np.ascontiguousarray(cut.of(mask), np.uint8) * np.uint8(255))
    return trace(np.asarray(drawn.resize(cut.size, Image.Resampling.BILINEAR, box=cut.box)) / 255.0)


def _frame(plane: Plane, index: int, region: Region, spacing: Sequence[float]) -> _Cut:
    """Lay a region's box into a plane and scale it, in true proportions, to the largest size allowed."""
    (left, right), (upper, lower) = (span for axis, span in enumerate(region) if axis != plane.axis)
    across, down = (step for axis, step in enumerate(spacing) if axis != plane.axis)
    width, height = (right - left) * across, (lower - upper) * down
    scale = SIDE / max(width, height)
    return _Cut(
        plane, index, (left, upper, right, lower), (max(1, round(width * scale)), max(1, round(height * scale)))
    )


def _place(window: _Cut, frame: _Cut) -> tuple[float, ...]:
    """Express a close-up's box in the pixels of the whole frame: x, y, width, height."""
    left, upper, right, lower = window.box
    across, down = frame.size[0] / frame.box[2], frame.size[1] / frame.box[3]
    return left * across, upper * down, (right - left) * across, (lower - upper) * down


def cut_views(
    before: Scan | None, after: Scan | None, mask: np.ndarray | None, prediction: np.ndarray | None
) -> Iterator[View]:
    """Cut every plane through the lesion, once as a close-up and once as the whole frame.

    Args:
        before: the source, or None; it also gives the whole frames' intensity limits.
        after: the result, or None; of the same shape as `before`.
        mask: boolean (X, Y, Z), or None; without a lesion only whole frames through the middle are cut.
        prediction: boolean (X, Y, Z), or None.
    """
    scan = before or after
    if scan is None:
        return
    shape = scan.array.shape[:3]
    lesion = find_lesion(mask) if mask is not None else None
    centre = lesion.centre if lesion else tuple(length // 2 for length in shape)
    whole = [(0.0, float(length)) for length in shape]
    near = _limits_near(lesion, [each for each in (before, after) if each]) if lesion else PLAIN
    for plane in scan.planes:
        frame = _frame(plane, centre[plane.axis], whole, scan.spacing)
        cuts, place = [(frame, scan.limits)], None
        if lesion:
            window = _frame(plane, frame.index, _window(shape, scan.spacing, lesion), scan.spacing)
            cuts, place = [(window, near), *cuts], _place(window, frame)
        for cut, limits in cuts:
            yield View(
                plane=plane,
                close=cut is not frame,
                size=cut.size,
                before=_picture(before, cut, limits),
                after=_picture(after, cut, limits),
                mask=_outline(mask, cut),
                prediction=_outline(prediction, cut),
                window=place,
            )
