"""Rules for places on which no abnormality can lie: black border, glare, lumen, burned-in text, air.

A rule takes the image (C, *spatial), scaled to [0, 1], and returns the FORBIDDEN places as bool (*spatial). The rules
here work on cells of a few pixels, about 128 along the longest side: their answers need not be sharper than that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

Rule = Callable[[np.ndarray], np.ndarray]

CELLS = 128


class BlackBorder:
    """Forbid the dark surround of a view (octagon, circle, letter box), and small islands in it such as text.

    A dark lumen that does not touch the image's border stays allowed. Where more than 60 % would be forbidden and
    nothing is clearly lit, the image itself is dark: then only what is a fifth as bright counts as border.

    Args:
        level: brightness of the brightest channel, in [0, 1], up to which a place is dark.
        margin: how far the border is grown, as a fraction of the longest side.
        island: lit parts smaller than this fraction of the largest lit part are forbidden too.

    Example:
        >>> image = np.full((3, 64, 64), 0.5, np.float32)
        >>> image[:, :8], image[:, 30:34, 30:34] = 0.02, 0.02
        >>> forbidden = BlackBorder()(image)
        >>> bool(forbidden[3, 3]), bool(forbidden[32, 32])
        (True, False)
    """

    def __init__(self, *, level: float = 0.1, margin: float = 0.012, island: float = 0.25) -> None:
        self.level = level
        self.margin = margin
        self.island = island

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = _cell_size(image.shape[1:])
        brightness = _samples(image, size).max(0)
        border = _touching_border(brightness <= self.level)
        if border.mean() > 0.6 and brightness[~border].max(initial=0.0) < 2 * self.level:
            border = _touching_border(brightness <= self.level / 5)
        if not border.any():
            return np.zeros(image.shape[1:], bool)
        parts, count = ndimage.label(~border)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
        border |= np.concatenate([[False], sizes < self.island * sizes.max(initial=0)])[parts]
        return _pixels(grow(border, _cells(self.margin, brightness.shape)), size, image.shape[1:])


class Glare:
    """Forbid specular highlights and blown-out areas: nearly saturated and nearly without colour.

    Small specks are left alone: real abnormalities carry them, and forbidding them would leave no room.

    Args:
        level: brightness of the darkest channel, in [0, 1], from which a place is glare.
        width: glare narrower than this fraction of the longest side is a speck.
        margin: how far glare is grown, as a fraction of the longest side.

    Example:
        >>> image = np.full((3, 64, 64), 0.5, np.float32)
        >>> image[:, 20:30, 20:30] = 1.0
        >>> forbidden = Glare()(image)
        >>> bool(forbidden[25, 25]), bool(forbidden[40, 40])
        (True, False)
    """

    def __init__(self, *, level: float = 0.85, width: float = 0.025, margin: float = 0.012) -> None:
        self.level = level
        self.width = width
        self.margin = margin

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = _cell_size(image.shape[1:])
        glare = _blocks(image.min(0), size, np.minimum) >= self.level
        core = ~grow(~glare, _cells(self.width / 2, glare.shape))
        return _pixels(grow(core, _cells(self.width / 2 + self.margin, core.shape)), size, image.shape[1:])


class Lumen:
    """Forbid what lies too deep or too dark to be seen, such as the lumen ahead of a scope.

    Args:
        level: brightness of the brightest channel, in [0, 1], up to which a place is dark.
        width: darkness narrower than this fraction of the longest side is a shadow or a vessel, and stays allowed.

    Example:
        >>> image = np.full((3, 64, 64), 0.5, np.float32)
        >>> image[:, 20:40, 20:40] = 0.05
        >>> forbidden = Lumen()(image)
        >>> bool(forbidden[30, 30]), bool(forbidden[50, 50])
        (True, False)
    """

    def __init__(self, *, level: float = 0.25, width: float = 0.06) -> None:
        self.level = level
        self.width = width

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = _cell_size(image.shape[1:])
        dark = ndimage.uniform_filter(_samples(image, size).max(0), 5) <= self.level
        half = _cells(self.width / 2, dark.shape)
        return _pixels(grow(~grow(~dark, half), half), size, image.shape[1:])


class Overlay:
    """Forbid what was burned into the picture near its edges: text, and boxes or inset pictures in pure colours.

    Text is a crowd of white strokes, bright against what lies within the same few pixels; it is looked for in images
    of more than 128 pixels. A box is an area of a strong colour that is not red (tissue is), up to a third of the
    image; all of its bounding box is forbidden. Crowded specks of glare near the edges are taken for text.

    Args:
        level: brightness of the darkest channel, in [0, 1], from which a stroke is white.
        contrast: least difference, in [0, 1], between a stroke and the darkest pixel in its cell.
        crowd: share of a neighbourhood (5 % of the longest side) that strokes must fill to count as text.
        reach: depth of the zone along the edges in which overlays are looked for, as a fraction of each side.

    Example:
        >>> image = np.full((3, 64, 64), 0.5, np.float32)
        >>> image[0, 48:60, 4:16] = 0.0
        >>> forbidden = Overlay()(image)
        >>> bool(forbidden[50, 8]), bool(forbidden[20, 20])
        (True, False)
    """

    def __init__(self, *, level: float = 0.5, contrast: float = 0.15, crowd: float = 0.18, reach: float = 0.16) -> None:
        self.level = level
        self.contrast = contrast
        self.crowd = crowd
        self.reach = reach

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = _cell_size(image.shape[1:])
        white = image.min(0)
        highest = _blocks(white, size, np.maximum)
        zone = np.ones(highest.shape, bool)
        sides: tuple[int, ...] = zone.shape
        zone[tuple(slice(int(self.reach * n), n - int(self.reach * n)) for n in sides)] = False
        stroke = (highest >= self.level) & (highest - _blocks(white, size, np.minimum) >= self.contrast) & zone
        wide = 2 * _cells(0.05, zone.shape) + 1
        text = stroke & (ndimage.uniform_filter(stroke.astype(np.float32), wide, mode="constant") >= self.crowd)
        return _pixels(grow(text, 2) | self._boxes(_samples(image, size), zone), size, image.shape[1:])

    def _boxes(self, colour: np.ndarray, zone: np.ndarray) -> np.ndarray:
        boxes = np.zeros(zone.shape, bool)
        if len(colour) != 3:
            return boxes
        brightest = colour.max(0)
        parts, _ = ndimage.label((brightest >= 0.2) & (colour[0] < 0.5 * brightest))
        for box in ndimage.find_objects(parts):
            # More than a third of the picture is its own colour (blue or green light), not something laid over it.
            if zone[box].any() and 3 * zone[box].size <= zone.size and (parts[box] > 0).mean() >= 0.5:
                boxes[box] = True
        return grow(boxes, 1)


class Background:
    """Forbid what lies around a volume: air, and everything darker, that is connected to the border.

    Air is the value that most of the border has in common; where no value holds 30 % of it, or what does is not among
    the darker half of the volume (a crop of tissue), air is taken as 0.

    Args:
        level: how far above air, in units of the intensity range, a place is still background.

    Example:
        >>> image = np.full((1, 16, 16, 16), 0.1, np.float32)
        >>> image[:, 4:12, 4:12, 4:12] = 0.5
        >>> int((~Background()(image)).sum())
        512
    """

    def __init__(self, level: float = 0.02) -> None:
        if level <= 0:
            raise ValueError(f"level must be above 0, got {level}")
        self.level = level

    def __call__(self, image: np.ndarray) -> np.ndarray:
        size = _cell_size(image.shape[1:])
        lowest = _blocks(image[0], size, np.minimum)
        return _pixels(_touching_border(lowest <= self._air(lowest) + self.level), size, image.shape[1:])

    def _air(self, values: np.ndarray) -> float:
        border = np.concatenate([values.take([0, -1], axis).ravel() for axis in range(values.ndim)])
        bands, counts = np.unique(np.floor(border / self.level), return_counts=True)
        common = bands[counts.argmax()] * self.level
        alike = border[(border >= common) & (border < common + self.level)]
        if counts.max() < 0.3 * border.size or alike.size == 0:
            return 0.0
        air = float(np.median(alike))
        tissue = (values > air + self.level).mean() > 0.01
        return air if tissue and air <= np.median(values) else 0.0


def _cell_size(shape: tuple[int, ...]) -> int:
    return -(-max(shape) // CELLS)


def _cells(fraction: float, shape: tuple[int, ...]) -> int:
    return max(1, round(fraction * max(shape)))


def _samples(image: np.ndarray, size: int) -> np.ndarray:
    """Take one pixel from the middle of each cell (from the last pixel where a cell is cut)."""
    for axis in range(1, image.ndim):
        start = min(size // 2, (image.shape[axis] - 1) % size)
        image = image[(slice(None),) * axis + (slice(start, None, size),)]
    return image


def _blocks(array: np.ndarray, size: int, reduce: np.ufunc) -> np.ndarray:
    """Reduce cells of `size` pixels along every axis; a cut cell at the end repeats its last pixel."""
    if size == 1:
        return array
    for axis in range(array.ndim):
        before = (slice(None),) * axis
        result = array[(*before, slice(0, None, size))].copy()
        for offset in range(1, size):
            layer = array[(*before, slice(offset, None, size))]
            part = result[(*before, slice(0, layer.shape[axis]))]
            reduce(part, layer, out=part)
        array = result
    return array


def _pixels(cells: np.ndarray, size: int, shape: tuple[int, ...]) -> np.ndarray:
    """Spread a map of cells over the pixels."""
    if size > 1:
        for axis in reversed(range(cells.ndim)):
            cells = np.repeat(cells, size, axis)
    return cells[tuple(slice(0, length) for length in shape)]


def grow(mask: np.ndarray, radius: int | Sequence[int]) -> np.ndarray:
    """Grow a mask by a number of places along every axis, the same or one for each."""
    for axis, reach in enumerate(np.broadcast_to(radius, mask.ndim).tolist()):
        grown = mask.copy()
        lines, source = grown.swapaxes(0, axis), mask.swapaxes(0, axis)
        for step in range(1, min(reach, len(lines) - 1) + 1):
            lines[step:] |= source[:-step]
            lines[:-step] |= source[step:]
        mask = grown
    return mask


def _touching_border(mask: np.ndarray) -> np.ndarray:
    """Keep the connected parts of a mask that touch the edge of the array."""
    parts, count = ndimage.label(mask)
    touching = np.zeros(count + 1, bool)
    for axis in range(mask.ndim):
        touching[parts.take([0, -1], axis)] = True
    touching[0] = False
    return touching[parts]
