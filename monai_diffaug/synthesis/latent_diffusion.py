"""Inpaint with a latent diffusion model: autoencoder, denoiser, text encoder and the sampler, behind ``Inpainter``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from monai_diffaug.synthesis.diffusion import (
    Denoise,
    Levels,
    Network,
    draw_noise,
    guided,
    sample_inpainting,
    uniform_levels,
    velocity_denoiser,
)
from monai_diffaug.synthesis.inpainter import Canvas, Keep


def to_latent_area(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """Reduce a window mask to the latent grid by area fraction, so that thin abnormalities are not lost.

    Args:
        mask: (N, 1, *size), 0 to 1.
        shape: latent grid; every size must be a multiple of it.
    """
    blocks = _blocks(mask, shape)
    return blocks.mean(dim=tuple(range(3, blocks.ndim, 2)))


def to_latent_max(mask: Tensor, shape: Sequence[int], grow: int = 1) -> Tensor:
    """Reduce a window mask to the latent grid by block maximum, then grow it by whole cells, corners included.

    Args:
        mask: (N, 1, *size), 0 to 1.
        shape: latent grid; every size must be a multiple of it.
        grow: cells added on every side, 0 or more.
    """
    blocks = _blocks(mask, shape)
    cells = blocks.amax(dim=tuple(range(3, blocks.ndim, 2)))
    for axis in range(2, cells.ndim):
        lines = cells.movedim(axis, -1)
        grown = F.max_pool1d(lines.reshape(1, -1, lines.shape[-1]), 2 * grow + 1, stride=1, padding=grow)
        cells = grown.reshape(lines.shape).movedim(-1, axis)
    return cells


def _blocks(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """View (N, 1, *size) as (N, 1, cells, side, cells, side, ...)."""
    size = mask.shape[2:]
    if len(size) != len(shape) or any(whole % cells for whole, cells in zip(size, shape, strict=True)):
        raise ValueError(f"mask size {tuple(size)} is no whole multiple of the latent grid {tuple(shape)}")
    return mask.reshape(
        *mask.shape[:2], *(n for w, cells in zip(size, shape, strict=True) for n in (cells, w // cells))
    )


IMAGE_CELLS, LATENT_CELLS = 4 * 128 * 128, 4 * 32 * 32
"""Cells that the autoencoder encodes and decodes at once on a CPU."""


class LatentDiffusionInpainter:
    """Paint abnormalities with trained networks; implements ``Inpainter`` for any number of spatial dimensions.

    The denoiser sees concat(noisy latent, label mask by area fraction, blanked latent), c + 1 + c channels, and text by
    cross-attention. Networks are put into evaluation mode. Everything handed in is moved to their device; results
    are float32 whatever the networks' precision. Guidance doubles the batch that the denoiser sees; for bytes that do
    not depend on a sample's place in the batch choose batches of 1, 2, 4, 8, 16, ... (at 5 to 7 and 9 to 11 rows
    multi-threaded CPU matrix products round a row by its place), and grids that are even at the U-Net's deepest level.

    Args:
        autoencoder: ``encode(image)[0]`` is the latent mean, ``decode(latent)`` the image, as MONAI's AutoencoderKL.
        denoiser: ``denoiser(x, timesteps, context=context) -> (N, c, *latent)``, as MONAI's DiffusionModelUNet.
        text_encoder: ``text_encoder(prompts, scale) -> context (N, L, C)``; the prompt "" is the null context.
        latent_statistics: per-channel mean and standard deviation of the autoencoder's latents, (c,) each.
        levels: pairs (level, next level); None means eight uniform steps.
        prediction: turns the network into a denoiser: ``velocity_denoiser``, or for example
            ``functools.partial(v_denoiser, alphas_cumprod=table)``.
        guidance_scale: classifier-free guidance (Eq. 8); 1 is off and costs half.
        guidance_interval: lowest and highest level with guidance.

    Raises:
        ValueError: where mean and deviation do not fit each other.

    Example:
        >>> import torch
        >>> from monai_diffaug.synthesis.inpainter import Canvas
        >>> class Halve(torch.nn.Module):
        ...     def encode(self, image): return torch.nn.functional.avg_pool2d(image, 2), None
        ...     def decode(self, latent): return torch.nn.functional.interpolate(latent, scale_factor=2)
        >>> class Denoiser(torch.nn.Module):
        ...     def forward(self, x, timesteps, context): return x[:, :1]
        >>> class Text(torch.nn.Module):
        ...     def forward(self, prompts, scale): return torch.zeros(len(prompts), 1, 4)
        >>> inpainter = LatentDiffusionInpainter(Halve(), Denoiser(), Text(), latent_statistics=([0.0], [1.0]))
        >>> image, mask = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
        >>> latent = inpainter.encode(image)
        >>> canvas = Canvas(latent, latent, mask, mask, torch.zeros(1))
        >>> tuple(inpainter.decode(inpainter.inpaint(canvas, ["polyp"], [7])).shape)
        (1, 1, 8, 8)
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        text_encoder: nn.Module,
        *,
        latent_statistics: tuple[Sequence[float] | Tensor, Sequence[float] | Tensor],
        levels: Levels | None = None,
        prediction: Callable[[Network], Denoise] = velocity_denoiser,
        guidance_scale: float = 1.0,
        guidance_interval: tuple[float, float] = (0.2, 0.8),
    ) -> None:
        self.autoencoder: Any = autoencoder.eval()
        self.denoiser = denoiser.eval()
        self.text_encoder = text_encoder.eval()
        self.latent_mean, self.latent_std = (torch.as_tensor(one, dtype=torch.float32) for one in latent_statistics)
        if self.latent_mean.ndim != 1 or self.latent_mean.shape != self.latent_std.shape or self.latent_std.min() <= 0:
            raise ValueError(
                "latent_statistics must be means and deviations, one a latent channel, deviations above 0; got shapes "
                f"{tuple(self.latent_mean.shape)} and {tuple(self.latent_std.shape)}"
            )
        self.levels = uniform_levels(8) if levels is None else [(float(a), float(b)) for a, b in levels]
        self.prediction = prediction
        self.guidance_scale = guidance_scale
        self.guidance_interval = guidance_interval

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Encode images to normalised latent means.

        Args:
            image: (N, C, *size) in [-1, 1].

        Returns:
            (N, c, *latent), about unit variance.

        Raises:
            ValueError: where the size is no multiple of the autoencoder's stride, which decoding could not restore.
        """
        latent = _part_by_part(
            lambda part: self.autoencoder.encode(part)[0], image.to(*_place(self.autoencoder)), IMAGE_CELLS
        )
        latent = latent.float()
        size, cells = tuple(image.shape[2:]), tuple(latent.shape[2:])
        if any(whole % n for whole, n in zip(size, cells, strict=True)):
            raise ValueError(f"window size {size} gives latents of {cells}; use multiples of the autoencoder's stride")
        return (latent - self._channels(self.latent_mean, latent)) / self._channels(self.latent_std, latent)

    @torch.no_grad()
    def inpaint(self, canvas: Canvas, prompts: Sequence[str], seeds: Sequence[int], keep: Keep | None = None) -> Tensor:
        """Paint the label mask of every canvas as its prompt says.

        Args:
            canvas: latents and masks of N windows.
            prompts: N texts.
            seeds: N integers; the result of a sample depends on its own alone.
            keep: early refusal, asked after every step.

        Returns:
            (N, c, *latent), equal to the source outside the grown paint mask.

        Raises:
            ValueError: where canvas, prompts and seeds differ in number.
        """
        if not len(canvas.source) == len(prompts) == len(seeds):
            raise ValueError(
                f"got {len(canvas.source)} windows, {len(prompts)} prompts and {len(seeds)} seeds; need one each"
            )
        device = _place(self.denoiser)[0]
        source = canvas.source.to(device)
        hold_mask = to_latent_max(canvas.paint_mask.to(device), source.shape[2:])
        noise = draw_noise(source.shape[1:], seeds).to(device)
        denoise = self.bind(canvas, prompts)
        levels = [pair for pair in self.levels if pair[0] <= canvas.begins] or self.levels[-1:]
        return sample_inpainting(denoise, source, noise, hold_mask, levels, keep)

    @torch.no_grad()
    def bind(self, canvas: Canvas, prompts: Sequence[str]) -> Denoise:
        """Return the denoiser of N windows, guided, bound to their label masks, blanked latents, scales and texts."""
        device = _place(self.denoiser)[0]
        area = to_latent_area(canvas.label_mask.to(device), canvas.blanked.shape[2:])
        condition = torch.cat([area, canvas.blanked.to(device)], dim=1)
        return self._guided_denoiser(condition, list(prompts), canvas.scale.to(device))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode normalised latents (N, c, *latent) to images (N, C, *size), clipped to [-1, 1]."""
        latent = latent.to(_place(self.autoencoder)[0])
        latent = latent * self._channels(self.latent_std, latent) + self._channels(self.latent_mean, latent)
        return (
            _part_by_part(self.autoencoder.decode, latent.to(*_place(self.autoencoder)), LATENT_CELLS)
            .float()
            .clamp(-1, 1)
        )

    def _guided_denoiser(self, condition: Tensor, prompts: list[str], scale: Tensor) -> Denoise:
        context = self.text_encoder(prompts, scale)
        conditional = self._denoiser(condition, context)
        if self.guidance_scale == 1:
            return conditional
        null = self.text_encoder([""] * len(prompts), scale)
        both = self._denoiser(torch.cat([condition, condition]), torch.cat([context, null]))
        return guided(conditional, both, scale=self.guidance_scale, interval=self.guidance_interval)

    def _denoiser(self, condition: Tensor, context: Tensor) -> Denoise:
        """Bind the network to its conditions; only the noisy latent is ever rescaled by ``prediction``."""
        device, dtype = _place(self.denoiser)

        def network(latent: Tensor, timesteps: Tensor) -> Tensor:
            x = torch.cat([latent, condition], dim=1)
            return self.denoiser(x.to(device, dtype), timesteps, context=context.to(device, dtype)).float()

        return self.prediction(network)

    @staticmethod
    def _channels(numbers: Tensor, like: Tensor) -> Tensor:
        if len(numbers) != like.shape[1]:
            raise ValueError(
                f"got latents of {like.shape[1]} channels, but latent_mean and latent_std hold {len(numbers)}"
            )
        return numbers.to(like.device).reshape(1, -1, *(1,) * (like.ndim - 2))


def _place(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Read device and precision off the weights, at every call: networks may be moved after construction."""
    weight = next(network.parameters(), torch.empty(0))
    return weight.device, weight.dtype


def _part_by_part(work: Callable[[Tensor], Tensor], batch: Tensor, cells: int) -> Tensor:
    """Run an autoencoder on few samples at a time on a CPU: large maps do not fit the cache, and cost twice the time.

    How many depends on the shape alone. A part that repeats the one before it, as in padded batches, is not computed
    again.
    """
    if batch.device.type != "cpu":
        return work(batch)
    parts = batch.split(max(1, cells // batch[0, 0].numel()))
    made: list[Tensor] = []
    for index, part in enumerate(parts):
        repeated = index > 0 and torch.equal(part, parts[index - 1])
        made.append(made[-1] if repeated else work(part))
    return torch.cat(made)
