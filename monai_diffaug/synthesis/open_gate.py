"""A gate that lets everything through and writes down what another one would have said: for experiments alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from monai_diffaug.synthesis.gate import QualityGate, Verdict


class OpenGate:
    """Accept every painted window; verdicts keep the overlap and the reasons of the gate that was opened.

    What a gate is worth shows only against samples that it never saw. No door uses this one: an experiment asks for it,
    and ``thresholds`` (so ``run.json``) says so.

    Args:
        gate: whose verdicts are recorded.

    Example:
        >>> import torch
        >>> mask = torch.zeros(1, 16, 16)
        >>> mask[:, 4:12, 4:12] = 1
        >>> OpenGate(QualityGate()).judge(mask, torch.zeros_like(mask), mask, change=0.5)
        Verdict(accepted=True, iou=0.0, reasons=('overlap too low',))
    """

    iou_alone = True  # windows in which a lesion is seen are painted too
    early_level = -1.0

    def __init__(self, gate: QualityGate) -> None:
        self.gate = gate
        self.near_copies = gate.near_copies
        self.min_change = gate.min_change

    def inspect(self, mask: Tensor, pred: Tensor, known: Tensor) -> tuple[str, ...]:
        """Return what the opened gate has against painting; arguments as ``QualityGate.inspect``."""
        return self.gate.inspect(mask, pred, known)

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
        """Return the opened gate's verdict, accepted; arguments as ``QualityGate.judge``."""
        return replace(self.gate.judge(mask, pred, paint, change=change, before=before, name=name), accepted=True)

    def refuse_early(
        self, mask: Tensor, pred: Tensor, *, before: tuple[str, ...] = (), name: str = ""
    ) -> Verdict | None:
        """Return None: nothing is refused."""
        return None

    def thresholds(self) -> dict[str, Any]:
        """Return that everything is accepted, and what would have decided."""
        return {"accepts_all": True, **self.gate.thresholds()}
