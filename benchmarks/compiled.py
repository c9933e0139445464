"""Whether `torch.compile` pays for the denoiser, in one run of some minutes; it needs a C++ compiler.

python -m benchmarks.compiled [--bundle polyp_endoscopy] [--batch-size 8] [--threads 1]

Prints the seconds of compiling for one window grid, the largest difference, and milliseconds of processor time of one
denoiser call, taken in turn. Every other grid and batch size has to be compiled again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.polyp import common

GRID, CALLS, ROUNDS = 32, 8, 3


def call(network: Callable[..., Tensor], channels: int, context: Tensor, *, autocast: bool) -> Tensor:
    """Return the network's answer (N, c, GRID, GRID) to noise, for texts (N, words, features)."""
    rows = len(context)
    x = torch.randn(rows, channels, GRID, GRID, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return network(x, torch.full((rows,), 500.0), context=context)


def milliseconds(work: Callable[[], Any]) -> float:
    """Return the processor time of one call."""
    begun = time.process_time()
    for _ in range(CALLS):
        work()
    return 1000 * (time.process_time() - begun) / CALLS


def main() -> None:
    """Measure and print."""
    parser = common.parser(__doc__ or "")
    parser.set_defaults(threads=1, batch_size=8)
    for action in parser._actions:
        action.required = False
    args = parser.parse_args()
    renderer: Any = common.build(args).renderer
    inpainter, rows = renderer.inpainter, args.batch_size
    with torch.no_grad():
        context = inpainter.text_encoder(["small round polyp"] * rows, torch.zeros(rows))
    channels = 2 * len(inpainter.latent_mean) + 1  # noisy and blanked latent, mask
    ask = partial(call, channels=channels, context=context, autocast=renderer.autocast)
    compiled = torch.compile(inpainter.denoiser)
    begun = time.perf_counter()
    differs = (ask(compiled).float() - ask(inpainter.denoiser).float()).abs().max()
    print(f"compiled in {time.perf_counter() - begun:.0f} s; largest difference {float(differs):.4f}")
    for _ in range(ROUNDS):
        plain, fused = (milliseconds(partial(ask, network)) for network in (inpainter.denoiser, compiled))
        print(f"plain {plain:.1f} ms, compiled {fused:.1f} ms: {plain / fused:.3f} times as fast")


if __name__ == "__main__":
    main()
