"""MONAI transforms: thin shells around a synthesizer."""

from monai_diffaug.transforms.diffusion import (
    RandDiffusionAbnormality,
    RandDiffusionAbnormalityd,
    RandDiffusionAbnormalityD,
    RandDiffusionAbnormalityDict,
)

__all__ = [
    "RandDiffusionAbnormality",
    "RandDiffusionAbnormalityd",
    "RandDiffusionAbnormalityD",
    "RandDiffusionAbnormalityDict",
]
