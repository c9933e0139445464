"""What a bundle keeps of its training lesions, so that a near copy of one can be refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_diffaug.engines.real_lesions import SeenLesion
from monai_diffaug.synthesis import NearCopies

FALSE_ALARMS = 0.005
"""Share of held-out real lesions that may be called copies: they are none, however alike they look."""
FAR_OUT = 3.5
"""Robust deviations from the median above which a held-out lesion is taken for one that the training data show too."""


def measure_copies(
    training: Iterable[SeenLesion], held_out: Sequence[SeenLesion], again: Iterable[SeenLesion], *, cells: int = 8
) -> dict[str, Any]:
    """Return descriptors of the training lesions and the cosine above which a lesion is a near copy.

    Public data sets show some lesions in several frames, on both sides of a split. Such cases are no yardstick: they
    are left out, and named.

    Args:
        training: lesions that the inpainter was trained on.
        held_out: lesions that it never saw; at most 0.5 % of them may be called copies.
        again: training lesions in other windows, to tell how many would be recognised.
        cells: coarse grid of a descriptor on each axis.
    """
    described = [NearCopies.describe(one.latent[None], one.mask[None], cells=cells) for one in training]
    # The threshold is taken with descriptors as they are stored, in half precision.
    descriptors = torch.cat(described).half()
    known = NearCopies(descriptors, cells=cells)
    nearest = cosines(known, held_out)
    repeats = repeated_cases(nearest, held_out)
    kept = torch.tensor([one.case not in repeats for one in held_out])
    new, recognised = nearest[kept] if kept.any() else nearest, cosines(known, again)
    allowed = new.sort(descending=True).values[math.floor(FALSE_ALARMS * len(new))]
    threshold = min(math.ceil(float(allowed) * 1e4) / 1e4, 1.0)
    return {
        "descriptors": descriptors,
        "cells": cells,
        "threshold": threshold,
        "lesions": len(descriptors),
        "held_out": len(new),
        "called": round(float((new > threshold).float().mean()), 4),
        "recognised": round(float((recognised > threshold).float().mean()), 4),
        "repeats": repeats,
    }


def repeated_cases(nearest: Tensor, held_out: Sequence[SeenLesion]) -> list[str]:
    """Return the names of held-out cases with a lesion far nearer to the training lesions than is usual.

    Never more than half of the windows can be: the scale is the median's, by Fisher's transformation of the cosine.

    Args:
        nearest: greatest cosine of each held-out lesion with a training lesion, (N,).
        held_out: those lesions.
    """
    values = nearest.clamp(-0.9999, 0.9999).atanh()
    spread = 1.4826 * (values - values.median()).abs().median()
    far = values > values.median() + FAR_OUT * spread.clamp_min(1e-3)
    return sorted({one.case for one, out in zip(held_out, far.tolist(), strict=True) if out})


def cosines(known: NearCopies, seen: Iterable[SeenLesion]) -> Tensor:
    """Return each lesion's greatest cosine with a training lesion, (N,); their grids may differ."""
    return torch.cat([known.cosines(one.latent[None], one.mask[None]) for one in seen])
