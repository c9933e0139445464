"""Batches from a rolling pool: a part of the synthetic images is new every epoch."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from monai_diffaug.engines.pool import RollingPool
from monai_diffaug.engines.pool_schedule import PoolSchedule
from monai_diffaug.evaluation.items import Item, Shrink
from monai_diffaug.evaluation.segmenter import Budget
from monai_diffaug.evaluation.shapes import load_shaped
from monai_diffaug.synthesis import MasksByClass

ROUNDS = 3
"""Times that the whole pool is renewed during a training."""


@dataclass(frozen=True)
class SmallPool:
    """A rolling pool whose samples come at the segmenter's size.

    Args:
        pool: gives them as they are stored.
        shrink: to the segmenter's size.
    """

    pool: RollingPool
    shrink: Shrink

    def sample(self, draw: int) -> Item:
        """Return the sample that a number stands for."""
        made = self.pool.sample(draw)
        return self.shrink(made.image, made.label)


@dataclass(frozen=True)
class RollingFeed:
    """Open a pool for a training, and draw batches from it epoch by epoch.

    Args:
        bundle: folder of the bundle that paints.
        folder: of the pool.
        size: samples in it.
        seed: of all draws.
        budget: steps and batch size of the training.
        masks: outlines and sizes that are drawn; None = the bundle's own.
        batch_size: fixed batch shape of the synthesizer.
    """

    bundle: Path
    folder: Path
    size: int
    seed: int
    budget: Budget
    masks: MasksByClass | None = None
    batch_size: int = 8

    def __call__(
        self, cases: Sequence[Mapping[str, Any]], shrink: Shrink, feed: Callable[[SmallPool], Iterator[Any]]
    ) -> Iterator[Any]:
        """Yield batches without end; close the generator to stop the pool's worker.

        Args:
            cases: the cohort as it is stored.
            shrink: to the segmenter's size.
            feed: batches from a pool.
        """
        steps = max(1, len(cases) // self.budget.batch_size)
        epochs = max(1, math.ceil(self.budget.steps / steps))
        schedule = PoolSchedule(self.size, min(self.size, math.ceil(ROUNDS * self.size / epochs)))
        made = partial(load_shaped, str(self.bundle), self.batch_size, self.masks)
        stored = [{"image": case["image"], "label": case["label"][None]} for case in cases]
        with RollingPool(stored, made, schedule, self.folder, seed=self.seed) as pool:
            source = feed(SmallPool(pool, shrink))
            for step in range(self.budget.steps):
                if step % steps == 0:
                    with warnings.catch_warnings():  # a late worker costs time here and changes nothing
                        warnings.filterwarnings("ignore", message="epoch .* waited")
                        pool.set_epoch(step // steps)
                yield next(source)
