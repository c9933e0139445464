"""The denoiser: a diffusion U-Net with a second behaviour, for few steps without guidance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class DistillableUNet(nn.Module):
    """Predict as MONAI's ``DiffusionModelUNet`` does, or, where asked, as it was distilled to (``DistillationLoss``).

    An embedding beside that of the time tells the two apart. It begins as zeros: before any distillation both are the
    same.

    Args:
        build: makes the U-Net when called with ``num_class_embeds``; in a config a component with
            ``"_mode_": "callable"``.

    Example:
        >>> from functools import partial
        >>> from monai.networks.nets import DiffusionModelUNet
        >>> unet = DistillableUNet(partial(
        ...     DiffusionModelUNet, 2, 3, 1, channels=(8, 8), attention_levels=(False, False), num_res_blocks=1,
        ...     norm_num_groups=8, with_conditioning=True, cross_attention_dim=8))
        >>> x, timesteps, context = torch.zeros(1, 3, 8, 8), torch.tensor([500.0]), torch.zeros(1, 2, 8)
        >>> torch.equal(unet(x, timesteps, context), unet.distilled()(x, timesteps, context))
        True
    """

    def __init__(self, build: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.unet = build(num_class_embeds=2)
        nn.init.zeros_(self.unet.get_parameter("class_embedding.weight"))

    def forward(
        self, x: Tensor, timesteps: Tensor, context: Tensor | None = None, distilled: Tensor | None = None
    ) -> Tensor:
        """Return the prediction (N, c, *latent).

        Args:
            x: (N, c + 1 + c, *latent).
            timesteps: (N,) in [0, 1000].
            context: (N, L, C), the text.
            distilled: (N,) bool, which samples are asked for the distilled behaviour; None is none.
        """
        labels = torch.zeros(len(x), dtype=torch.int64) if distilled is None else distilled.long()
        return self.unet(x, timesteps, context=context, class_labels=labels.to(x.device))

    def distilled(self) -> Distilled:
        """Return a denoiser that always asks for the distilled behaviour; it has the same weights."""
        return Distilled(self)


class Distilled(nn.Module):
    """The distilled behaviour of a ``DistillableUNet``, as a denoiser.

    Args:
        denoiser: whose weights it shares.
    """

    def __init__(self, denoiser: DistillableUNet) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the prediction (N, c, *latent)."""
        return self.denoiser(x, timesteps, context, torch.ones(len(x), dtype=torch.bool))
