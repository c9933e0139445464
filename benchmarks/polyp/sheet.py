"""Real and synthetic lesions, shuffled, for a person to tell apart; and whole frames before and after.

    python -m benchmarks.polyp.sheet --bundle polyp_endoscopy --data KVASIR --out DIR [--json FILE]

`guess.png` shows numbered crops of one size and scale, half of them real lesions of Kvasir's test split, half accepted
samples on other frames of it; `guess_key.json` holds the answers. Each synthetic lesion comes with the real one that
is nearest in extent, so that size tells nothing. `frames.png` shows whole frames: before, with the mask's outline, and
after. The folder must lie outside the repository.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.polyp import common, pictures
from benchmarks.polyp.acceptance import paint
from monai_diffaug import AbnormalitySynthesizer, SynthesisResult
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.window import bounding_box

Lesion = dict[str, Any]
"""``kind`` (real or synthetic), ``name`` of the case, ``picture`` (C, *spatial) in [0, 1], ``mask`` bool (*spatial)."""


def crop(unit: np.ndarray, mask: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return a crop (C, side, ...) that holds the whole mask, at a random place around it, clipped to the image.

    Args:
        unit: (C, *spatial).
        mask: bool (*spatial), no wider than ``side``.
        side: pixels on each axis; at most those of the image are shown.
        rng: draws the place: a lesion in the very middle would look arranged.
    """
    low, high = bounding_box(mask)
    sides = np.minimum(side, mask.shape)
    first = np.maximum(high - sides, 0)
    last = np.minimum(low, np.array(mask.shape) - sides)
    start = rng.integers(np.minimum(first, last), last + 1)
    return unit[(slice(None), *(slice(a, a + n) for a, n in zip(start, sides, strict=True)))]


def real_lesions(cases: Sequence[Mapping[str, Any]], synthesizer: AbnormalitySynthesizer) -> list[Lesion]:
    """Return the labelled lesions."""
    to_unit = synthesizer.images.to_unit
    return [
        {"kind": "real", "name": case["name"], "picture": to_unit(case["image"]), "mask": mask}
        for case, mask in LabelledCases(cases).masks()
    ]


def synthetic_lesions(
    cases: Sequence[Mapping[str, Any]], results: Sequence[SynthesisResult], synthesizer: AbnormalitySynthesizer
) -> list[Lesion]:
    """Return the accepted samples' lesions; one result belongs to each case."""
    to_unit = synthesizer.images.to_unit
    return [
        {"kind": "synthetic", "name": case["name"], "picture": to_unit(result.image), "mask": result.mask[0] > 0,
         "prompt": result.record.prompt, "before": to_unit(case["image"])}
        for case, result in zip(cases, results, strict=True)
        if result.record.accepted
    ]  # fmt: skip


def matched(synthetic: Sequence[Lesion], real: Sequence[Lesion], count: int, side: int) -> list[Lesion]:
    """Return at most ``count`` synthetic lesions and as many real ones, each nearest in extent to one of the former.

    A frame shows one lesion at most, so that nothing is seen twice; lesions wider than ``side`` are left out.
    """
    chosen: list[Lesion] = []
    fitting = [one for one in synthetic if _extent(one) <= side][:count]
    taken = {one["name"] for one in fitting}
    for one in fitting:
        free = [other for other in real if other["name"] not in taken and _extent(other) <= side]
        if free:
            nearest = min(free, key=lambda other: abs(_extent(other) - _extent(one)))
            taken.add(nearest["name"])
            chosen += [one, nearest]
    return chosen


def _extent(lesion: Lesion) -> float:
    return extent_of(lesion["mask"], (1.0,) * lesion["mask"].ndim)


def guesses(
    lesions: Sequence[Lesion], *, side: int, seed: int, enlarge: int = 1
) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Return shuffled tiles and their key, numbered from 1."""
    rng = np.random.default_rng(seed)
    order = [lesions[place] for place in rng.permutation(len(lesions))]
    tiles = [pictures.enlarged(pictures.shown(crop(one["picture"], one["mask"], side, rng)), enlarge) for one in order]
    key = [
        {"number": number, "kind": one["kind"], "name": one["name"], "prompt": one.get("prompt")}
        for number, one in enumerate(order, start=1)
    ]
    return tiles, key


def draw(args: argparse.Namespace) -> dict[str, Any]:
    """Write both sheets and the key; return how many lesions they show."""
    folder = pictures.outside(args.out)
    synthesizer = common.build(args)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    order = np.random.default_rng(args.seed).permutation(len(cases))
    half = [cases[place] for place in order[: len(order) // 2]]
    results = paint(synthesizer, half, draws=1, seed=args.seed)
    synthetic = synthetic_lesions(half, results, synthesizer)
    if not synthetic:
        raise SystemExit("no sample was accepted, so there is nothing to show; train the bundle first")
    rest = [cases[place] for place in order[len(order) // 2 :]]
    lesions = matched(synthetic, real_lesions(rest, synthesizer), args.count, args.side)
    if not lesions:
        raise SystemExit(f"no lesion fits into {args.side} pixels with a real one beside it; choose a larger --side")
    tiles, key = guesses(lesions, side=args.side, seed=args.seed, enlarge=args.enlarge)
    pictures.sheet(tiles, args.columns, [str(one["number"]) for one in key]).save(folder / "guess.png")
    (folder / "guess_key.json").write_text(json.dumps(key, indent=1) + "\n", encoding="utf-8")
    frames, titles = [], []
    for one in synthetic[: args.frames]:
        before, after = pictures.shown(one["before"]), pictures.shown(one["picture"])
        frames += [before, pictures.outlined(before, one["mask"]), after]
        titles += [one["name"], one["prompt"], "after"]
    pictures.sheet(frames, 3, titles).save(folder / "frames.png")
    return {"guess": len(lesions), "accepted": len(synthetic), "frames": len(frames) // 3, "folder": str(folder)}


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    made.add_argument("--count", type=int, default=18, help="lesions of each kind")
    made.add_argument("--side", type=int, default=160, help="of a crop in image pixels")
    made.add_argument("--enlarge", type=int, default=2, help="screen pixels for each image pixel")
    made.add_argument("--columns", type=int, default=6)
    made.add_argument("--frames", type=int, default=6, help="whole frames to show")
    asked = made.parse_args()
    common.tell(draw(asked), asked)
