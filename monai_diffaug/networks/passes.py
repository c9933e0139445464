"""What a training sends through its networks at once: one forward, so that data-parallel wrappers see every weight.

The names of the parts are those of the composite network: weights go from one to the other by their keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class AutoencoderPass(nn.Module):
    """Encode, draw from the posterior with given noise, decode.

    Args:
        autoencoder: ``encode(image) -> (mean, deviation)`` and ``decode(latent)``, as MONAI's AutoencoderKL.
    """

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder: Any = autoencoder

    def forward(self, image: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction (N, C, *size), mean and deviation (N, c, *latent).

        Args:
            image: (N, C, *size) in [-1, 1].
            generator: of the draw from the posterior, on the CPU; without it the mean is decoded.
        """
        mean, deviation = self.autoencoder.encode(image)
        latent = mean
        if generator is not None:  # drawn on the CPU: a step's draws do not depend on the device
            latent = mean + deviation * torch.randn(mean.shape, generator=generator).to(mean)
        return self.autoencoder.decode(latent), mean, deviation


class DenoiserPass(nn.Module):
    """Encode the texts and denoise.

    Args:
        denoiser: ``denoiser(x, timesteps, context=context)``, as MONAI's DiffusionModelUNet.
        text_encoder: ``text_encoder(prompts, scale)``; "" is the null context.
    """

    def __init__(self, denoiser: nn.Module, text_encoder: nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder

    def forward(
        self, x: Tensor, timesteps: Tensor, prompts: Sequence[str], scale: Tensor, distilled: Tensor | None = None
    ) -> Tensor:
        """Return the prediction (N, c, *latent) for x (N, c + 1 + c, *latent) and timesteps (N,) in [0, 1000].

        ``distilled`` (N,) says which samples are asked for what a ``DistillableUNet`` was distilled to.
        """
        asked = {} if distilled is None else {"distilled": distilled}
        return self.denoiser(x, timesteps, context=self.text_encoder(prompts, scale), **asked)


class ValidatorPass(nn.Module):
    """Segment latents; takes its part of a composite network's weights, so that MONAI's ``ckpt_export`` finds them.

    Args:
        validator: latent (N, c, *latent) -> logits (N, 1, *size).
    """

    def __init__(self, validator: nn.Module) -> None:
        super().__init__()
        self.validator = validator
        self.register_load_state_dict_pre_hook(_keep_the_validator)

    def forward(self, latent: Tensor) -> Tensor:
        """Return logits (N, 1, *size)."""
        return self.validator(latent)


def _keep_the_validator(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Leave the other parts of a composite network out of ``state``."""
    for name in [name for name in state if not name.startswith(f"{prefix}validator.")]:
        del state[name]
