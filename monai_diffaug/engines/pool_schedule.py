"""Which samples make up the pool in which epoch, and what each is tried from: numbers alone, whatever the timing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PoolSchedule:
    """Samples are numbered 0, 1, 2 ...; the pool of an epoch is a window of numbers that moves on every epoch.

    Args:
        size: samples in the pool, at most, from 1.
        refresh: samples replaced every epoch, 0 to ``size``.
        first: samples in the pool of epoch 0, 1 to ``size``; None = ``size``. A small one lets training start soon: the
            pool then grows by ``refresh`` every epoch.
        lead: epochs that the worker works ahead, from 1.

    Example:
        >>> schedule = PoolSchedule(size=4, refresh=2)
        >>> list(schedule.pool(0)), list(schedule.pool(1)), list(schedule.ahead(0))
        ([0, 1, 2, 3], [2, 3, 4, 5], [0, 1, 2, 3, 4, 5])
        >>> list(PoolSchedule(size=4, refresh=2, first=1).pool(1))
        [0, 1, 2]
    """

    size: int
    refresh: int
    first: int | None = None
    lead: int = 1

    def __post_init__(self) -> None:
        first = self.size if self.first is None else self.first
        if self.size < 1 or not 0 <= self.refresh <= self.size or not 1 <= first <= self.size or self.lead < 1:
            raise ValueError(
                f"size must be 1 or more, refresh 0 to size, first 1 to size and lead 1 or more; got size={self.size}, "
                f"refresh={self.refresh}, first={self.first}, lead={self.lead}"
            )

    @classmethod
    def by_share(cls, size: int, share: float, *, first: int | None = None, lead: int = 1) -> PoolSchedule:
        """Return a schedule that replaces a share (0 to 1) of the pool every epoch.

        Example:
            >>> PoolSchedule.by_share(64, 0.25).refresh
            16
        """
        return cls(size, round(size * share), first, lead)

    def pool(self, epoch: int) -> range:
        """Return the numbers of the samples in the pool of ``epoch`` (from 0)."""
        end = (self.size if self.first is None else self.first) + epoch * self.refresh
        return range(max(0, end - self.size), end)

    def ahead(self, epoch: int) -> range:
        """Return the numbers that shall be there by the end of ``epoch``: its own, and those of the lead."""
        return range(self.pool(epoch).start, self.pool(epoch + self.lead).stop)

    def kept(self, epoch: int) -> range:
        """Return the numbers that may lie in the folder: one epoch back, for readers that are not finished with it."""
        return range(self.pool(max(0, epoch - 1)).start, self.pool(epoch + self.lead).stop)


def drawn(seed: int, number: int, attempt: int, cases: int) -> tuple[int, int]:
    """Return which case a sample is tried from, and the seed of its synthesis.

    First tries pass through all cases evenly, in a new order each time; a refused one goes on with any other case.

    Args:
        seed: of the pool.
        number: of the sample.
        attempt: how often it was refused before.
        cases: how many there are.
    """
    rng = np.random.default_rng([seed, number, attempt])
    if attempt:
        case = int(rng.integers(cases))
    else:
        turn, place = divmod(number, cases)
        case = int(np.random.default_rng([seed, turn]).permutation(cases)[place])
    return case, int(rng.integers(2**31 - 1))
