"""3D convolutions whose gradients in bfloat16 can be trusted on every CPU."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


class Conv3d(nn.Conv3d):
    """A 3D convolution that leaves bfloat16 where weights are trained on maps shorter than its kernel, on a CPU.

    There oneDNN's bfloat16 weight gradients hold whatever was in memory, and the process may crash: on CPUs with
    AVX512_BF16 (seen with torch 2.13 on an AMD EPYC), where a padded map has fewer cells along an axis than the kernel
    and gives two or more. Such maps are a network's deepest, so that float32 costs next to nothing.

    Example:
        >>> conv, x = Conv3d(16, 16, 3, padding=1), torch.ones(1, 16, 2, 2, 2)
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     conv(x).sum().backward()
        >>> bool(conv.weight.grad.isfinite().all())
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved ``x`` (N, C, D, H, W), in the dtype that autocast asks for."""
        trained = torch.is_grad_enabled() and self.weight.requires_grad
        if not trained or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not self._is_short(x):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            made = super().forward(x.to(self.weight.dtype))
        return made.to(torch.get_autocast_dtype("cpu"))

    def _is_short(self, x: Tensor) -> bool:
        return any(n < kernel for n, kernel in zip(x.shape[2:], self.kernel_size, strict=True))


def with_sound_gradients(network: Net) -> Net:
    """Let every plain 3D convolution of a network or loss be a ``Conv3d``, in place, and return it.

    Example:
        >>> type(with_sound_gradients(nn.Sequential(nn.Conv3d(1, 1, 3)))[0]).__name__
        'Conv3d'
    """
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = Conv3d
    return network
