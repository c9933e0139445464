"""Put validated synthetic abnormalities into normal medical images, as MONAI transforms and bundles.

Names are resolved on first use, so that nobody pays for MONAI before it is needed. For research and training only,
not for diagnosis.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_diffaug.bundle import load_synthesizer
    from monai_diffaug.engines.pool import RollingPool
    from monai_diffaug.engines.pool_schedule import PoolSchedule
    from monai_diffaug.engines.prepare_batch import DiffusionAbnormalityPrepareBatch
    from monai_diffaug.synthesis import AbnormalitySynthesizer, SynthesisRecord, SynthesisRequest, SynthesisResult
    from monai_diffaug.transforms import (
        FixedPool,
        LesionDonors,
        RandCarveMix,
        RandCarveMixD,
        RandCarveMixd,
        RandCarveMixDict,
        RandDiffusionAbnormality,
        RandDiffusionAbnormalityD,
        RandDiffusionAbnormalityd,
        RandDiffusionAbnormalityDict,
        RandLesionCopyPaste,
        RandLesionCopyPasteD,
        RandLesionCopyPasted,
        RandLesionCopyPasteDict,
        RandPooledAbnormalityD,
        RandPooledAbnormalityd,
        RandPooledAbnormalityDict,
    )

__version__ = "0.1.0"

__all__ = [
    "load_synthesizer",
    "AbnormalitySynthesizer",
    "SynthesisRequest",
    "SynthesisResult",
    "SynthesisRecord",
    "RandDiffusionAbnormality",
    "RandDiffusionAbnormalityd",
    "RandDiffusionAbnormalityD",
    "RandDiffusionAbnormalityDict",
    "DiffusionAbnormalityPrepareBatch",
    "RollingPool",
    "PoolSchedule",
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

_HOMES = {
    "load_synthesizer": "monai_diffaug.bundle",
    "AbnormalitySynthesizer": "monai_diffaug.synthesis",
    "SynthesisRequest": "monai_diffaug.synthesis",
    "SynthesisResult": "monai_diffaug.synthesis",
    "SynthesisRecord": "monai_diffaug.synthesis",
    "RandDiffusionAbnormality": "monai_diffaug.transforms",
    "RandDiffusionAbnormalityd": "monai_diffaug.transforms",
    "RandDiffusionAbnormalityD": "monai_diffaug.transforms",
    "RandDiffusionAbnormalityDict": "monai_diffaug.transforms",
    "DiffusionAbnormalityPrepareBatch": "monai_diffaug.engines.prepare_batch",
    "RollingPool": "monai_diffaug.engines.pool",
    "PoolSchedule": "monai_diffaug.engines.pool_schedule",
    "FixedPool": "monai_diffaug.transforms",
    "RandPooledAbnormalityd": "monai_diffaug.transforms",
    "RandPooledAbnormalityD": "monai_diffaug.transforms",
    "RandPooledAbnormalityDict": "monai_diffaug.transforms",
    "LesionDonors": "monai_diffaug.transforms",
    "RandLesionCopyPaste": "monai_diffaug.transforms",
    "RandLesionCopyPasted": "monai_diffaug.transforms",
    "RandLesionCopyPasteD": "monai_diffaug.transforms",
    "RandLesionCopyPasteDict": "monai_diffaug.transforms",
    "RandCarveMix": "monai_diffaug.transforms",
    "RandCarveMixd": "monai_diffaug.transforms",
    "RandCarveMixD": "monai_diffaug.transforms",
    "RandCarveMixDict": "monai_diffaug.transforms",
}


if not TYPE_CHECKING:  # else any misspelt name would type-check

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(_HOMES[name]), name)
        raise AttributeError(f"module 'monai_diffaug' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
