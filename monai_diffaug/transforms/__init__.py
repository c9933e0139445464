"""MONAI transforms: thin shells around a synthesizer, or around a pool of what one made."""

from __future__ import annotations

from monai_diffaug.transforms.diffusion import (
    RandDiffusionAbnormality,
    RandDiffusionAbnormalityD,
    RandDiffusionAbnormalityd,
    RandDiffusionAbnormalityDict,
)
from monai_diffaug.transforms.pooled import (
    FixedPool,
    RandPooledAbnormalityD,
    RandPooledAbnormalityd,
    RandPooledAbnormalityDict,
)

__all__ = [
    "RandDiffusionAbnormality",
    "RandDiffusionAbnormalityd",
    "RandDiffusionAbnormalityD",
    "RandDiffusionAbnormalityDict",
    "FixedPool",
    "RandPooledAbnormalityd",
    "RandPooledAbnormalityD",
    "RandPooledAbnormalityDict",
]
