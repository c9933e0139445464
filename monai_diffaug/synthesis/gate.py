"""The quality gate: intended and predicted mask in, verdict with reasons out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from monai_diffaug.synthesis.calibration import Calibration
from monai_diffaug.synthesis.near_copies import NearCopies

PAPER = 0.7
"""DiffAug's threshold."""
SURE = 0.99
"""Probability from which on a cell of an untouched window is taken for a lesion.

What was just painted is probably there; what nobody labelled is probably not, and needs more evidence. How many real
lesions are still seen at this level, and how many false alarms are left, is told by `benchmarks/polyp/validator.py`.
"""
LOW_IOU = "overlap too low"
OFF_CENTRE = "off centre"
SPILL = "spills outside the paint mask"
NO_CHANGE = "too little change"
LESION_BEFORE = "lesion seen before painting"
NEAR_COPY = "near copy of a training lesion"


@dataclass(frozen=True)
class Verdict:
    """The gate's answer for one attempt.

    Args:
        accepted: whether the sample may be used.
        iou: intersection over union of the intended and the predicted mask, in [0, 1].
        reasons: every check that failed, also those that did not decide.
    """

    accepted: bool
    iou: float
    reasons: tuple[str, ...] = ()


class QualityGate:
    """Judge one window by its masks (DiffAug's threshold is IoU > 0.7).

    Args:
        iou: the overlap must be above this; or thresholds by class and size, and 0.7 where these hold none.
        offset: greatest shift of the centroid over the diameter; never below one cell.
        spill: greatest share of the prediction outside the paint mask.
        before: greatest share of the mask that may be predicted before anything is painted; a connected part as large
            as that, anywhere in the window, is a lesion too.
        reconstruction_error: the autoencoder's own mean error, in units of the [-1, 1] range; less change inside the
            mask than three times that is no paint.
        early_level: noise level from which on hopeless samples are refused during sampling; below 0 none is.
        iou_alone: only the overlap decides, without a calibration, as in the paper; the other checks are recorded.
        near_copies: descriptors of the training lesions, where a bundle has them.

    Example:
        >>> import torch
        >>> mask = torch.zeros(1, 16, 16)
        >>> mask[:, 4:12, 4:12] = 1
        >>> QualityGate().judge(mask, mask, mask, change=0.5)
        Verdict(accepted=True, iou=1.0, reasons=())
    """

    def __init__(
        self,
        *,
        iou: float | Calibration = PAPER,
        offset: float = 0.1,
        spill: float = 0.05,
        before: float = 0.1,
        reconstruction_error: float = 0.01,
        early_level: float = 0.5,
        iou_alone: bool = False,
        near_copies: NearCopies | None = None,
    ) -> None:
        self.calibration = iou if isinstance(iou, Calibration) and iou.thresholds else None
        iou = PAPER if isinstance(iou, Calibration) else iou
        if not 0 <= iou <= 1:
            raise ValueError(f"iou must lie in [0, 1], got {iou}")
        if min(offset, spill, before, reconstruction_error) < 0:
            raise ValueError(
                "offset, spill, before and reconstruction_error must be 0 or more; "
                f"got {offset}, {spill}, {before}, {reconstruction_error}"
            )
        self.iou = iou
        self.offset = offset
        self.spill = spill
        self.before = before
        self.min_change = 3 * reconstruction_error
        self.early_level = early_level
        self.iou_alone = iou_alone
        self.near_copies = near_copies

    def needed(self, mask: Tensor, name: str = "") -> float:
        """Return what the overlap must be above, for a mask (1, *size) of the class ``name``."""
        if self.calibration is None or self.iou_alone or not mask.any():
            return self.iou
        calibrated = self.calibration(name, diameter(mask))
        return self.iou if calibrated is None else calibrated

    def inspect(self, mask: Tensor, pred: Tensor, known: Tensor) -> tuple[str, ...]:
        """Return the reasons against painting into a window, before anything is painted.

        Args:
            mask: the intended abnormality, 0 or 1, (1, *size).
            pred: what the validator is ``SURE`` of in the untouched window, 0 or 1, (1, *size).
            known: labelled lesions, 0 or 1, (1, *size).
        """
        found = pred * (1 - known)
        covered = float((found * mask).sum() / mask.sum().clamp_min(1))
        seen = covered >= self.before or largest_part(found) >= max(self.before * float(mask.sum()), 4 ** found[0].ndim)
        return (LESION_BEFORE,) if seen else ()

    def judge(
        self,
        mask: Tensor,
        pred: Tensor,
        paint: Tensor,
        *,
        change: float,
        before: tuple[str, ...] = (),
        name: str = "",
    ) -> Verdict:
        """Judge a painted window.

        Args:
            mask: the intended abnormality, 0 or 1, (1, *size).
            pred: prediction outside known lesions, 0 or 1, (1, *size).
            paint: where pixels may change, 0 or 1, (1, *size).
            change: mean absolute change inside the mask, in units of the [-1, 1] range.
            before: reasons found before painting.
            name: class of the abnormality, for the calibration.
        """
        iou = overlap(mask, pred)
        failed = [*before]
        if not iou > self.needed(mask, name):
            failed.append(LOW_IOU)
        if float(pred.sum()) > 0:
            if _centroid_distance(mask, pred) > max(1.0, self.offset * diameter(mask)):
                failed.append(OFF_CENTRE)
            if float((pred * (1 - paint)).sum() / pred.sum()) >= self.spill:
                failed.append(SPILL)
        if change <= self.min_change:
            failed.append(NO_CHANGE)
        accepted = LOW_IOU not in failed if self.iou_alone else not failed
        return Verdict(accepted, iou, tuple(failed))

    def refuse_early(
        self, mask: Tensor, pred: Tensor, *, before: tuple[str, ...] = (), name: str = ""
    ) -> Verdict | None:
        """Return a refusal when an unfinished sample's overlap is under half of what is needed, else None."""
        iou = overlap(mask, pred)
        return Verdict(False, iou, (*before, LOW_IOU)) if iou < 0.5 * self.needed(mask, name) else None

    def thresholds(self) -> dict[str, Any]:
        """Return all that decides, for the run's report; ``near_copy`` is False where nothing is compared."""
        numbers = {name: value for name, value in vars(self).items() if name not in ("near_copies", "calibration")}
        near_copy = False if self.near_copies is None else self.near_copies.threshold
        calibrated = {} if self.calibration is None else {"calibration": self.calibration.to_json()}
        return {**numbers, "near_copy": near_copy, **calibrated}


