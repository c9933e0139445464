"""Make a normal image from noise alone: the whole of it on a small grid first, then its windows, finer and finer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from monai_diffaug.synthesis.diffusion import Denoise, draw_noise, sample_inpainting, uniform_levels
from monai_diffaug.synthesis.inpainter import Canvas
from monai_diffaug.synthesis.latent_diffusion import LatentDiffusionInpainter
from monai_diffaug.synthesis.resample import resample
from monai_diffaug.synthesis.tiles import Tiles


@dataclass(frozen=True)
class Stage:
    """One pass over the whole image.

    Args:
        grid: cells of the windows that it is seen through, on each axis; a multiple of what the networks reduce by.
        side: cells along the image's shortest side, at least ``grid``; None is one cell a pixel.
        start: noise level that it starts from: 1 is noise alone, below that the stage before is refined.
        steps: of the sampler.

    Raises:
        ValueError: where the windows are larger than the image, or start or steps are out of range.
    """

    grid: int
    side: int | None = None
    start: float = 0.5
    steps: int = 16

    def __post_init__(self) -> None:
        if self.side is not None and self.side < self.grid:
            raise ValueError(f"side must be at least the grid of {self.grid} cells, got {self.side}")
        uniform_levels(self.steps, self.start)


STAGES = (Stage(128, side=128, start=1.0, steps=32), Stage(128))
"""The whole image in one window, then windows at its own resolution."""


class SceneMaker:
    """Draw images of normal tissue; nothing of any image goes in: all is blanked, the label empty, the text normal.

    At every step the estimates of overlapping windows are averaged in one latent of the whole image, with one noise,
    so that windows agree before they are finished and no seam can show. An image depends on its seed, its shape and
    the batch shape alone.

    Args:
        inpainter: trained networks.
        stages: coarse to fine; the first starts from noise alone, the last has one cell a pixel.
        channels: of the images.
        prompt: what the networks are asked for.
        overlap: least share of a window that its neighbour covers too, in [0, 1).
        batch_size: windows that the networks see at once, at most; how many exactly depends on the shape alone.
        autocast: run the networks in bfloat16: several times faster on CPUs made for it, other bytes.

    Raises:
        ValueError: where the stages do not begin with noise alone and end with one cell a pixel.

    Example:
        >>> import torch
        >>> from monai_diffaug.synthesis import LatentDiffusionInpainter
        >>> class Halve(torch.nn.Module):
        ...     def encode(self, image): return torch.nn.functional.avg_pool2d(image, 2), None
        ...     def decode(self, latent): return torch.nn.functional.interpolate(latent, scale_factor=2)
        >>> class Denoiser(torch.nn.Module):
        ...     def forward(self, x, timesteps, context): return x[:, :1]
        >>> class Text(torch.nn.Module):
        ...     def forward(self, prompts, scale): return torch.zeros(len(prompts), 1, 4)
        >>> inpainter = LatentDiffusionInpainter(Halve(), Denoiser(), Text(), latent_statistics=([0.0], [1.0]))
        >>> maker = SceneMaker(inpainter, [Stage(16, side=16, start=1.0, steps=4), Stage(16, steps=2)], channels=1)
        >>> tuple(maker(7, (24, 33)).shape)
        (1, 24, 33)
    """

    def __init__(
        self,
        inpainter: LatentDiffusionInpainter,
        stages: Sequence[Stage] = STAGES,
        *,
        channels: int = 3,
        prompt: str = "normal tissue",
        overlap: float = 0.5,
        batch_size: int = 1,
        autocast: bool = False,
    ) -> None:
        if not stages or stages[0].start != 1 or stages[-1].side is not None:
            raise ValueError(
                f"the first stage must start from level 1 and the last have side None, one cell a pixel; got {stages}"
            )
        self.inpainter, self.stages, self.channels, self.prompt = inpainter, tuple(stages), channels, prompt
        self.overlap, self.batch_size, self.autocast = overlap, batch_size, autocast

    def __call__(self, seed: int, shape: Sequence[int]) -> Tensor:
        """Return an image (C, *shape), float32 in [-1, 1], on the CPU.

        Args:
            seed: 0 or more; equal numbers give equal images.
            shape: of the image, in pixels; no side shorter than the last stage's grid.

        Raises:
            ValueError: where the shape is smaller than that.
        """
        if min(shape) < self.stages[-1].grid:
            raise ValueError(f"every side must be {self.stages[-1].grid} pixels or more, got the shape {tuple(shape)}")
        # Numbers of their own for each stage: equal ones would repeat the noise that made what is refined.
        seeds = np.random.default_rng(seed).integers(2**62, size=len(self.stages)).tolist()
        image = torch.zeros(1, self.channels, *shape)
        # The caller's gradients and autocast are kept out, wherever the networks are.
        with torch.no_grad(), self._arithmetic("cpu"), self._arithmetic("cuda"):
            for stage, noise_seed in zip(self.stages, seeds, strict=True):
                image = self._pass(stage, image, noise_seed, shape)
        return image[0][(slice(None), *(slice(n) for n in shape))].cpu()

    def _arithmetic(self, device: str) -> torch.autocast:
        there = device == "cpu" or torch.cuda.is_available()
        return torch.autocast(device, torch.bfloat16, enabled=self.autocast and there)

    def _pass(self, stage: Stage, image: Tensor, seed: int, shape: Sequence[int]) -> Tensor:
        """Return the image (1, C, *size) on the stage's own grid, from what the stage before left."""
        blank = self.inpainter.encode(torch.zeros(1, self.channels, *(stage.grid,) * len(shape)))
        cells = tuple(blank.shape[2:])
        stride = stage.grid // cells[0]
        # Whole latent cells: at its own resolution the image is made a little larger, and cut at the end.
        whole = [math.ceil(n / stride) for n in shape]
        size = whole if stage.side is None else [round(n * stage.side / stride / min(whole)) for n in whole]
        scale = math.log2(math.prod(whole) / math.prod(size)) / len(whole)
        tiles = Tiles(size, cells, overlap=self.overlap, batch_size=self.batch_size)
        latent = tiles(self.inpainter.encode, resample(image.to(blank.device), [n * stride for n in size]))
        noise = draw_noise(latent.shape[1:], [seed]).to(blank.device)
        denoise = _together(tiles, self._denoiser(blank.expand(tiles.rows, *blank.shape[1:]), stage, scale))
        levels = uniform_levels(stage.steps, stage.start)
        latent = sample_inpainting(denoise, latent, noise, torch.ones_like(latent[:, :1]), levels)
        return tiles(self.inpainter.decode, latent)

    def _denoiser(self, blanks: Tensor, stage: Stage, scale: float) -> Denoise:
        """Return the denoiser of a batch of windows; nothing tells them apart but their noise."""
        label = torch.zeros(len(blanks), 1, *(stage.grid,) * (blanks.ndim - 2))
        canvas = Canvas(blanks, blanks, label, torch.ones_like(label), torch.full((len(blanks),), scale))
        return self.inpainter.bind(canvas, [self.prompt] * len(blanks))


def _together(tiles: Tiles, denoise: Denoise) -> Denoise:
    """Denoise a whole latent (1, c, *latent) through its windows."""

    def whole(latent: Tensor, level: Tensor) -> Tensor:
        return tiles(lambda windows: denoise(windows, level.expand(len(windows))), latent)

    return whole
