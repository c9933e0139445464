"""Trying again with growing waits, and not sending faster than allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from monai_diffaug.dicom.peers import TransientError
from monai_diffaug.dicom.settings import Limits

Result = TypeVar("Result")


@dataclass(frozen=True)
class Retries:
    """Try a step a bounded number of times where the peer was lost, slow or busy.

    Args:
        attempts: tries in all.
        first_wait: seconds before the second try; each further wait is twice as long, up to 30 seconds.
        sleep: what waits.
    """

    attempts: int = 5
    first_wait: float = 0.5
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, step: Callable[[], Result]) -> Result:
        """Return the step's result, or raise its last error."""
        for tried in range(1, self.attempts):
            try:
                return step()
            except TransientError:
                self.wait(tried)
        return step()

    def wait(self, tried: int) -> None:
        """Wait after ``tried`` failed tries."""
        self.sleep(min(30.0, self.first_wait * 2 ** (tried - 1)))


@dataclass
class Pace:
    """Keep below a rate: each ``step`` waits until what was sent before is paid for.

    Args:
        objects_per_second, megabytes_per_second: highest rates; 0 is no limit.
        clock, sleep: seconds now, and what waits.
    """

    objects_per_second: float = 0.0
    megabytes_per_second: float = 0.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _free: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, limits: Limits) -> Pace:
        """Return the pace that settings ask for."""
        return cls(limits.objects_per_second, limits.megabytes_per_second)

    def step(self, size: int) -> None:
        """Wait until an object of ``size`` bytes may be sent."""
        now = self.clock()
        if self._free > now:
            self.sleep(self._free - now)
        cost = 1 / self.objects_per_second if self.objects_per_second else 0.0
        if self.megabytes_per_second:
            cost = max(cost, size / (self.megabytes_per_second * 1e6))
        self._free = max(self._free, now) + cost
