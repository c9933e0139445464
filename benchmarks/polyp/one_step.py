"""The one-step verdict against the full way: seconds a sample, and how often both say the same.

    python -m benchmarks.polyp.one_step --bundle polyp_endoscopy --data KVASIR --cache DIR [--json FILE]

One step: the validator's mask from a latent, in one call; and from a single-step estimate (Eq. 11) at an intermediate
level, one call of the denoiser more. Full way: the whole reverse process of the preset `paper` (50 steps, guided),
decode, and the auditor's segmentation of the pixels. A verdict is an overlap with the intended mask above the gate's
threshold; since the auditor is another network, agreement is also told with the auditor's threshold at which it
accepts as many of Kvasir's real test lesions as the validator does, and with the validator itself on the decoded pixels
at the end of the full way.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.polyp import common
from benchmarks.polyp.auditing import Auditor
from benchmarks.polyp.auditor import add_auditor, audit, audited, auditor_of
from benchmarks.polyp.stages import least_seconds
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.synthesis import Canvas
from monai_diffaug.synthesis.diffusion import draw_noise, estimate_clean
from monai_diffaug.synthesis.gate import overlap
from monai_diffaug.synthesis.sites import Site

MIDDLE = 0.5


class Halfway:
    """A ``keep`` that keeps everything, and the estimate of the clean latent at the first level not above another."""

    def __init__(self, level: float = MIDDLE) -> None:
        self.level = level
        self.estimate: Tensor | None = None

    def __call__(self, level: float, denoised: Tensor) -> Tensor:
        if self.estimate is None and level <= self.level + 1e-9:
            self.estimate = denoised.clone()
        return torch.ones(len(denoised), dtype=torch.bool)


def speed(
    synthesizer: AbnormalitySynthesizer, auditor: Auditor, sites: Sequence[Site], *, repeats: int
) -> dict[str, Any]:
    """Time one step and the full way on the first batch of windows of one grid.

    Args:
        synthesizer: of the preset ``paper``, its batch size being what is timed.
        auditor: segments pixels.
        sites: prepared ones.
        repeats: of the quick ways; the full way is timed a third as often.
    """
    renderer = synthesizer.renderer
    group = [site for site in sites if site.plan.window.size == sites[0].plan.window.size][: renderer.batch_size]
    canvas, size, device = common.canvas(synthesizer, group), group[0].plan.window.size, renderer.device
    prompts, seeds = _asked(group, renderer.batch_size)
    inpainter: Any = renderer.inpainter  # of latent diffusion: a single step needs its denoiser
    noise = draw_noise(canvas.source.shape[1:], seeds).to(device)
    level = torch.full((renderer.batch_size,), MIDDLE, dtype=torch.float64)

    def full() -> None:
        auditor.predict(inpainter.decode(inpainter.inpaint(canvas, prompts, seeds)))

    def look(latent: Tensor) -> None:
        renderer.validator(latent, canvas.source, size)

    def estimate() -> None:
        look(estimate_clean(inpainter.bind(canvas, prompts), canvas.source, noise, level))

    with common.plainly(synthesizer):
        times = {
            "one_step": least_seconds(lambda: look(canvas.source), device, repeats=repeats),
            "estimate_and_one_step": least_seconds(estimate, device, repeats=repeats),
            "full": least_seconds(full, device, repeats=max(repeats // 3, 1)),
        }
    times = {name: taken / renderer.batch_size for name, taken in times.items()}
    ratios = {f"full_over_{name}": times["full"] / times[name] for name in ("one_step", "estimate_and_one_step")}
    return {"grid": size[0], "seconds_a_sample": times, **ratios}


def overlaps_of_ways(
    synthesizer: AbnormalitySynthesizer, auditor: Auditor, sites: Sequence[Site], *, level: float = MIDDLE
) -> dict[str, list[float]]:
    """Paint every prepared site the full way; return each way's overlaps with the intended masks."""
    renderer = synthesizer.renderer

    def work(group: list[Site]) -> list[tuple[float, ...]]:
        with common.plainly(synthesizer):
            canvas, halfway = common.canvas(synthesizer, group), Halfway(level)
            latents = renderer.inpainter.inpaint(canvas, *_asked(group, renderer.batch_size), halfway)
            pixels = renderer.inpainter.decode(latents)
            middle = latents if halfway.estimate is None else halfway.estimate
            seen = [_seen(synthesizer, one, canvas, group) for one in (latents, middle)]
            again = _seen(synthesizer, renderer.inpainter.encode(pixels), canvas, group)
        return list(zip(*seen, again, audited(auditor, pixels, group), strict=True))

    rows = common.each_batch(sites, work, batch_size=renderer.batch_size, what="full way")
    names = ("one_step", "estimate_and_one_step", "full_by_validator", "full_by_auditor")
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def _seen(synthesizer: AbnormalitySynthesizer, latents: Tensor, canvas: Canvas, group: Sequence[Site]) -> list[float]:
    preds = common.predict_latents(synthesizer, latents, group, sources=canvas.source)
    return [overlap(site.mask, pred * (1 - site.seen)) for site, pred in zip(group, preds, strict=True)]


