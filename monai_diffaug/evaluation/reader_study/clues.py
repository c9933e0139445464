"""What tells the kind without a look at the lesion: simple measures of the background, compared between the kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_diffaug.evaluation.reader_study.agreement import auc
from monai_diffaug.evaluation.reader_study.framing import UNITS, Cut

CLUES = ("brightness", "colour", "sharpness", "black borders")
STRONG = 0.75  # AUC from which on a clue is spoken of
FEWEST = 8  # pairs, below which an AUC is chance
BLACK = 16  # grey values of borders and burned-in boxes


def measure(pixels: np.ndarray, cuts: Sequence[Cut]) -> np.ndarray:
    """Return the ``CLUES`` of a picture outside its rings.

    Args:
        pixels: uint8 (side, N side, 3) or (side, N side), N planes side by side.
        cuts: one a plane.
    """
    channels = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)
    grey = channels.mean(-1)
    outside = np.concatenate([~_inside(cut.ring, len(grey)) for cut in cuts], 1)
    steps = np.abs(np.diff(grey, axis=0, append=grey[-1:])) + np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    lit = outside & (grey >= BLACK)
    if not lit.any():
        return np.zeros(len(CLUES))
    red_over_blue = channels[..., 0] - channels[..., -1]
    return np.array([grey[lit].mean(), red_over_blue[lit].mean(), steps[lit].mean(), (grey < BLACK)[outside].mean()])


def compare(real: np.ndarray, synthetic: np.ndarray) -> dict[str, float]:
    """Return for each clue the AUC, 0.5 to 1, of telling the kinds apart by it alone; both are (pictures, clues)."""
    found = {name: auc(one, other) for name, one, other in zip(CLUES, real.T, synthetic.T, strict=True)}
    return {name: round(max(value, 1 - value), 4) for name, value in found.items()}


def warning(found: dict[str, float], pairs: int) -> str:
    """Return a sentence on the strong clues, or an empty text."""
    strong = [f"{name} (AUC {value:.2f})" for name, value in found.items() if value >= STRONG]
    if not strong or pairs < FEWEST:
        return ""
    return (
        f"the background alone tells real from synthetic by its {', '.join(strong)}: "
        "make the synthetic set from images of the same source as the real ones; "
        "close-ups (--view window) show less of it"
    )


def _inside(ring: Sequence[int], side: int) -> np.ndarray:
    x, y, major, minor, angle = ring
    rows, columns = (np.indices((side, side)) + 0.5) * (UNITS / side)
    turn = np.deg2rad(angle)
    along = (columns - x) * np.cos(turn) + (rows - y) * np.sin(turn)
    across = (rows - y) * np.cos(turn) - (columns - x) * np.sin(turn)
    return (along / major) ** 2 + (across / minor) ** 2 <= 1
