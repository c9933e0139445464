"""What the validator sees in held-out windows: overlap with real lesions, and false alarms where there are none.

    python -m benchmarks.polyp.validator --bundle polyp_endoscopy --data KVASIR [--json FILE]

Overlap: windows around real lesions of Kvasir's test split, centre jittered as in use, prediction against all labelled
lesions of the window on the window grid. Beside it the best constant shape, chosen on these very windows among the mean
mask at all levels and centred ellipses of all sizes: an upper bound of what can be had without looking.

False alarms: windows without a labelled lesion, as drawn for painting, untouched and after our own inpainter painted
normal tissue into them. `gate` is what the gate refuses before painting (of what the validator is sure of, a
tenth of the mask, or a part as large as that beside it); `any` is a single cell that it is sure of. `real_seen` is the
share of real lesions that the same rule would see, were they not labelled.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.polyp import common
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.metrics import best_constant_overlap, overlaps
from monai_diffaug.synthesis.gate import SURE
from monai_diffaug.synthesis.resample import resample_mask
from monai_diffaug.synthesis.sites import Site

NORMAL = "normal tissue"


def lesions(site: Site) -> Tensor:
    """Return all labelled lesions of a window, 0 or 1, (1, *size)."""
    return torch.maximum(site.mask, site.seen)


def real_overlap(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site]) -> dict[str, Any]:
    """Return the overlap on real windows, and that of the best constant shape, overall and in each size bin."""
    preds = common.predict_sites(synthesizer, sites)
    truth = [lesions(site) for site in sites]
    found = [float(overlaps(pred[None], mask[None])) for pred, mask in zip(preds, truth, strict=True)]
    sizes = [common.extent(site) for site in sites]
    cuts = common.terciles(sizes)
    constant = _constant(truth)
    bins = {name: [mask for mask, size in zip(truth, sizes, strict=True) if common.bin_of(size, cuts) == name]
            for name in common.BINS}  # fmt: skip
    return {
        "windows": len(sites),
        "mean_iou": float(np.mean(found)),
        "median_iou": float(np.median(found)),
        "best_constant_iou": constant,
        "over_best_constant": float(np.mean(found)) - constant,
        "missed": float(np.mean(np.array(found) == 0)),
        "cuts_px": list(cuts),
        "mean_iou_by_size": common.by_bin(found, sizes, cuts),
        "best_constant_iou_by_size": {name: _constant(masks) if masks else None for name, masks in bins.items()},
    }


def _constant(masks: Sequence[Tensor]) -> float:
    """Return the best constant shape's overlap, all windows brought to one grid of 64 cells a side."""
    return best_constant_overlap(torch.stack([resample_mask(m, (64,) * (m.ndim - 1)) for m in masks]))[0]


def false_alarms(
    synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], preds: Sequence[Tensor]
) -> dict[str, float | None]:
    """Return the share of lesion-free windows with a prediction that the gate calls a lesion, and with any at all."""
    if not sites:
        return {"gate": None, "any": None}
    gate = synthesizer.renderer.gate
    told = [bool(gate.inspect(site.mask, pred, site.seen)) for site, pred in zip(sites, preds, strict=True)]
    anything = [bool(pred.any()) for pred in preds]
    return {"gate": float(np.mean(told)), "any": float(np.mean(anything))}


def seen(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site]) -> float:
    """Return the share of real lesions that the gate would see before painting, were they not labelled."""
    preds = common.predict_sites(synthesizer, sites, level=SURE)
    gate = synthesizer.renderer.gate
    return float(np.mean([bool(gate.inspect(site.mask, one, 0 * one)) for site, one in zip(sites, preds, strict=True)]))


def alarms(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site]) -> dict[str, Any]:
    """Return the false alarms on lesion-free windows, untouched and repainted with normal tissue."""
    free = [site for site in sites if not site.seen.any()]
    untouched = common.predict_sites(synthesizer, free, level=SURE)
    repainted = repainted_views(synthesizer, free)
    again = common.predict_sites(synthesizer, free, image=lambda site: repainted[id(site)], level=SURE)
    return {
        "windows": len(free),
        "lesion_free": false_alarms(synthesizer, free, untouched),
        "repainted_normal": false_alarms(synthesizer, free, again),
    }


def repainted_views(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site]) -> dict[int, Tensor]:
    """Return the delivered pixels (C, *size) of each site after normal tissue was painted into it, by its id."""
    renderer = synthesizer.renderer

    def work(group: list[Site]) -> list[Tensor]:
        asked = [replace(site, plan=replace(site.plan, prompt=NORMAL), attempts=[]) for site in group]
        renderer.prepare(asked)
        with common.plainly(synthesizer):
            canvas = common.canvas(synthesizer, asked)
            prompts = [NORMAL] * renderer.batch_size
            seeds = common.filled([site.plan.seeds[0] for site in asked], renderer.batch_size)
            decoded = renderer.inpainter.decode(renderer.inpainter.inpaint(canvas, prompts, seeds))
        for site, window in zip(asked, decoded, strict=False):
            site.deliver(window)
        return [site.delivered_view() for site in asked]

    views = common.each_batch(sites, work, batch_size=renderer.batch_size, what="repaint")
    return {id(site): view for site, view in zip(sites, views, strict=True)}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    real = common.real_sites(synthesizer, cases, draws=args.draws, seed=args.seed)
    drawn = common.planned_sites(synthesizer, cases, draws=args.draws, seed=args.seed)
    return {
        "real": real_overlap(synthesizer, real),
        "real_seen": seen(synthesizer, real),
        "false_alarms": alarms(synthesizer, drawn),
    }


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=3, help="windows for each lesion, and for each image")
    asked = made.parse_args()
    common.tell(measure(asked), asked)