def _asked(group: Sequence[Site], count: int) -> tuple[list[str], list[int]]:
    prompts, seeds = [site.plan.prompt for site in group], [site.plan.seeds[0] for site in group]
    return common.filled(prompts, count), common.filled(seeds, count)


def agreement(
    one: Sequence[float], other: Sequence[float], *, threshold: float, of_other: float | None = None
) -> dict[str, Any]:
    """Compare the verdicts of two ways.

    Args:
        one: overlaps by the first way.
        other: overlaps of the same samples by the other way.
        threshold: accepted above this.
        of_other: the other way's own threshold, where it differs.
    """
    first = np.asarray(one) > threshold
    second = np.asarray(other) > (threshold if of_other is None else of_other)
    return {
        "agreement": float((first == second).mean()),
        "both_accept": int((first & second).sum()),
        "both_refuse": int((~first & ~second).sum()),
        "only_first": int((first & ~second).sum()),
        "only_other": int((~first & second).sum()),
    }


def matched_threshold(overlaps: Sequence[float], accepted: float) -> float:
    """Return the threshold above which about the share ``accepted`` of the overlaps lies."""
    return float(np.quantile(np.asarray(overlaps), 1 - accepted))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args, preset="paper")
    auditor = auditor_of(args, synthesizer)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    sites = common.planned_sites(synthesizer, cases, draws=args.draws, seed=args.seed)[: args.samples]
    synthesizer.renderer.prepare(sites)
    found = overlaps_of_ways(synthesizer, auditor, sites)
    threshold = synthesizer.renderer.gate.iou
    own = _real_threshold(synthesizer, auditor, common.real_sites(synthesizer, cases, seed=args.seed), threshold)
    figures: dict[str, Any] = {"samples": len(sites), "threshold": threshold, "auditor_threshold": own}
    for way in ("one_step", "estimate_and_one_step"):
        figures[way] = {
            "full_by_auditor": agreement(found[way], found["full_by_auditor"], threshold=threshold),
            "full_by_auditor_matched": agreement(
                found[way], found["full_by_auditor"], threshold=threshold, of_other=own
            ),
            "full_by_validator": agreement(found[way], found["full_by_validator"], threshold=threshold),
        }
    figures["speed"] = {}
    for count in args.batches:
        synthesizer.renderer.batch_size = count
        figures["speed"][f"batch_{count}"] = speed(synthesizer, auditor, sites, repeats=args.repeats)
    return figures


def _real_threshold(
    synthesizer: AbnormalitySynthesizer, auditor: Auditor, sites: Sequence[Site], threshold: float
) -> float:
    """Return the auditor's threshold at which it accepts as many real lesions as the validator does at its own."""
    preds = common.predict_sites(synthesizer, sites)
    shares = [overlap(site.mask, p * (1 - site.seen)) > threshold for site, p in zip(sites, preds, strict=True)]
    return matched_threshold(audit(auditor, synthesizer, sites), float(np.mean(shares)))


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    add_auditor(made)
    made.add_argument("--draws", type=int, default=1, help="samples for each frame")
    made.add_argument("--samples", type=int, default=96, help="samples at most")
    made.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="batch sizes to time")
    made.add_argument("--repeats", type=int, default=9, help="timed calls of the quick ways")
    asked = made.parse_args()
    common.tell(measure(asked), asked)
