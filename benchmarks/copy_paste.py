"""Time of the rival transforms, each call at probability 1: python -m benchmarks.copy_paste

Prints mean, median and the 95th of 100 in ms, for a frame of 256 px (RGB, uint8) with lesions of 20 to 120 px, and for
a volume of 96 voxels a side with lesions of 8 to 30.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from monai_diffaug import LesionDonors, RandCarveMix, RandLesionCopyPaste


def case(shape: tuple[int, ...], channels: int, diameter: float, seed: int) -> dict[str, Any]:
    """Return an image of smooth noise and the label of one ball."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((channels, *shape)), (0, *[3] * len(shape)))
    image = (128 + 100 * noise / np.abs(noise).max()).astype(np.uint8)
    grid = np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij")
    label = (sum(axis**2 for axis in grid) <= (diameter / 2) ** 2).astype(np.uint8)
    return {"image": image, "label": label}


def timed(transform: Callable[..., Any], images: list[np.ndarray], calls: int) -> np.ndarray:
    """Return the time of each call in ms; the first ones, which fill caches, are left out."""
    took = []
    for call in range(calls + 40):
        begun = time.perf_counter()
        transform(images[call % len(images)])
        took.append(1e3 * (time.perf_counter() - begun))
    return np.array(took[40:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name, shape, channels, sizes in (
        ("256 px RGB", (256, 256), 3, (20, 40, 60, 90, 120)),
        ("96^3 volume", (96, 96, 96), 1, (8, 12, 20, 30)),
    ):
        cases = [case(shape, channels, diameter, seed) for seed, diameter in enumerate(sizes)]
        images = [case(shape, channels, 2, 100 + seed)["image"] for seed in range(4)]
        donors = LesionDonors(cases)
        for transform in (RandLesionCopyPaste(donors, 1.0), RandCarveMix(donors, 1.0)):
            took = timed(transform.set_random_state(0), images, args.calls)
            p95 = np.percentile(took, 95)
            print(f"{name}, {type(transform).__name__}: ", end="")
            print(f"mean {took.mean():.2f}, median {np.median(took):.2f}, p95 {p95:.2f}")


if __name__ == "__main__":
    main()
