"""The cells of the experiment's grid, their order of worth, and the files that hold what came of them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_diffaug.evaluation.arms import Arm
from monai_diffaug.generation.files import atomic_write


@dataclass(frozen=True)
class Cell:
    """One training: an arm, a number of real images, a seed.

    Args:
        arm: what is trained on.
        num: real images in the cohort.
        seed: of the cohort, the synthetic images, the network and the training.
        ratio: synthetic images for each real one; None = the arm's own.
    """

    arm: Arm
    num: int
    seed: int
    ratio: float | None = None

    @property
    def key(self) -> str:
        """Name of the cell's files."""
        ratio = "" if self.ratio is None else f"_x{self.ratio:g}"
        return f"n{self.num}_{self.arm.name}{ratio}_s{self.seed}"

    @property
    def told(self) -> Arm:
        """The arm at the cell's ratio."""
        return self.arm if self.ratio is None else self.arm.at(self.ratio)


def ranked(
    arms: Sequence[Arm], nums: Sequence[int], seeds: int, ratios: Sequence[float | None] = (None,)
) -> list[Cell]:
    """Return all cells, the worthiest first: all arms once, then again with the next seed.

    Within a seed the numbers of images come in the order given, and so do the arms. Whoever stops early has whole rows.
    Arms without synthetic images have no ratio, and come once.
    """
    cells = [
        Cell(arm, num, seed, ratio if arm.synthetic else None)
        for seed in range(seeds)
        for num in nums
        for arm in arms
        for ratio in ratios
    ]
    return list(dict.fromkeys(cells))


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a lock beside ``path`` so that several processes share the work; yield whether it was free.

    The system lets go of it when the process ends, however that happens.

    Args:
        path: what is to be made; the lock is ``.NAME.lock`` beside it.
        wait: wait until it is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / f".{path.name}.lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n")


def read_cells(output: Path) -> list[dict[str, Any]]:
    """Return what is known of every finished cell of an experiment's folder, sorted by key."""
    return [json.loads(path.read_text("utf-8")) for path in sorted((output / "cells").glob("*.json"))]
