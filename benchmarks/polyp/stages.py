"""Where the time of a run goes: every stage's own seconds, without what it calls of other stages."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.generation import manifest, offline
from monai_diffaug.generation.writer import SampleWriter
from monai_diffaug.synthesis import NearCopies, Planner, QualityGate, Renderer
from monai_diffaug.synthesis.sites import Site

Stage = tuple[str, Any, str]
"""The stage's name, the class or module that owns a callable, and the callable's name."""


def least_seconds(work: Callable[[], Any], device: torch.device, *, repeats: int) -> float:
    """Return the least seconds of some calls after a first one: what else the machine does only adds."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


class Stopwatch:
    """Add up the seconds spent in each stage; a stage inside another stops the other's watch.

    Example:
        >>> watch = Stopwatch()
        >>> inner = watch.timed("inner", lambda: 1)
        >>> watch.timed("outer", lambda: inner() + 1)(), sorted(watch.seconds)
        (2, ['inner', 'outer'])
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time taken."""

        def work(*args: Any, **kwargs: Any) -> Any:
            self._stop()
            self._open.append(name)
            try:
                return function(*args, **kwargs)
            finally:
                self._stop()
                self._open.pop()

        return work

    def _stop(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextmanager
    def watching(self, stages: Sequence[Stage]) -> Iterator[None]:
        """Take the time of these callables; they are put back as they were at the end."""
        before = [(owner, name, owner.__dict__[name]) for _, owner, name in stages]
        try:
            for (stage, owner, name), (_, _, function) in zip(stages, before, strict=True):
                setattr(owner, name, self.timed(stage, function))
            yield
        finally:
            for owner, name, function in before:
                setattr(owner, name, function)


class StageWatch(Stopwatch):
    """A stopwatch that tells apart what is encoded before painting and what is encoded of delivered pixels."""

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its time taken."""
        work = super().timed(name, function)
        if name != "encode":
            return work
        again = super().timed("re-encode", function)
        return lambda *args, **kwargs: (again if "deliver" in self._open else work)(*args, **kwargs)


def stages_of(synthesizer: AbnormalitySynthesizer) -> list[Stage]:
    """Return the stages of a run with this synthesizer."""
    inpainter, validator = type(synthesizer.renderer.inpainter), type(synthesizer.renderer.validator)
    return [
        ("plan", Planner, "__call__"),
        ("window", Site, "__post_init__"),
        ("encode", inpainter, "encode"),
        ("inpaint", inpainter, "inpaint"),
        ("validate", validator, "__call__"),
        ("gate", QualityGate, "inspect"),
        ("gate", QualityGate, "judge"),
        ("gate", QualityGate, "refuse_early"),
        ("decode", inpainter, "decode"),
        ("deliver", Renderer, "_judge_delivered"),
        ("near copies", NearCopies, "__call__"),
        ("blend", Site, "deliver"),
        ("blend", Site, "delivered_view"),
        ("files", offline, "load_case"),
        ("files", SampleWriter, "write"),
        ("files", manifest, "append"),
        ("once", offline, "check_cases"),
        ("once", offline, "write_gallery"),
    ]
