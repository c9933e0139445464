"""MONAI transforms: thin shells around a synthesizer or a pool of what one made, and the rivals in the same form."""

from __future__ import annotations

from monai_diffaug.transforms.carve_mix import RandCarveMix, RandCarveMixD, RandCarveMixd, RandCarveMixDict
from monai_diffaug.transforms.copy_paste import (
    RandLesionCopyPaste,
    RandLesionCopyPasteD,
    RandLesionCopyPasted,
    RandLesionCopyPasteDict,
)
from monai_diffaug.transforms.diffusion import (
    RandDiffusionAbnormality,
    RandDiffusionAbnormalityD,
    RandDiffusionAbnormalityd,
    RandDiffusionAbnormalityDict,
)
from monai_diffaug.transforms.donors import LesionDonors
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
    "LesionDonors",
    "RandLesionCopyPaste",
    "RandLesionCopyPasted",
    "RandLesionCopyPasteD",
    "RandLesionCopyPasteDict",
    "RandCarveMix",
    "RandCarveMixd",
    "RandCarveMixD",
    "RandCarveMixDict",
]
