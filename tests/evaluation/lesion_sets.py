"""A small labelled data set that the texture bundle takes: noisy frames with a brighter disc each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.runs import frame, write_picture

SHAPE = (96, 112)


def disc(row: float, column: float, radius: float) -> np.ndarray:
    """Return a bool mask of ``SHAPE``."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def write_set(folder: Path, count: int, *, patients: int = 3, first: int = 0) -> Path:
    """Write ``images`` and ``masks`` of frames named ``pP_N.png``; lesions are small discs at drawn places."""
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        mask = disc(rng.uniform(20, 76), rng.uniform(20, 92), rng.uniform(6, 12))
        pixels = frame(number) + (30 * mask[..., None]).astype(np.uint8)
        name = f"p{number % patients}_{number:02d}.png"
        write_picture(folder / "images" / name, pixels)
        write_picture(folder / "masks" / name, (255 * mask).astype(np.uint8))
    return folder
