"""Segment abnormalities straight from latents: the validator's network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from torch import Tensor, nn


class LatentSegmentationNet(nn.Module):
    """Predict mask logits on the window grid from a latent, with a small residual U-Net (Eq. 12's network).

    Any latent size works; it scripts with TorchScript.

    Args:
        spatial_dims: 2 or 3.
        latent_channels: channels of the latent.
        channels: features of each level, finest first, multiples of ``norm_num_groups``; above the latent grid the
            first of them is halved at every doubling of the size.
        out_channels: number of logit channels.
        stride: window cells per latent cell along an axis, a power of two.
        norm_num_groups: groups of the normalization.

    Raises:
        ValueError: for a stride that is no power of two, or channels that do not divide into the groups.

    Example:
        >>> net = LatentSegmentationNet(2, latent_channels=4, channels=(8, 16), norm_num_groups=4)
        >>> tuple(net(torch.zeros(1, 4, 8, 8)).shape)
        (1, 1, 32, 32)
    """

    def __init__(
        self,
        spatial_dims: int,
        latent_channels: int,
        channels: Sequence[int] = (32, 64, 128),
        *,
        out_channels: int = 1,
        stride: int = 4,
        norm_num_groups: int = 8,
    ) -> None:
        super().__init__()
        if stride < 1 or stride & (stride - 1):
            raise ValueError(f"stride must be a power of two, as the autoencoder's is, got {stride}")
        if not channels or any(width % norm_num_groups for width in channels):
            raise ValueError(f"channels {tuple(channels)} must be one or more multiples of {norm_num_groups} groups")
        norm = ("GROUP", {"num_groups": norm_num_groups})

        def unit(inputs: int, outputs: int, strides: int = 1) -> ResidualUnit:
            return ResidualUnit(spatial_dims, inputs, outputs, strides=strides, act="PRELU", norm=norm)

        self.stem = unit(latent_channels, channels[0])
        levels = [(channels[i], channels[i + 1]) for i in range(len(channels) - 1)]
        self.down = nn.ModuleList(unit(fine, coarse, 2) for fine, coarse in levels)
        self.up = nn.ModuleList(unit(coarse + fine, fine) for fine, coarse in reversed(levels))
        head: list[nn.Module] = []
        width = channels[0]
        for _ in range(stride.bit_length() - 1):
            inputs, width = width, max(width // 2 // norm_num_groups, 1) * norm_num_groups
            # Deconvolution leaves a chequerboard, which would cost IoU at the rim.
            head.append(UpSample(spatial_dims, inputs, width, mode="nontrainable", align_corners=False))
            head.append(Convolution(spatial_dims, width, width, act="PRELU", norm=norm))
        head.append(Convolution(spatial_dims, width, out_channels, kernel_size=1, conv_only=True))
        self.head = nn.Sequential(*head)

    def forward(self, latent: Tensor) -> Tensor:
        """Predict logits (N, out_channels, *latent * stride) from a latent (N, latent_channels, *latent)."""
        x = self.stem(latent)
        skips: list[Tensor] = []
        for down in self.down:
            skips.append(x)
            x = down(x)
        for up in self.up:
            skip = skips.pop()
            # To the skip's own size, so that odd latents fit.
            x = F.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = up(torch.cat([x, skip], dim=1))
        return self.head(x)
