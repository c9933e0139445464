"""How all arms train: Dice and cross-entropy, a fixed number of steps."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


@dataclass(frozen=True)
class Budget:
    """What every arm gets.

    Args:
        steps: of the optimiser.
        batch_size: images of each.
        size: cells of each side of the segmenter's grid; a multiple of 16.
        rate: AdamW's greatest learning rate; it rises over the first twentieth and falls to 0 as a cosine.
        device: where the segmenter runs.
    """

    steps: int = 2000
    batch_size: int = 8
    size: int = 160
    rate: float = 1e-3
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2 or self.size < 32 or self.size % 16 or not self.rate > 0:
            raise ValueError(
                "steps must be 1 or more, batch_size 2 or more, size a multiple of 16 from 32, rate above 0; got "
                f"{self.steps}, {self.batch_size}, {self.size}, {self.rate}"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Return Dice loss plus binary cross-entropy; both tensors (N, 1, *spatial)."""
    return DiceLoss(sigmoid=True, batch=True)(logits, mask) + binary_cross_entropy_with_logits(logits, mask)


def train(network: nn.Module, feed: Iterator[tuple[Tensor, Tensor]], budget: Budget) -> dict[str, float]:
    """Train in bfloat16 and return what there is to tell: seconds, last losses.

    Args:
        network: images to logits; changed in place, left in evaluation mode.
        feed: batches, without end.
        budget: steps and rate.
    """
    device = torch.device(budget.device)
    network.to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), budget.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, steps=budget.steps))
    losses, start = [], time.perf_counter()
    for _ in range(budget.steps):
        images, masks = (one.to(device) for one in next(feed))
        with torch.autocast(device.type, torch.bfloat16):
            logits = network(images)
        loss = segmentation_loss(logits.float(), masks)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    network.eval()
    last = losses[-max(1, len(losses) // 20) :]
    return {"seconds": round(time.perf_counter() - start, 1), "loss": round(sum(last) / len(last), 4)}


def _rate(step: int, *, steps: int) -> float:
    """Return the learning rate at a step as a share of the greatest: a short rise, then half a cosine."""
    return min((step + 1) / max(1, steps // 20), 0.5 + 0.5 * math.cos(math.pi * step / steps))


@torch.no_grad()
def predict(network: nn.Module, image: Tensor, budget: Budget) -> Tensor:
    """Return the probability of a lesion, (*spatial), of one image (C, *spatial) in [0, 1] that fits the grid."""
    device, spatial = torch.device(budget.device), image.shape[1:]
    missing = [budget.size - n for n in spatial]
    before = [n // 2 for n in missing]
    pads = [n for first, all_ in zip(reversed(before), reversed(missing), strict=True) for n in (first, all_ - first)]
    padded = nn.functional.pad(image[None], pads).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        logits = network(padded)
    inside = tuple(slice(first, first + n) for first, n in zip(before, spatial, strict=True))
    return logits.float().sigmoid().cpu()[(0, 0, *inside)]
