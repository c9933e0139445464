"""What MONAI's MetaTensors tell a synthesizer, and what a synthesis tells in their metadata."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor

from monai_diffaug.synthesis import SynthesisRecord

META_KEY = "diffaug"


def image_spacing(image: Any) -> tuple[float, ...] | None:
    """Return the spacing (mm) that a MetaTensor's affine tells, None for other arrays or an identity affine.

    The same formula as for files: column lengths of the affine, rounded to 1e-6.
    """
    if not isinstance(image, MetaTensor):
        return None
    dims = image.ndim - 1
    affine = image.affine.numpy(force=True).astype(np.float64)[:-1, :dims]
    if np.array_equal(affine, np.eye(len(affine))[:, :dims]):
        return None
    return tuple(float(length) for length in np.round(np.sqrt((affine**2).sum(0)), 6))


def entries_of(record: SynthesisRecord | None) -> dict[str, Any]:
    """Return the six entries, of equal types whether applied or not, so that collating keeps them."""
    if record is None:
        return {"applied": False, "accepted": False, "iou": 0.0, "attempts": 0, "seed": -1, "prompt": ""}
    return {
        "applied": True,
        "accepted": record.accepted,
        "iou": record.iou,
        "attempts": len(record.attempts),
        "seed": record.seed,
        "prompt": record.prompt,
    }


def plain(data: Any) -> Any:
    """Return a plain tensor: a MetaTensor's dispatch would slow every operation."""
    return data.as_tensor() if isinstance(data, MetaTensor) else data


def rewrap(data: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return ``data`` with the metadata and applied operations of ``like``."""
    if not isinstance(like, MetaTensor):
        return data
    wrapped = MetaTensor(data)
    wrapped.copy_meta_from(like)
    return wrapped


def described(image: torch.Tensor, meta: dict[str, Any], *, key: str = META_KEY) -> torch.Tensor:
    """Return the image with the record in its metadata; a plain tensor has none to write to."""
    if not isinstance(image, MetaTensor):
        return image
    copy = MetaTensor(image.as_tensor())
    copy.copy_meta_from(image)
    copy.meta[key] = meta
    return copy
