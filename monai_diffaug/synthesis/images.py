"""What images a synthesizer takes, and how their values meet the networks' range; nothing is ever guessed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ImageFormat:
    """The images that a bundle was made for.

    Args:
        spatial_dims: 2 for frames, 3 for volumes.
        channels: number of channels, first axis of an image.
        intensity_range: image values that the networks see as -1 and +1.
        grain: share of the image's own finest detail that is laid over paint (``blend.grain``).

    Example:
        >>> import numpy as np
        >>> frames = ImageFormat(2, 3, (0.0, 255.0))
        >>> frames.check(np.zeros((3, 64, 64), np.uint8))
        >>> frames.check(np.zeros((1, 64, 64), np.uint8))
        Traceback (most recent call last):
        ...
        ValueError: image has 1 channel but this bundle takes 3 (RGB); convert it to RGB first
    """

    spatial_dims: int
    channels: int
    intensity_range: tuple[float, float]
    grain: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.intensity_range
        if not (low < high and np.isfinite([low, high]).all()):
            raise ValueError(f"intensity_range must rise between finite numbers, got {low} to {high}")
        if not 0 <= self.grain <= 2:
            raise ValueError(f"grain must lie in [0, 2], got {self.grain}")

    def check(self, image: np.ndarray) -> None:
        """Raise ValueError or TypeError in one sentence when ``image`` (C, *spatial) is not of this format."""
        if image.dtype.kind not in "iuf":
            raise TypeError(f"image has dtype {image.dtype}; an integer or floating dtype is needed")
        if image.ndim != self.spatial_dims + 1:
            raise ValueError(
                f"image has shape {image.shape} but this bundle takes {self.spatial_dims}D images as "
                f"(channels, {', '.join('HWD'[: self.spatial_dims])}); use a bundle or a variant made for such images"
            )
        if image.shape[0] != self.channels:
            raise ValueError(_channel_message(image.shape[0], self.channels))
        if min(image.shape[1:]) < 16:
            raise ValueError(f"image has shape {image.shape}; every side must be 16 pixels or more")
        self._check_values(image)

    def _check_values(self, image: np.ndarray) -> None:
        low, high = float(image.min()), float(image.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("image holds NaN or infinite values; replace them before synthesis")
        slack = 1e-6 * (self.intensity_range[1] - self.intensity_range[0])
        if low < self.intensity_range[0] - slack or high > self.intensity_range[1] + slack:
            raise ValueError(f"{self._out_of_range(low, high)} {_plain(low)} {_plain(high)}")
        if image.dtype.kind == "f" and 0 < high <= 1 and self.intensity_range[1] >= 100:
            raise ValueError(f"{self._out_of_range(low, high)} 0 1")

    def _out_of_range(self, low: float, high: float) -> str:
        first, last = (_plain(value) for value in self.intensity_range)
        return (
            f"image values run from {_plain(low)} to {_plain(high)} but the intensity range is {first} to {last}; "
            "rescale the image, or give its range: load_synthesizer(intensity_range=...), or on the command line "
            "--intensity-range"
        )

    def to_unit(self, image: np.ndarray) -> np.ndarray:
        """Return values scaled to [0, 1], float32."""
        low, high = self.intensity_range
        return ((image.astype(np.float32) - np.float32(low)) / np.float32(high - low)).astype(np.float32)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Return image values (float64) of network values in [-1, 1]; anything beyond is clipped."""
        low, high = self.intensity_range
        return low + (np.clip(values.astype(np.float64), -1, 1) + 1) / 2 * (high - low)


def _channel_message(came: int, needed: int) -> str:
    form = {1: " (greyscale)", 3: " (RGB)"}.get(needed, "")
    remedy = {1: "convert it to greyscale first", 3: "convert it to RGB first"}.get(needed, "select its channels first")
    return f"image has {came} channel{'s' * (came != 1)} but this bundle takes {needed}{form}; {remedy}"


def _plain(value: float) -> str:
    """Return a number that can be typed again: whole ones without a point, the others exactly."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
