"""Does the paint do what the text says: one word changed, everything else equal.

    python -m benchmarks.polyp.obedience --bundle polyp_endoscopy --data KVASIR [--json FILE]

Pairs are painted into Kvasir's test frames: same background, window, mask and noise, and prompts that differ in one
word, the lowest against the highest third of an attribute (`paler` and `redder`, `blurred border` and `sharp border`
...). The attribute is measured on the delivered pixels as it was on real lesions in training; the figure is the share
of pairs that move the right way. For `polyp` against `normal tissue` it is the share of pairs in which the validator
sees more of the mask covered. The gate is not asked: every painted sample counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.polyp import common
from benchmarks.polyp.painting import delivered_unit, paint_all, worded
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.synthesis.attributes import TERCILES, measure
from monai_diffaug.synthesis.sites import Site

NORMAL = "normal tissue"


def with_word(prompt: str, attribute: str, word: str) -> str:
    """Return the prompt with this word for the attribute, in place of any other.

    Example:
        >>> with_word("small polyp, redder, rough", "colour", "paler")
        'small polyp, rough, paler'
    """
    return ", ".join([*(part for part in prompt.split(", ") if part not in TERCILES[attribute]), word])


def measured(site: Site, attribute: str) -> float:
    """Return an attribute of what was delivered into a site."""
    return measure(delivered_unit(site), site.plan.mask[site.box])[attribute]


def word_pairs(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], attribute: str) -> dict[str, Any]:
    """Paint prepared sites with the lowest and the highest word of an attribute and compare the measurements."""
    found = []
    for word in (TERCILES[attribute][0], TERCILES[attribute][2]):
        again = worded(sites, [with_word(site.plan.prompt, attribute, word) for site in sites])
        paint_all(synthesizer, again, what=word)
        found.append([measured(site, attribute) for site in again])
    return compared(found[0], found[1])


def compared(low: Sequence[float], high: Sequence[float]) -> dict[str, Any]:
    """Return how often and by how much the second of each pair is above the first."""
    change = np.asarray(high, float) - np.asarray(low, float)
    return {"right_way": float((change > 0).mean()), "median_change": float(np.median(change)), "pairs": len(change)}


def class_pairs(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site]) -> dict[str, Any]:
    """Paint prepared sites with their own text and with that of normal tissue; compare what the validator sees."""
    covered = {}
    for name, prompts in (("polyp", [site.plan.prompt for site in sites]), ("normal", [NORMAL] * len(sites))):
        again = worded(sites, prompts)
        paint_all(synthesizer, again, what=name)
        preds = common.predict_sites(synthesizer, again, image=lambda site: site.delivered_view())
        covered[name] = [
            float((pred * site.mask * (1 - site.seen)).sum() / site.mask.sum())
            for site, pred in zip(again, preds, strict=True)
        ]
    means = {f"mean_covered_{name}": float(np.mean(values)) for name, values in covered.items()}
    return {**compared(covered["normal"], covered["polyp"]), **means}


def obedience(
    synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], *, attributes: Sequence[str] = tuple(TERCILES)
) -> dict[str, Any]:
    """Return the figures of every attribute and of the class, with the synthesizer's own sampler."""
    synthesizer.renderer.prepare(sites)
    figures = {
        f"{TERCILES[name][0]} / {TERCILES[name][2]}": word_pairs(synthesizer, sites, name) for name in attributes
    }
    return {**figures, "normal tissue / polyp": class_pairs(synthesizer, sites)}


def measure_all(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    found = {"fast": obedience(synthesizer, _sites(synthesizer, args, args.draws, args.limit))}
    if args.paper_frames:
        synthesizer = common.build(args, preset="paper")
        frames = args.paper_frames if args.limit is None else min(args.paper_frames, args.limit)
        found["paper"] = obedience(synthesizer, _sites(synthesizer, args, 1, frames))
    return found


def _sites(synthesizer: AbnormalitySynthesizer, args: argparse.Namespace, draws: int, frames: int | None) -> list[Site]:
    cases = common.read_cases(args.data, synthesizer.images, limit=frames)
    return common.planned_sites(synthesizer, cases, draws=draws, seed=args.seed)


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=1, help="pairs for each frame")
    made.add_argument("--paper-frames", type=int, default=16, help="frames for the preset paper; 0 leaves it out")
    asked_for = made.parse_args()
    common.tell(measure_all(asked_for), asked_for)
