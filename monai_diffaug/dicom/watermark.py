"""Write SYNTHETIC into the pixels: for review in a PACS, where a picture may be seen without its attributes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from monai_diffaug.dicom.images import DicomImage

TEXT = "SYNTHETIC"


def watermarked(image: DicomImage, stored: np.ndarray) -> np.ndarray:
    """Return stored numbers with the word in the upper left corner of each plane, white on black.

    Args:
        image: for the order of axes and the meaning of numbers.
        stored: shape and dtype of ``image.stored``.
    """
    marked = stored.copy()
    for index, plane in enumerate(image.planes):
        pixels = image.plane_pixels(marked, index)  # a view
        word = _word(pixels.shape[:2])
        low, high = int(stored.min()), int(stored.max())
        white, black = (low, high) if plane.inverted else (high, low)
        part = pixels[: word.shape[0], : word.shape[1]]
        part[...] = np.where(word.reshape(*word.shape, *[1] * (part.ndim - 2)), white, black).astype(stored.dtype)
    return marked


def _word(shape: tuple[int, ...]) -> np.ndarray:
    """Return the word as bool (rows, columns), an eighth of the picture wide or more where it fits."""
    font = ImageFont.load_default(size=max(10, min(shape) // 24))
    _, _, width, height = font.getbbox(TEXT)
    canvas = Image.new("1", (min(int(width) + 4, shape[1]), min(int(height) + 4, shape[0])))
    ImageDraw.Draw(canvas).text((2, 1), TEXT, fill=1, font=font)
    return np.asarray(canvas)
