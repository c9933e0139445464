"""Ctrl-C at the end of a step: what is saved then is whole, in every process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ignite.distributed as idist
import torch


@contextmanager
def waiting_interrupt(engine: Any) -> Iterator[None]:
    """Let Ctrl-C only set ``engine.stop_asked``; a second one does not wait.

    Args:
        engine: ends its step, and raises KeyboardInterrupt where ``anyone`` was asked to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return
    before = signal.getsignal(signal.SIGINT)

    def hear(number: int, frame: FrameType | None) -> None:
        if engine.stop_asked:
            raise KeyboardInterrupt
        engine.stop_asked = True

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def ignore_interrupt(worker: int) -> None:
    """Leave Ctrl-C to the main process, which still needs this worker's batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def anyone(asked: bool, device: torch.device) -> bool:
    """Whether any process was asked to stop: all must stop after the same step."""
    if idist.get_world_size() == 1:
        return asked
    flag = torch.tensor(float(asked), device=device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
    return bool(flag)
