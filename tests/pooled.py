"""Pools of toy samples: what a worker's process needs must be importable there."""

from __future__ import annotations

import functools
import os
import signal
import time
from pathlib import Path
from typing import Any

from monai_diffaug.engines.pool import RollingPool
from monai_diffaug.engines.pool_files import PoolFolder
from monai_diffaug.engines.pool_order import WorkOrder
from monai_diffaug.engines.pool_schedule import PoolSchedule
from monai_diffaug.engines.pool_worker import PoolWorker
from monai_diffaug.synthesis import AbnormalitySynthesizer, QualityGate
from tests.toys import toy_image, toy_synthesizer


def cases(spatial_dims: int, count: int = 3) -> list[dict[str, Any]]:
    return [{"image": toy_image(spatial_dims, seed=k)} for k in range(count)]


def factory(spatial_dims: int) -> functools.partial:
    return functools.partial(toy_synthesizer, spatial_dims, batch_size=2)


def choosy(spatial_dims: int, iou: float) -> AbnormalitySynthesizer:
    """Return a synthesizer whose gate refuses some samples, or all."""
    return toy_synthesizer(spatial_dims, gate=QualityGate(iou=iou), batch_size=2)


def slow(spatial_dims: int, seconds: float) -> AbnormalitySynthesizer:
    """Return a synthesizer of equal samples that takes its time."""
    synthesizer = toy_synthesizer(spatial_dims, batch_size=2)
    decode = synthesizer.renderer.inpainter.decode

    def decode_slowly(latents):
        time.sleep(seconds)
        return decode(latents)

    synthesizer.renderer.inpainter.decode = decode_slowly
    return synthesizer


def broken() -> AbnormalitySynthesizer:
    raise FileNotFoundError("weights are missing")


def killed() -> AbnormalitySynthesizer:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def pool(folder: Path, schedule: PoolSchedule, synthesizer: Any = None, *, seed: int = 1) -> RollingPool:
    return RollingPool(cases(2), synthesizer or factory(2), schedule, folder, seed=seed)


def fill(folder: Path, schedule: PoolSchedule, epoch: int, **changes: Any) -> PoolWorker:
    """Do the worker's work for an epoch in this process."""
    place = PoolFolder(folder)
    given = {"cases": cases(2), "synthesizer": factory(2), "seed": 1, **changes}
    order = WorkOrder(place, schedule, given["cases"], None, given["synthesizer"], given["seed"], 1, None)
    place.claim(order.about())
    place.epochs[:] = epoch
    worker = PoolWorker(order)
    worker.fill()
    return worker


def contents(folder: Path, numbers: range) -> list[bytes]:
    return [(folder / f"{number:08d}.pt").read_bytes() for number in numbers]
