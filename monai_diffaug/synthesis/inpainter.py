"""The seam between the method and whatever paints: three methods, and a weight-free implementation of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from monai_diffaug.synthesis.prompts import split_words

Keep = Callable[[float, Tensor], Tensor]
"""``keep(level, denoised) -> bool (N,)``: asked during sampling, False where a sample is refused already."""


@dataclass(frozen=True)
class Canvas:
    """What an inpainter is given for a batch of windows.

    Args:
        source: latent of the window as it is, (N, c, *latent).
        blanked: latent of the window whose paint mask was set to 0 (mid range) in pixel space, (N, c, *latent).
        label_mask: the abnormality to paint, on the window grid, 0 or 1, (N, 1, *size).
        paint_mask: where pixels may change; contains ``label_mask``, (N, 1, *size).
        scale: log2 of image pixels per window cell, (N,); 0 = same, above 0 = the window was reduced.
        begins: noise level in (0, 1] at which painting begins, over the noised source; 1 = from pure noise.
    """

    source: Tensor
    blanked: Tensor
    label_mask: Tensor
    paint_mask: Tensor
    scale: Tensor
    begins: float = 1.0


class Inpainter(Protocol):
    """Paint an abnormality into a window, in latent space.

    All three methods are deterministic; a sample's result does not depend on its batch-mates.
    """

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent (N, c, *latent) of windows (N, C, *size) with values in [-1, 1]."""

    def inpaint(self, canvas: Canvas, prompts: Sequence[str], seeds: Sequence[int], keep: Keep | None = None) -> Tensor:
        """Return painted latents (N, c, *latent); may stop as soon as ``keep`` keeps no sample."""

    def decode(self, latent: Tensor) -> Tensor:
        """Return windows (N, C, *size) in [-1, 1]."""


# Words that the texture obeys: (change of brightness, change of redness, roughness factor).
_WORDS = {
    "paler": (0.30, -0.10, 1.0),
    "redder": (0.0, 0.30, 1.0),
    "brighter": (0.30, 0.0, 1.0),
    "darker": (-0.35, 0.0, 1.0),
    "smooth": (0.0, 0.0, 0.35),
    "rough": (0.0, 0.0, 1.8),
}


class TextureInpainter:
    """Paint a shaded, textured bump without any weights: for tests, documentation and as a baseline.

    The latent is the window itself. The bump's height follows the distance to the mask's edge, it is lit from the
    side, tinted, and roughened by band-limited noise. Some draws are faint on purpose, so that the gate has work.

    Args:
        contrast: mean strength of the bump in units of the [-1, 1] range.
        roughness: standard deviation of the texture relative to ``contrast``.

    Example:
        >>> import torch
        >>> from monai_diffaug.synthesis import Canvas, TextureInpainter
        >>> window = torch.zeros(1, 3, 32, 32)
        >>> mask = torch.zeros(1, 1, 32, 32)
        >>> mask[..., 10:22, 10:22] = 1
        >>> canvas = Canvas(window, window, mask, mask, torch.zeros(1))
        >>> painted = TextureInpainter().inpaint(canvas, ["a polyp"], seeds=[7])
        >>> bool((painted[:, :, :10] == window[:, :, :10]).all())
        True
    """

    def __init__(self, *, contrast: float = 0.3, roughness: float = 0.35) -> None:
        if contrast <= 0 or roughness < 0:
            raise ValueError(f"contrast must be above 0 and roughness at least 0, got {contrast} and {roughness}")
        self.contrast = contrast
        self.roughness = roughness

    def encode(self, image: Tensor) -> Tensor:
        return image

    def decode(self, latent: Tensor) -> Tensor:
        return latent.clamp(-1, 1)

    def inpaint(self, canvas: Canvas, prompts: Sequence[str], seeds: Sequence[int], keep: Keep | None = None) -> Tensor:
        painted = [
            self._paint(source, label[0], paint[0], prompt, seed)
            for source, label, paint, prompt, seed in zip(
                canvas.source, canvas.label_mask, canvas.paint_mask, prompts, seeds, strict=True
            )
        ]
        return torch.stack(painted)  # at once: there is no unfinished sample to ask ``keep`` about

    def _paint(self, source: Tensor, label: Tensor, paint: Tensor, prompt: str, seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        brightness, redness, roughness = _obey(prompt)
        inside = label.numpy(force=True) > 0
        profile, height, shading = _bump(inside, rng)
        texture = _band_noise(inside.shape, rng) * self.roughness * roughness
        strength = self.contrast * math.exp(rng.normal(0, 0.6))
        drawn = 1.0 if rng.random() < 0.6 else -1.0
        sign = math.copysign(1.0, brightness) if brightness else drawn
        # Never below a floor: where light and texture cancelled the paint, the mask would have holes.
        relief = np.maximum(0.5 + abs(brightness) + 0.3 * height + 0.6 * sign * shading + 0.3 * texture, 0.3)
        grey = strength * sign * profile * relief
        tint = _tint(source.shape[0], strength * (redness + rng.normal(0.1, 0.05)))
        change = grey[None] + tint.reshape(-1, *[1] * grey.ndim) * profile
        change = change * (paint.numpy(force=True) > 0)
        return source + torch.as_tensor(change, dtype=source.dtype, device=source.device)


def _obey(prompt: str) -> tuple[float, float, float]:
    """Return the summed change of brightness and redness, and the product of roughness, that the words ask for."""
    asked = [_WORDS[word] for word in split_words(prompt) if word in _WORDS]
    roughness = math.prod(r for _, _, r in asked)
    return sum(b for b, _, _ in asked), sum(r for _, r, _ in asked), roughness


def _bump(inside: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the dome's opacity and height in [0, 1] and its Lambert shading in [-1, 1], on the mask's grid."""
    depth = ndimage.distance_transform_edt(inside)
    radius = max(float(depth.max()), 1.0)
    height = np.sqrt(np.clip(1 - (1 - depth / radius) ** 2, 0, 1))
    light = rng.normal(size=inside.ndim)
    light /= np.linalg.norm(light)
    slopes = np.gradient(ndimage.gaussian_filter(height, radius / 6)) if min(inside.shape) > 1 else []
    shading = radius * sum((axis * slope for axis, slope in zip(light, slopes, strict=True)), np.zeros(inside.shape))
    profile = np.minimum(depth / (0.12 * radius + 1), 1.0)
    return profile, height, np.clip(shading, -1, 1) * inside


def _band_noise(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return noise of unit deviation, smooth at the scale of two to four cells."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2) + 2 * ndimage.gaussian_filter(
        rng.standard_normal(shape), 3.0
    )
    return noise / noise.std()


def _tint(channels: int, redness: float) -> np.ndarray:
    """Return the change per channel: the first is raised and the rest lowered; a single channel has no tint."""
    tint = np.full(channels, -redness / 2)
    tint[0] = redness
    return tint if channels > 1 else np.zeros(1)