def overlap(mask: Tensor, pred: Tensor) -> float:
    """Return intersection over union; 0 when both are empty, since an empty paint is never right."""
    union = float(((mask + pred) > 0).sum())
    return float((mask * pred).sum()) / union if union else 0.0


def diameter(mask: Tensor) -> float:
    """Return the longest side of the bounding box of a mask (1, *size), not empty, in cells."""
    points = torch.nonzero(mask[0])
    return float((points.amax(0) - points.amin(0) + 1).max())


def outside_known(pred: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    """Return a prediction without the known lesions, and without what hangs on to one of them.

    A network's outline of a known lesion is never quite the label's: its rim is no lesion of its own, unless it reaches
    the intended mask.

    Args:
        pred: 0 or 1, (1, *size).
        known: labelled lesions, 0 or 1, (1, *size).
        mask: the intended abnormality, 0 or 1, (1, *size).
    """
    rest = pred * (1 - known)
    if not known.any() or not rest.any():
        return rest
    components, count = ndimage.label(rest[0].numpy())
    near = ndimage.binary_dilation(known[0].numpy() > 0, iterations=2)
    hangs, wanted = (np.bincount(components[where], minlength=count + 1) > 0 for where in (near, mask[0].numpy() > 0))
    rim = torch.from_numpy((hangs & ~wanted)[components] & (components > 0))
    return torch.where(rim, 0.0, rest[0])[None]


def largest_part(found: Tensor) -> int:
    """Return the measure of the largest connected part of a prediction, in cells."""
    components, _ = ndimage.label(found[0].numpy())
    return int(np.bincount(components.ravel())[1:].max(initial=0))


def _centroid(mask: Tensor) -> Tensor:
    return torch.nonzero(mask[0]).float().mean(0)


def _centroid_distance(mask: Tensor, pred: Tensor) -> float:
    return float((_centroid(mask) - _centroid(pred)).norm())
