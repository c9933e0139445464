"""Networks whose first weights are drawn from a seed: equal in every process, and nobody's random state is touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from monai_diffaug.networks.composite import DiffusionAugmentationNet

Network = TypeVar("Network", bound=nn.Module)


def seeded(build: Callable[[], Network], seed: int = 0) -> Network:
    """Build a network with weights drawn from ``seed``; the global random state stays as it was.

    Args:
        build: makes the network, on the CPU; in a config a component with ``"_mode_": "callable"``.
        seed: of PyTorch's own draws.

    Example:
        >>> from functools import partial
        >>> one, other = seeded(partial(nn.Linear, 2, 2)), seeded(partial(nn.Linear, 2, 2))
        >>> torch.equal(one.weight, other.weight)
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA too, which is not forked
        return build()


def seeded_network(
    autoencoder: Callable[[], nn.Module],
    denoiser: Callable[[], nn.Module],
    text_encoder: Callable[[], nn.Module],
    validator: Callable[[], nn.Module],
    *,
    latent_channels: int,
    prompt: str = "",
    seed: int = 0,
) -> DiffusionAugmentationNet:
    """Build a bundle's network; the parts are given unbuilt, everything else as for ``DiffusionAugmentationNet``."""
    parts = (autoencoder, denoiser, text_encoder, validator)
    built = [seeded(part, seed + number) for number, part in enumerate(parts)]
    return DiffusionAugmentationNet(*built, latent_channels=latent_channels, prompt=prompt)
