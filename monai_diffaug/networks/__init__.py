"""Trainable networks, the only place where the number of spatial dimensions is a decision.

- ``DistillableUNet``: the denoiser, plain or distilled.
- ``LatentSegmentationNet``: the validator's network, latent in, mask logits on the window grid out.
- ``WordTextEncoder``: prompts and window scale in, cross-attention context out.

Names are resolved on first use, so that importing the package loads neither MONAI nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_diffaug.networks.denoiser import DistillableUNet
    from monai_diffaug.networks.text import WordTextEncoder
    from monai_diffaug.networks.validator_net import LatentSegmentationNet

__all__ = ["DistillableUNet", "LatentSegmentationNet", "WordTextEncoder"]

_HOMES = {"DistillableUNet": "denoiser", "LatentSegmentationNet": "validator_net", "WordTextEncoder": "text"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
