"""The gate of removal: what was painted over must look like nothing."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from monai_diffaug.synthesis.gate import NO_CHANGE, Verdict, largest_part, overlap

STILL_SEEN = "lesion still seen"
SEEN_BESIDE = "lesion seen in the rim"


class NormalGate:
    """Judge a window whose lesion was removed: accepted only if the validator then finds nothing.

    Nothing means less than a tenth of the mask, and in its painted rim no connected part of a tenth of the mask's
    size, at a probability of 0.5. That is stricter than what ``QualityGate`` asks of an untouched window (0.99): here a
    lesion was there, and paint that the validator half takes for one is no normal tissue to train on. What is seen
    farther away was there before, and is not judged.

    Args:
        covered: greatest share of the mask that may still be predicted; a connected part in the rim that is larger than
            this share of the mask, and than 4 cells along each axis, is a lesion too.
        reconstruction_error: the autoencoder's own mean error, in units of the [-1, 1] range; less change inside the
            mask than three times that is no removal.

    Example:
        >>> import torch
        >>> mask = torch.zeros(1, 16, 16)
        >>> mask[:, 4:12, 4:12] = 1
        >>> NormalGate().judge(mask, torch.zeros_like(mask), mask, change=0.5)
        Verdict(accepted=True, iou=0.0, reasons=())
    """

    iou_alone = False
    near_copies = None
    early_level = -1.0

    def __init__(self, *, covered: float = 0.1, reconstruction_error: float = 0.01) -> None:
        if not 0 <= covered < 1 or reconstruction_error < 0:
            raise ValueError(
                "covered must lie in [0, 1) and reconstruction_error be 0 or more, "
                f"got {covered} and {reconstruction_error}"
            )
        self.covered = covered
        self.min_change = 3 * reconstruction_error

    def inspect(self, mask: Tensor, pred: Tensor, known: Tensor) -> tuple[str, ...]:
        """Return no reason against painting: the lesion that is there is to be removed."""
        return ()

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
        """Judge a window; arguments as ``QualityGate.judge``, ``pred`` being what is seen outside other lesions."""
        failed = [*before]
        inside, beside = pred * mask, pred * paint * (1 - mask)
        if float(inside.sum()) > self.covered * float(mask.sum()):
            failed.append(STILL_SEEN)
        if largest_part(beside) > max(self.covered * float(mask.sum()), 4 ** mask[0].ndim):
            failed.append(SEEN_BESIDE)
        if change <= self.min_change:
            failed.append(NO_CHANGE)
        return Verdict(not failed, overlap(mask, pred), tuple(failed))

    def refuse_early(
        self, mask: Tensor, pred: Tensor, *, before: tuple[str, ...] = (), name: str = ""
    ) -> Verdict | None:
        """Return None: an unfinished sample tells little of what will not be there."""
        return None

    def thresholds(self) -> dict[str, Any]:
        """Return all that decides, for the run's report."""
        return dict(vars(self))
