"""Why a made frame may not be shipped: it looks unlike tissue, holds a lesion, or repeats a training frame.

Frames are uint8 (3, height, width). `tests/test_polyp_frames.py` tries every reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import normalize

from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.synthesis.resample import resample

LOOKS: Mapping[str, tuple[float, float]] = {
    "lit": (0.6, 1.0),
    "brightness": (0.27, 0.57),
    "blown_out": (0.0, 0.08),
    "contrast": (0.07, 0.3),
    "detail": (0.0072, 0.05),
    "red_over_green": (1.25, 2.5),
    "green_over_blue": (1.0, 2.7),
}
"""What all but about one in a hundred of Kvasir's frames keep to: lowest and highest of each measure."""
TURNS = [(turn, flip) for turn in range(4) for flip in (False, True)]


def measure_look(frame: np.ndarray) -> dict[str, float]:
    """Return simple measures of a frame, all on values from 0 to 1.

    `lit`: share of pixels whose brightest channel is above 0.1; then, of these: `brightness`, the mean; `contrast`, the
    deviation of what is coarser than 8 pixels; `detail`, the mean of what is finer than 2, away from the dark;
    `red_over_green` and `green_over_blue`, of the means. `blown_out`: share whose darkest channel is above 0.95.
    """
    image = frame.astype(np.float32) / 255
    grey, lit = image.mean(0), image.max(0) > 0.1
    if not lit.any():
        return dict.fromkeys(LOOKS, 0.0)
    inner = ndimage.binary_erosion(lit, iterations=4)
    fine = np.abs(grey - ndimage.gaussian_filter(grey, 2))
    red, green, blue = (float(channel[lit].mean()) + 1e-6 for channel in image)
    return {
        "lit": float(lit.mean()),
        "brightness": float(grey[lit].mean()),
        "blown_out": float((image.min(0) > 0.95).mean()),
        "contrast": float(ndimage.gaussian_filter(grey, 8)[lit].std()),
        "detail": float(fine[inner].mean()) if inner.any() else 0.0,
        "red_over_green": red / green,
        "green_over_blue": green / blue,
    }


def odd_looks(look: Mapping[str, float]) -> list[str]:
    """Return the measures that leave their range, such as `detail too low`."""
    low = [f"{name} too low" for name, (least, _) in LOOKS.items() if look[name] < least]
    return low + [f"{name} too high" for name, (_, most) in LOOKS.items() if look[name] > most]


def to_network(frame: np.ndarray) -> Tensor:
    """Return a frame as the networks take it, (3, height, width) in [-1, 1]."""
    return torch.from_numpy(frame.astype(np.float32) / 127.5 - 1)


class Neighbours:
    """Find the training frame that a frame repeats most, however it is turned or flipped.

    Square crops, as training sees frames (both ends and the middle of the longer side), are compared by two figures:
    `picture`, the correlation of 32 x 32 pixels, each channel about its own mean; and `latent`, the cosine of the
    latents of 128 x 128 pixels, reduced to 8 x 8 cells.

    Args:
        synthesizer: whose autoencoder is asked.
        cases: training frames, dictionaries with `name` and `image`.
    """

    def __init__(self, synthesizer: AbnormalitySynthesizer, cases: Iterable[Mapping[str, Any]]) -> None:
        self.renderer = synthesizer.renderer
        self.names: list[str] = []
        described: list[dict[str, Tensor]] = []
        for case in cases:
            crops = square_crops(case["image"])
            described.append(self._describe(crops))
            self.names += [str(case["name"])] * len(crops)
        self.known = {key: torch.cat([one[key] for one in described]) for key in ("picture", "latent")}

    def __call__(self, frame: np.ndarray) -> dict[str, tuple[str, float]]:
        """Return the nearest case's name and the figure, for `picture` and `latent`."""
        crops = square_crops(frame)
        described = self._describe([turned(crop, *turn) for crop in crops for turn in TURNS])
        nearest = {}
        for key, known in self.known.items():
            best, index = (described[key] @ known.T).amax(0).max(0)
            nearest[key] = (self.names[int(index)], float(best))
        return nearest

    def _describe(self, crops: Sequence[Tensor]) -> dict[str, Tensor]:
        parts = []
        for batch, count in batches(crops, self.renderer.batch_size):
            parts.append(self.renderer.inpainter.encode(batch)[:count].cpu())
        return {
            "picture": _unit(resample(torch.stack(list(crops)), (32, 32))),
            "latent": _unit(resample(torch.cat(parts), (8, 8))),
        }


def near_copies(nearest: Mapping[str, tuple[str, float]], limits: Mapping[str, float]) -> list[str]:
    """Return a reason for each figure above its limit."""
    return [f"near copy by {key}" for key, (_, value) in nearest.items() if value > limits[key]]


def square_crops(frame: np.ndarray, size: int = 128) -> list[Tensor]:
    """Return the largest squares at both ends and in the middle of a frame, (3, size, size) in [-1, 1]."""
    side = min(frame.shape[1:])
    room = [n - side for n in frame.shape[1:]]
    places = sorted({tuple(round(share * n) for n in room) for share in (0, 0.5, 1)})
    return [resample(to_network(frame[:, y : y + side, x : x + side]), (size, size)) for y, x in places]


def turned(image: Tensor, turns: int, flip: bool) -> Tensor:
    """Return an image (C, height, width) turned by so many right angles, and flipped."""
    image = torch.rot90(image, turns, (1, 2))
    return image.flip(2) if flip else image


def batches(members: Sequence[Tensor], size: int) -> Iterable[tuple[Tensor, int]]:
    """Yield batches of one fixed shape, and how many of their members count: the last one is repeated."""
    for first in range(0, math.ceil(len(members) / size) * size, size):
        part = list(members[first : first + size])
        yield torch.stack(part + part[-1:] * (size - len(part))), len(part)


def _unit(images: Tensor) -> Tensor:
    """Return vectors (N, D) of unit length, each channel about its own mean."""
    return normalize((images - images.mean((2, 3), keepdim=True)).flatten(1), dim=1)
