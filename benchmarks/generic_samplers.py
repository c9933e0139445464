"""Other ways to inpaint with a bundle's own networks: MONAI's LatentDiffusionInferer, and RePaint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.inferers import LatentDiffusionInferer
from monai.networks.schedulers import RFlowScheduler
from torch import Tensor, nn

from monai_diffaug.synthesis import Canvas, LatentDiffusionInpainter
from monai_diffaug.synthesis.diffusion import add_noise, draw_noise
from monai_diffaug.synthesis.latent_diffusion import to_latent_area, to_latent_max


class _AsInferersTakeIt(nn.Module):
    """A denoiser whose text is bound, with the sign of MONAI's rectified flow."""

    def __init__(self, denoiser: nn.Module, context: Tensor) -> None:
        super().__init__()
        self.denoiser, self.context = denoiser, context

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        """Return image minus noise; MONAI gives one timestep for all rows."""
        return -self.denoiser(x, timesteps.expand(len(x)), context=self.context).float()


class _Decoder:
    """The autoencoder, as an inferer calls it."""

    def __init__(self, inpainter: LatentDiffusionInpainter) -> None:
        self.decode_stage_2_outputs = inpainter.decode


def monai_sample(
    inpainter: LatentDiffusionInpainter, image: Tensor, mask: Tensor, prompts: Sequence[str], *, steps: int
) -> Tensor:
    """Inpaint with MONAI's LatentDiffusionInferer, conditions concatenated: it has no window, gate or composite.

    Args:
        inpainter: whose networks are used.
        image: (N, C, *size) in [-1, 1].
        mask: (N, 1, *size), 0 or 1.
        prompts: N texts.
        steps: of the sampler.
    """
    blanked = inpainter.encode(torch.where(mask > 0, 0.0, image))
    condition = torch.cat([to_latent_area(mask, blanked.shape[2:]), blanked], dim=1)
    context = inpainter.text_encoder(list(prompts), torch.zeros(len(image), device=image.device))
    scheduler = RFlowScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(steps)
    sampler: Any = LatentDiffusionInferer(scheduler, scale_factor=1.0)
    noise = draw_noise(blanked.shape[1:], range(len(image))).to(blanked)
    model = _AsInferersTakeIt(inpainter.denoiser, context)
    return sampler.sample(
        noise, _Decoder(inpainter), model, scheduler, conditioning=condition, mode="concat", verbose=False
    )


def repaint_walk(steps: int, jump: int, repeats: int) -> list[int]:
    """Return RePaint's walk through time: steps down, and jumps back of ``jump`` steps, ``repeats`` - 1 at each.

    Lugmayr et al., RePaint (CVPR 2022), 250 steps, jumps of 10, 10 repeats.

    Example:
        >>> repaint_walk(4, 2, 2)
        [4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0]
    """
    left = dict.fromkeys(range(0, steps - jump + 1, jump), repeats - 1)
    walk = [steps]
    while walk[-1] > 0:
        walk.append(walk[-1] - 1)
        if left.get(walk[-1], 0) > 0:
            left[walk[-1]] -= 1
            walk += [walk[-1] + k for k in range(1, jump + 1)]
    return walk


def repaint(inpainter: LatentDiffusionInpainter, canvas: Canvas, prompts: Sequence[str], walk: Sequence[int]) -> Tensor:
    """Sample as RePaint does, the known part noised anew at every step; ``walk`` may be the beginning of one.

    Returns:
        (N, c, *latent).
    """
    denoise, source, top = inpainter.bind(canvas, prompts), canvas.source, walk[0]
    inside = to_latent_max(canvas.paint_mask, source.shape[2:]) > 0
    generator = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(source.shape, generator=generator).to(source)

    def levels(level: float) -> Tensor:
        return torch.full((len(source),), level, dtype=torch.float64)

    latent = noise()
    for now, following in zip(walk, walk[1:], strict=False):
        level, target = now / top, following / top
        if following < now:
            estimate = denoise(latent, levels(level))
            drawn = estimate + target / level * (latent - estimate)
            latent = torch.where(inside, drawn, add_noise(source, noise(), levels(target)))
        else:
            kept = (1 - target) / (1 - level)
            latent = kept * latent + (target**2 - (kept * level) ** 2) ** 0.5 * noise()
    return latent
