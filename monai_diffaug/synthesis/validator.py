"""From a latent to the mask that can be seen in it, on the window grid, in one step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from monai_diffaug.synthesis.resample import resample


class LatentValidator(Protocol):
    """Segment the abnormality in latents (Eq. 12)."""

    def __call__(self, latent: Tensor, source: Tensor, size: Sequence[int]) -> Tensor:
        """Return probabilities (N, K, *size), one channel for each class or one for all of them.

        Args:
            latent: (N, c, *latent).
            source: the latent before anything was painted; a network has no need of it.
            size: the window grid.
        """


class NetworkValidator:
    """Ask a trained network, in evaluation mode and without gradients.

    Args:
        network: latent (N, c, *latent) -> logits (N, K, *size).

    Example:
        >>> import torch
        >>> validator = NetworkValidator(torch.nn.Conv2d(4, 1, 1))
        >>> validator(torch.zeros(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), (8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    def __call__(self, latent: Tensor, source: Tensor, size: Sequence[int]) -> Tensor:
        with torch.no_grad():
            probability = self.network(latent).float().sigmoid()
        return resample(probability, size)


def of_class(probability: Tensor, channel: int) -> Tensor:
    """Return one class of probabilities (N, K, *size) as (N, 1, *size); where all classes share one channel, that."""
    return probability if probability.shape[1] == 1 else probability.narrow(1, channel, 1)


class ChangeValidator:
    """Segment by change, without weights: what differs from the source by at least half of the typical change.

    It pairs with ``TextureInpainter``; it sees paint, not disease.

    Args:
        threshold: least change of the channel mean that counts at all, in units of the [-1, 1] range.

    Example:
        >>> import torch
        >>> source = torch.zeros(1, 1, 16, 16)
        >>> painted = source.clone()
        >>> painted[..., 4:12, 4:12] = 0.5
        >>> (ChangeValidator()(painted, source, (16, 16)) > 0.5).sum().item()
        64
    """

    def __init__(self, *, threshold: float = 0.06) -> None:
        if threshold <= 0:
            raise ValueError(f"threshold must be above 0, got {threshold}")
        self.threshold = threshold

    def __call__(self, latent: Tensor, source: Tensor, size: Sequence[int]) -> Tensor:
        change = (latent - source).abs().mean(1, keepdim=True)
        for axis in range(2, change.ndim):
            edge = change.narrow(axis, 0, 1), change, change.narrow(axis, change.shape[axis] - 1, 1)
            wide, count = torch.cat(edge, axis), change.shape[axis]
            change = (wide.narrow(axis, 0, count) + 2 * change + wide.narrow(axis, 2, count)) / 4
        # Half of the typical change is where the edge is, however much the paint is blurred by resampling.
        changed = torch.where(change > self.threshold, change, torch.nan).flatten(1)
        level = (changed.nanmedian(1).values / 2).nan_to_num(1.0).clamp_min(self.threshold)
        ratio = change / level.reshape(-1, *[1] * (change.ndim - 1))
        return resample((ratio - 1).mul(4).sigmoid(), size)
