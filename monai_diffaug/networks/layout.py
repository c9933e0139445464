"""Memory layout of convolution weights: wide, shallow networks are faster with channels last."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
FEW = 1024
"""Cells below which torch's group normalization of channels-last maps walks narrow groups number by number."""


class GroupNorm(nn.GroupNorm):
    """Group normalization that takes small channels-last maps through the plain layout: 3 to 7 times faster on CPUs.

    Example:
        >>> x = torch.rand(2, 6, 4, 4).to(memory_format=torch.channels_last)
        >>> normed = GroupNorm(2, 6)(x)
        >>> torch.allclose(normed, nn.GroupNorm(2, 6)(x), atol=1e-5), normed.stride() == x.stride()
        (True, True)
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, *size) normalised, in its own layout."""
        layout = _FORMATS.get(x.ndim)
        if layout is None or x.device.type != "cpu" or x[0, 0].numel() >= FEW or x.is_contiguous():
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=layout)


def channels_last(network: Net) -> Net:
    """Lay the weights of every 2D and 3D convolution out with channels last, in place, and return the network.

    Its group normalizations become ``GroupNorm``, with the same weights. It helps autoencoders, whose first levels are
    as large as the image; denoisers on small grids hardly gain from the layout itself.

    Example:
        >>> network = channels_last(nn.Conv3d(4, 8, 3))
        >>> network.weight.is_contiguous(memory_format=torch.channels_last_3d)
        True
    """
    for weight in network.parameters():
        if weight.ndim in _FORMATS:
            weight.data = weight.data.contiguous(memory_format=_FORMATS[weight.ndim])
    for module in network.modules():
        for name, child in module.named_children():
            if type(child) is nn.GroupNorm:
                setattr(module, name, _same_norm(child))
    return network


def _same_norm(norm: nn.GroupNorm) -> GroupNorm:
    """Return the norm as a ``GroupNorm`` that shares its weights."""
    made = GroupNorm(norm.num_groups, norm.num_channels, norm.eps, norm.affine)
    made.weight, made.bias = norm.weight, norm.bias
    return made.train(norm.training)
