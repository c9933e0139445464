"""The pool's worker: a process of its own that makes samples ahead of the epoch, and nothing else."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from monai_diffaug.engines.pool_files import PooledSample, readable_meta, write_whole
from monai_diffaug.engines.pool_order import WorkOrder
from monai_diffaug.engines.pool_schedule import drawn
from monai_diffaug.synthesis import SynthesisRequest, SynthesisResult
from monai_diffaug.synthesis.provenance import versions

MOST_TRIES = 20
"""Refusals of one sample after which something is wrong with the cases or the gate."""
IDLE = 0.05  # seconds between looks for work
FAILURE = "failure.txt"


@dataclass
class Tally:
    """What the worker says of its work since it was started.

    Args:
        made: accepted samples.
        refused: refused tries.
        seconds: that both took.
        unusable: case index -> why nothing can be put into it.
    """

    made: int = 0
    refused: int = 0
    seconds: float = 0.0
    unusable: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Try:
    """One try at a sample: its number, how often it was refused before, and what it is tried from."""

    number: int
    attempt: int
    case: int
    request: SynthesisRequest
    meta: Mapping[str, Any]


def run(pickled: bytes, root: Path, parent: int) -> None:
    """Work until stopped; the process's target. What stops it otherwise is written to the folder."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training, which ends its worker itself
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        order: WorkOrder = pickle.loads(pickled)  # in here, so that its errors are told like all others
        if hasattr(os, "nice"):
            os.nice(5)  # where both want one core, training comes first
        if order.cores is not None:
            os.sched_setaffinity(0, order.cores)
        torch.set_num_threads(order.threads)
        PoolWorker(order).work()
    except BaseException:
        write_whole(root / FAILURE, traceback.format_exc().encode())
        raise SystemExit(1) from None


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, however that ended: pipes may be held open by the parent's others."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class PoolWorker:
    """Make the samples of an order.

    Args:
        order: what is to be made.
    """

    def __init__(self, order: WorkOrder) -> None:
        self.order, self.folder, self.schedule = order, order.folder, order.schedule
        self.folder.remove_parts()
        self.synthesizer = order.synthesizer()
        made_by = {
            "batch_size": self.synthesizer.renderer.batch_size,
            "device": self.synthesizer.renderer.device.type,
            "autocast": self.synthesizer.renderer.autocast,
            "weights": self.synthesizer.weights,
            "versions": versions(),
        }
        self.folder.agree("made_by.json", made_by, "networks or packages")
        self.tally = Tally()
        self.again = deque[tuple[int, int]]()  # number and attempt of what was refused
        self.underway = set[int]()

    def work(self) -> None:
        """Keep the folder as the schedule wants it, for ever."""
        while True:
            self._tidy()
            if self._wanted() is not None:
                self.fill()
            else:
                time.sleep(IDLE)

    def _epoch(self) -> int:
        return int(self.folder.epochs[1])

    def _tidy(self) -> None:
        self.folder.remove(self.folder.numbers() - set(self.schedule.kept(self._epoch())))

    def _wanted(self) -> int | None:
        """Return the first number that the epoch of this moment asks for and that is not at work, or None."""
        there = self.folder.numbers() | self.underway
        return next((number for number in self.schedule.ahead(self._epoch()) if number not in there), None)

    def fill(self) -> None:
        """Make what is missing, and what the next epochs ask for meanwhile: so retries find company in full batches."""
        begun: dict[int, _Try] = {}
        while self.again or self._wanted() is not None:
            start = time.perf_counter()
            try:
                for index, result in self.synthesizer.stream(self._requests(begun)):
                    self.tally.seconds, start = self.tally.seconds + time.perf_counter() - start, time.perf_counter()
                    self._finish(begun.pop(index), result)
            except (ValueError, TypeError) as error:
                if not begun:
                    raise
                self._pass_over(begun.pop(max(begun)), error)
                self.again.extend((one.number, one.attempt) for one in begun.values())
                begun.clear()

    def _requests(self, begun: dict[int, _Try]) -> Iterator[SynthesisRequest]:
        """Yield tries, those refused before first; ``begun`` holds them by their place in the stream."""
        for index in itertools.count():
            if self.again:
                number, attempt = self.again.popleft()
            elif (wanted := self._wanted()) is not None:
                number, attempt = wanted, 0
                self.underway.add(number)
            else:
                return
            begun[index] = self._try(number, attempt)
            yield begun[index].request

    def _try(self, number: int, attempt: int) -> _Try:
        index, seed = drawn(self.order.seed, number, attempt, len(self.order.cases))
        case = self.order.cases[index]
        try:
            loaded = case if self.order.load is None else self.order.load(case)
        except Exception as error:
            raise RuntimeError(f"case {index} of the pool cannot be loaded: {error}") from error
        request = SynthesisRequest(
            _array(loaded["image"]),
            seed,
            label=_array(loaded.get("label")),
            spacing=_spacing(loaded["image"]),
            regions=_array(loaded.get("regions")),
        )
        meta = readable_meta(getattr(loaded["image"], "meta", None) or {})
        return _Try(number, attempt, index, request, meta)

    def _finish(self, tried: _Try, result: SynthesisResult) -> None:
        if result.record.accepted:
            image = torch.as_tensor(result.image)
            label = torch.as_tensor(result.label).reshape(1, *image.shape[1:])
            self.folder.write(tried.number, PooledSample(image, label, result.record, tried.meta))
            self.underway.discard(tried.number)
            self.tally.made += 1
            self._tidy()
        else:
            self.tally.refused += 1
            self._refused(tried, ", ".join(result.record.attempts[-1].reasons))
        self._report()

    def _refused(self, tried: _Try, reason: str) -> None:
        if tried.attempt + 1 == MOST_TRIES:
            raise RuntimeError(
                f"{MOST_TRIES} tries at one sample were refused in a row, the last for: {reason}; "
                "see whether the cases are such as the bundle was made for"
            )
        self.again.append((tried.number, tried.attempt + 1))

    def _pass_over(self, tried: _Try, error: Exception) -> None:
        """Take a case into which nothing can be put for a refused try; any other error is raised again."""
        try:
            self.synthesizer.plan(tried.request)
        except (ValueError, TypeError) as cause:
            self.tally.unusable[tried.case] = str(cause)
            self._report()
            self._refused(tried, str(cause))
        else:
            raise error

    def _report(self) -> None:
        write_whole(self.folder.root / "status.json", json.dumps(asdict(self.tally)).encode(), durable=False)


def _array(given: Any) -> Any:
    return given.detach().as_subclass(torch.Tensor) if isinstance(given, torch.Tensor) else given


def _spacing(image: Any) -> tuple[float, ...] | None:
    if not hasattr(image, "affine"):
        return None
    from monai_diffaug.metatensors import image_spacing  # MONAI takes seconds to import: only where it is there already

    return image_spacing(image)
