"""Several processes, one run: who makes which samples, and waiting for each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch.distributed as dist

LONGEST_WAIT = timedelta(
    days=7
)  # gloo's own half hour is less than a rank's share, or its look at all inputs, may take


@dataclass(frozen=True)
class Shard:
    """This process among those that ``torchrun`` started."""

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process has come this far.

        Raises:
            ConnectionError: when another one has stopped.
        """
        if self.world_size == 1:
            return
        try:
            dist.barrier()
        except RuntimeError as error:
            raise ConnectionError("another process of this run has stopped, for the reason that it printed") from error


@contextmanager
def joined() -> Iterator[Shard]:
    """Join the processes that ``torchrun`` started (gloo: only waiting is shared); alone without it."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Shard()
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("gloo", timeout=LONGEST_WAIT)
    try:
        yield Shard(dist.get_rank(), dist.get_world_size())
    finally:
        if ours:
            dist.destroy_process_group()
