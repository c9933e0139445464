"""A small reader study and answers to it, for every test of one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.cli import main
from tests.runs import frame, generate, write_frames, write_picture

COLUMNS = ("study", "reader", "position", "code", "realism", "usefulness", "remark", "seconds", "ring", "answered")


def disc(radius: float, shape: tuple[int, int] = (120, 140)) -> np.ndarray:
    """Return a label map of 0 and 255 with one disc."""
    y, x = np.indices(shape)
    return np.where((y - 55) ** 2 + (x - 80) ** 2 <= radius**2, 255, 0).astype(np.uint8)


def write_real(folder: Path, count: int = 24) -> tuple[Path, Path]:
    """Write frames with a darker disc, of many sizes, and their labels; return both folders."""
    for number, radius in enumerate(np.geomspace(4, 40, count)):
        label = disc(float(radius))
        pixels = np.where(
            label[..., None] > 0, frame(100 + number, shape=(120, 140, 3)) - 20, frame(shape=(120, 140, 3))
        )
        write_picture(folder / "real" / f"patient_{number:02d}.png", pixels.astype(np.uint8))
        write_picture(folder / "labels" / f"patient_{number:02d}.png", label)
    return folder / "real", folder / "labels"


def write_run(folder: Path, count: int = 12) -> Path:
    """Run ``generate`` and return its folder."""
    images = write_frames(folder / "frames", *(f"normal_{number:02d}.png" for number in range(count)))
    assert generate(images, folder / "run", "--num", str(count)) in (0, 3)
    return folder / "run"


def make(folder: Path, *more: str, output: str = "study") -> int:
    """Make a study of the run and the real images in a folder; return the exit code."""
    real = ["--real", str(folder / "real"), "--labels", str(folder / "labels")]
    given = ["--synthetic", str(folder / "run"), *real, "--output", str(folder / output)]
    return main(["reader-study", "make", *given, *more])


def key_of(folder: Path, name: str = "study") -> dict[str, Any]:
    return json.loads((folder / f"{name}.key.json").read_text("utf-8"))


def write_key(path: Path, kinds: Mapping[str, str], *, repeats: Mapping[str, str] | None = None) -> Path:
    """Write a key by hand: code -> kind, and repeat's code -> first code; sizes rise in this order."""
    pictures = {
        code: {"kind": kind, "size": 0.1 + 0.01 * number, "repeats": (repeats or {}).get(code)}
        for number, (code, kind) in enumerate(kinds.items())
    }
    path.write_text(json.dumps({"study": "bcdfg", "pictures": pictures}))
    return path


def write_answers(
    path: Path,
    reader: str,
    realism: Mapping[str, Any],
    *,
    study: str = "bcdfg",
    useful: Callable[[str], Any] = lambda _: 3,
) -> Path:
    """Write a reader's file as the page does: code -> realism."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for number, (code, level) in enumerate(realism.items(), start=1):
            writer.writerow(
                (study, reader, number, code, level, useful(code), 'so, "so"', 4.5, 0, "2026-01-01T00:00:00Z")
            )
    return path
