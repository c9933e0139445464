"""Test images as another camera or another archive would give them: colour, blur, noise, JPEG, at rising strength."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image
from scipy import ndimage

from monai_diffaug.synthesis import ImageFormat

Change = Callable[[np.ndarray], np.ndarray]
"""Values in [0, 1], (C, *spatial), to the same."""


@dataclass(frozen=True)
class Shift:
    """One change at one strength.

    Args:
        name: what results call it, such as ``blur 2``.
        change: what is done to values in [0, 1].
    """

    name: str
    change: Change

    def __call__(self, image: np.ndarray, images: ImageFormat) -> np.ndarray:
        """Return the changed image (C, *spatial) in stored values, of the same dtype."""
        low, high = images.intensity_range
        values = low + (high - low) * np.clip(self.change(images.to_unit(image)), 0, 1)
        return (values if image.dtype.kind == "f" else np.rint(values)).astype(image.dtype)


def colour(image: np.ndarray, *, strength: float) -> np.ndarray:
    """Make the first channel weaker and the last stronger, and the whole darker."""
    gains = np.linspace(1 - strength, 1 + strength, len(image)) - strength / 2
    return image * gains.reshape(-1, *[1] * (image.ndim - 1))


def blur(image: np.ndarray, *, strength: float) -> np.ndarray:
    """Blur by a Gaussian of ``strength`` thousandths of the shortest side."""
    sigma = strength / 1000 * min(image.shape[1:])
    return np.stack([ndimage.gaussian_filter(one, sigma) for one in image])


def noise(image: np.ndarray, *, strength: float) -> np.ndarray:
    """Add normal noise, the same for every image of one shape."""
    return image + strength * np.random.default_rng(0).standard_normal(image.shape)


def jpeg(image: np.ndarray, *, strength: float) -> np.ndarray:
    """Save and open as JPEG of quality ``strength``, plane by plane; channels in colour where there are three."""
    planes = image.reshape(*image.shape[:3], -1)  # of a picture there is one
    read = [_through_jpeg(planes[..., plane], int(strength)) for plane in range(planes.shape[-1])]
    return np.stack(read, axis=-1).reshape(image.shape)


def _through_jpeg(plane: np.ndarray, quality: int) -> np.ndarray:
    """Return a plane (C, rows, columns) as JPEG gives it back."""
    stored = np.rint(255 * np.clip(plane, 0, 1)).astype(np.uint8)
    pictures = [stored.transpose(1, 2, 0)] if len(stored) == 3 else list(stored)
    read = []
    for picture in pictures:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=quality)
        with Image.open(stream) as opened:
            read.append(np.asarray(opened, np.float32) / 255)
    return read[0].transpose(2, 0, 1) if len(stored) == 3 else np.stack(read)


STRENGTHS: dict[str, tuple[Callable[..., np.ndarray], tuple[float, ...]]] = {
    "colour": (colour, (0.1, 0.2, 0.3)),
    "blur": (blur, (5, 10, 20)),
    "noise": (noise, (0.03, 0.06, 0.12)),
    "jpeg": (jpeg, (50, 25, 10)),
}


def shift_series() -> tuple[Shift, ...]:
    """Return every change at three strengths."""
    return tuple(
        Shift(f"{name} {strength:g}", partial(change, strength=strength))
        for name, (change, strengths) in STRENGTHS.items()
        for strength in strengths
    )
