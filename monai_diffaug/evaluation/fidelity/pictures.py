"""Tiles of pictures, with titles, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

GAP, HEAD = 4, 12


def shown(unit: np.ndarray) -> np.ndarray:
    """Return a picture (height, width, 3), uint8, of values in [0, 1], (C, height, width)."""
    colours = unit if len(unit) == 3 else np.repeat(unit[:1], 3, axis=0)
    return np.rint(colours.clip(0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a picture with a mask's outline, one pixel wide and just outside."""
    drawn = picture.copy()
    drawn[ndimage.binary_dilation(mask) & ~mask] = (0, 255, 0)
    return drawn


def enlarged(picture: np.ndarray, factor: int) -> np.ndarray:
    """Return a picture with every pixel repeated, so that no filter hides anything."""
    return picture.repeat(factor, 0).repeat(factor, 1)


def sheet(tiles: Sequence[np.ndarray], columns: int, titles: Sequence[str] = ()) -> Image.Image:
    """Return tiles (height, width, 3), uint8, in rows, each below its title.

    Args:
        tiles: pictures; each takes the room of the largest.
        columns: tiles in a row.
        titles: one a tile; none by default.
    """
    high, wide = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rows = -(-len(tiles) // columns)
    page = Image.new("RGB", (columns * (wide + GAP) + GAP, rows * (high + HEAD + GAP) + GAP), (32, 32, 32))
    pen = ImageDraw.Draw(page)
    for place, tile in enumerate(tiles):
        corner = GAP + place % columns * (wide + GAP), GAP + place // columns * (high + HEAD + GAP)
        page.paste(Image.fromarray(tile), (corner[0], corner[1] + HEAD))
        if titles:
            pen.text(corner, titles[place], fill=(255, 255, 255))
    return page
