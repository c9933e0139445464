"""Endless training draws, addressed by number: any step's batch can be made again, which is what true resume needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor


def rng_for(seed: int, index: int) -> np.random.Generator:
    """Return the generator of draw ``index``; equal numbers give equal draws in any worker, process or run."""
    return np.random.default_rng([seed, index])


def turn(maps: Sequence[Tensor], rng: np.random.Generator) -> list[Tensor]:
    """Flip and turn maps (C, *size) of equal sides together: tissue has no upright."""
    dims = maps[0].ndim - 1
    flips = [axis for axis in range(1, dims + 1) if rng.random() < 0.5]
    order = [0, *(1 + rng.permutation(dims)).tolist()]
    return [one.flip(flips).permute(order).contiguous() for one in maps]


class StepBatches:
    """A batch sampler that goes on from any step: the batch of a step holds the same draws in every run.

    Args:
        batch_size: draws a batch on each process.
        max_steps: step after which it ends.
        rank: number of this process.
        world: number of processes; each sees draws of its own.

    Example:
        >>> list(StepBatches(2, 2)), list(StepBatches(2, 2).starting_at(1))
        ([[0, 1], [2, 3]], [[2, 3]])
    """

    def __init__(self, batch_size: int, max_steps: int, *, rank: int = 0, world: int = 1) -> None:
        if batch_size < 1 or max_steps < 1:
            raise ValueError(f"batch_size and max_steps must be 1 or more, got {batch_size} and {max_steps}")
        self.batch_size, self.max_steps = batch_size, max_steps
        self.rank, self.world = rank, world
        self.start = 0

    def starting_at(self, step: int) -> StepBatches:
        """Begin at ``step`` the next time that batches are asked for."""
        self.start = step
        return self

    def __len__(self) -> int:
        return max(self.max_steps - self.start, 0)

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.max_steps):
            first = (step * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
