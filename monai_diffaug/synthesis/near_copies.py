"""Refuse samples that repeat a training window."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from monai_diffaug.synthesis.resample import resample


class NearCopies:
    """Compare latents with descriptors of the training windows.

    A descriptor is the latent reduced to a coarse grid, centred and normalised, so that two of them compare by their
    cosine.

    Args:
        descriptors: of the training windows, (M, D), each of unit length.
        threshold: a cosine above this is a near copy.
        cells: grid of the descriptor on each axis.

    Example:
        >>> import torch
        >>> latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> copies = NearCopies(NearCopies.describe(latents[:2]))
        >>> copies(latents).tolist()
        [True, True, False]
    """

    def __init__(self, descriptors: Tensor, *, threshold: float = 0.95, cells: int = 8) -> None:
        if descriptors.ndim != 2 or len(descriptors) == 0:
            raise ValueError(f"descriptors must be (M, D) with M above 0, got shape {tuple(descriptors.shape)}")
        if not -1 <= threshold <= 1 or cells < 1:
            raise ValueError(f"threshold must lie in [-1, 1] and cells be 1 or more, got {threshold} and {cells}")
        self.descriptors = descriptors
        self.threshold = threshold
        self.cells = cells

    @staticmethod
    def describe(latent: Tensor, cells: int = 8) -> Tensor:
        """Return descriptors (N, D) of latents (N, c, *latent)."""
        grid: Sequence[int] = [cells] * (latent.ndim - 2)
        coarse = resample(latent.float(), grid).flatten(1)
        return torch.nn.functional.normalize(coarse - coarse.mean(1, keepdim=True), dim=1)

    def __call__(self, latent: Tensor) -> Tensor:
        """Return bool (N,) for latents (N, c, *latent): True where a training window is repeated."""
        described = self.describe(latent, self.cells)
        return (described @ self.descriptors.to(described).T).amax(1) > self.threshold
