"""Time of one sample outside the network calls: planning, window, composite, gate, record.

    python benchmarks/overhead.py [--size 512] [--samples 60]

Prints the median and the least milliseconds a sample, and the share of each call. The networks' time (encode, inpaint,
decode, validate) is measured by wrapping them and is taken off.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

import numpy as np
import torch

from monai_diffaug import load_synthesizer

NETWORK_CALLS = ("encode", "inpaint", "decode")


class Stopwatch:
    """Wrap callables and add up the time spent inside them."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.depth = 0

    def wrap(self, name: str, function: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start, outer = time.perf_counter(), self.depth
            self.depth += 1
            try:
                return function(*args, **kwargs)
            finally:
                self.depth -= 1
                if outer == 0:  # the validator asked from inside the sampler counts as the sampler
                    self.seconds[name] += time.perf_counter() - start

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--samples", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    synthesizer = load_synthesizer("texture_demo")
    watch = Stopwatch()
    renderer = synthesizer.renderer
    for name in NETWORK_CALLS:
        setattr(renderer.inpainter, name, watch.wrap(name, getattr(renderer.inpainter, name)))
    renderer.validator = watch.wrap("validate", renderer.validator)
    noise = np.random.default_rng(0).integers(100, 140, (3, args.size, args.size))
    image = noise.astype(np.uint8)
    overheads, attempts = [], []
    for seed in range(args.samples + 3):
        before, start = sum(watch.seconds.values()), time.perf_counter()
        result = synthesizer(image, seed=seed)
        total = time.perf_counter() - start
        if seed >= 3:  # the first ones warm up
            overheads.append(1000 * (total - (sum(watch.seconds.values()) - before)))
            attempts.append(len(result.record.attempts))
    print(f"overhead a sample, {args.size} px: median {np.median(overheads):.1f} ms, least {min(overheads):.1f} ms")
    print(f"attempts a sample: {np.mean(attempts):.2f}")
    for name, seconds in watch.seconds.items():
        print(f"  {name}: {1000 * seconds / (args.samples + 3):.1f} ms a sample")


if __name__ == "__main__":
    main()
