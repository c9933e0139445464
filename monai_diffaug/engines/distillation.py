"""Teach a denoiser to do in one step, without guidance, what it did in several with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from monai_diffaug.losses import InpaintingLoss
from monai_diffaug.networks.passes import DenoiserPass
from monai_diffaug.synthesis.diffusion import add_noise, append_dims, draw_levels, guided, velocity_denoiser


class DistillationLoss(InpaintingLoss):
    """Error against where the guided teacher goes, for most of a batch; the others are trained as ever.

    Guidance distillation (arXiv 2210.03142) and progressive distillation (arXiv 2202.00512) at once: from a level of
    the student's sampler the teacher makes ``teacher_steps`` guided Euler steps, and the student learns their mean
    velocity. The plain behaviour is kept by the inpainter's own objective on the rest of the batch.

    Args:
        teacher: copied and kept as it is; part of the loss's state, so that a resumed training has the same one.
        steps: of the student's sampler, uniform.
        teacher_steps: guided steps in one of the student's.
        guidance_scale: of the teacher (Eq. 8).
        share: of the batch that is distilled, in [0, 1].
        preserve: lambda, as the inpainter's.
        text_dropout: share of the rest that sees the null context.

    Raises:
        ValueError: where there is no step, or the share is out of range.
    """

    def __init__(
        self,
        teacher: DenoiserPass,
        *,
        steps: int = 4,
        teacher_steps: int = 2,
        guidance_scale: float = 3.0,
        share: float = 0.75,
        preserve: float = 0.5,
        text_dropout: float = 0.1,
    ) -> None:
        super().__init__(preserve=preserve, text_dropout=text_dropout)
        if min(steps, teacher_steps) < 1 or not 0 <= share <= 1:
            raise ValueError(f"steps must be 1 or more and share in [0, 1]; got {steps}, {teacher_steps} and {share}")
        self.teacher = deepcopy(teacher).requires_grad_(False)
        self.steps, self.teacher_steps, self.guidance_scale, self.share = steps, teacher_steps, guidance_scale, share

    def forward(self, network: nn.Module, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Return ``loss`` with its parts ``inside`` and ``outside``; arguments as the inpainter's."""
        latent, prompts = batch["latent"], list(batch["prompts"])
        count = round(self.share * len(latent))
        level = self._levels(len(latent), count, generator).to(latent.device)
        noise = torch.randn(latent.shape, generator=generator).to(latent)
        dropped = torch.rand(len(latent), generator=generator) < self.text_dropout
        asked = ["" if drop and row >= count else prompts[row] for row, drop in enumerate(dropped.tolist())]
        noisy = add_noise(latent, noise, level)
        target = noise - latent
        if count:
            first = {name: value[:count] for name, value in batch.items()}
            target = torch.cat([self._taught(noisy[:count], level[:count], first), target[count:]])
        x = torch.cat([noisy, batch["area"], batch["blanked"]], dim=1)
        distilled = torch.arange(len(latent), device=latent.device) < count
        predicted = network(x, level * 1000, asked, batch["scale"], distilled).float()
        return self.weighted(target - predicted, batch["hold"])

    def _levels(self, rows: int, count: int, generator: torch.Generator) -> Tensor:
        """Return levels of the student's sampler for the first ``count`` rows, the inpainter's draws for the others."""
        steps = torch.randint(1, self.steps + 1, (count,), generator=generator) / self.steps
        return torch.cat([steps, draw_levels(rows - count, generator)])

    @torch.no_grad()
    def _taught(self, noisy: Tensor, level: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Return the teacher's mean velocity over one step of the student, the background held as it is in use."""
        self.teacher.eval()
        conditional = self._denoiser(batch, batch["prompts"], 1)
        both = self._denoiser(batch, [*batch["prompts"], *[""] * len(noisy)], 2)
        denoise = guided(conditional, both, scale=self.guidance_scale)
        latent, part = noisy.float(), 1 / (self.steps * self.teacher_steps)
        for step in range(self.teacher_steps):
            now = level - step * part
            estimate = torch.where(batch["hold"] > 0, denoise(latent, now).float(), batch["latent"])
            following = (now - part).clamp_min(0)
            latent = estimate + append_dims(following / now, latent) * (latent - estimate)
        return (noisy - latent) * self.steps

    def _denoiser(self, batch: Mapping[str, Any], prompts: Sequence[str], times: int) -> Any:
        condition = torch.cat([batch["area"], batch["blanked"]], dim=1).repeat(times, *[1] * (batch["area"].ndim - 1))
        scale = batch["scale"].repeat(times)
        return velocity_denoiser(
            lambda latent, timesteps: self.teacher(torch.cat([latent, condition], dim=1), timesteps, prompts, scale)
        )
