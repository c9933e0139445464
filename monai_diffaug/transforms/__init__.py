"""MONAI transforms: thin shells around a synthesizer."""

from __future__ import annotations

from monai_diffaug.transforms.diffusion import (
    RandDiffusionAbnormality,
    RandDiffusionAbnormalityD,
    RandDiffusionAbnormalityd,
    RandDiffusionAbnormalityDict,
)

__all__ = [
    "RandDiffusionAbnormality",
    "RandDiffusionAbnormalityd",
    "RandDiffusionAbnormalityD",
    "RandDiffusionAbnormalityDict",
]
