"""Does the generator repeat training lesions: nearest neighbours of accepted samples, in latents and in pixels.

    python -m benchmarks.polyp.near_copies --bundle polyp_endoscopy --data KVASIR [--out DIR] [--json FILE]

Samples are accepted by the gate without its refusal of near copies, so that the rate before it can be told. `latent`
is the greatest cosine with the bundle's descriptors of training lesions, of the delivered pixels encoded again;
`pixels` the best normalised correlation of the lesion's box, at 32 cells a side, with those of all training lesions,
over all flips and turns, without light and tint. Held-out real lesions show how near lesions are that cannot be
copies. With `--out`, `nearest.png` shows the ten nearest pairs of either kind: sample, and training lesion turned
alike; the folder must lie outside the repository.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.polyp import common, pictures
from benchmarks.polyp.painting import delivered_unit
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.evaluation.fidelity.crops import flattened, lesion_crop, nearest, turns
from monai_diffaug.synthesis import NearCopies
from monai_diffaug.synthesis.sites import Site

SIDE, SHOWN = 32, 4


@dataclass(frozen=True)
class Neighbour:
    """A lesion's nearest training lesions.

    Args:
        crop: the lesion, (C, 32, ...).
        cosine: with the nearest descriptor.
        pixels: correlation with the nearest crop.
        which: number of that crop.
        turn: of the lesion, under which it is nearest.
    """

    crop: np.ndarray
    cosine: float
    pixels: float
    which: int
    turn: int


def neighbours(
    synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], known: NearCopies, rows: np.ndarray
) -> list[Neighbour]:
    """Return the nearest training lesions of what is delivered, or of what is there where nothing was painted.

    Args:
        synthesizer: whose autoencoder encodes.
        sites: windows.
        known: descriptors of the training lesions.
        rows: crops of the training lesions, ``flattened``.
    """

    def work(group: list[Site]) -> list[Neighbour]:
        with common.plainly(synthesizer):
            views = common.stack([site.delivered_view() for site in group], synthesizer)
            latents = synthesizer.renderer.inpainter.encode(views)
        masks = common.stack([site.mask for site in group], synthesizer)
        cosines = known.cosines(latents[: len(group)], masks[: len(group)]).tolist()
        crops = [lesion_crop(delivered_unit(site), site.plan.mask[site.box], SIDE) for site in group]
        return [Neighbour(crop, one, *nearest(crop, rows)) for crop, one in zip(crops, cosines, strict=True)]

    return common.each_batch(sites, work, batch_size=synthesizer.renderer.batch_size, what="nearest neighbours")


def accepted_sites(
    synthesizer: AbnormalitySynthesizer, cases: Sequence[Mapping[str, Any]], *, count: int, seed: int, rounds: int
) -> Iterator[list[Site]]:
    """Yield accepted samples round by round over the cases, until there are ``count`` or the rounds are over."""
    left = count
    for draw in tqdm(range(rounds), desc="rounds", file=sys.stderr, disable=None):
        requests = [common.request_of(case, common.seed_of(seed, index, draw)) for index, case in enumerate(cases)]
        results = common.synthesize(synthesizer, requests)
        pairs = [(case, one) for case, one in zip(cases, results, strict=True) if one.record.accepted][:left]
        yield [common.delivered_site(synthesizer, case, one) for case, one in pairs]
        left -= len(pairs)
        if left == 0:
            return


def told(found: Sequence[Neighbour], threshold: float) -> dict[str, Any]:
    """Return the rate of near copies and how the nearest neighbours are spread."""
    cosines, pixels = ([getattr(one, name) for one in found] for name in ("cosine", "pixels"))
    return {
        "lesions": len(found),
        "near_copies": int((np.array(cosines) > threshold).sum()),
        "rate": float((np.array(cosines) > threshold).mean()),
        "latent": _spread(cosines),
        "pixels": _spread(pixels),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    names = ("median", "p90", "p99", "highest")
    return {name: float(np.quantile(values, at)) for name, at in zip(names, (0.5, 0.9, 0.99, 1.0), strict=True)}


def pairs_sheet(found: Sequence[Neighbour], training: Sequence[np.ndarray], threshold: float, count: int = 10) -> Any:
    """Return a sheet of the nearest pairs, by pixels and by latents: the lesion, turned, and the training lesion."""
    tiles, titles = [], []
    for name in ("pixels", "cosine"):
        for one in sorted(found, key=lambda each: -getattr(each, name))[:count]:
            both = turns(one.crop)[one.turn], training[one.which]
            tiles += [pictures.enlarged(pictures.shown(crop), SHOWN) for crop in both]
            titles += [f"{name} {getattr(one, name):.3f}", "copy" if one.cosine > threshold else ""]
    return pictures.sheet(tiles, 4, titles)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    folder = None if args.out is None else pictures.outside(args.out)
    synthesizer = common.build(args)
    known, synthesizer.renderer.gate.near_copies = synthesizer.renderer.gate.near_copies, None
    if known is None:
        raise SystemExit("the bundle has no descriptors of its training lesions; run monai-diffaug calibrate first")
    to_unit = synthesizer.images.to_unit
    train = common.read_cases(args.data, synthesizer.images, split="train")
    crops = [lesion_crop(to_unit(case["image"]), mask, SIDE) for case, mask in LabelledCases(train).masks()]
    rows = flattened(np.stack(crops))
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    sampling = accepted_sites(synthesizer, cases, count=args.count, seed=args.seed, rounds=args.rounds)
    found = [one for sites in sampling for one in neighbours(synthesizer, sites, known, rows)]
    if not found:
        raise SystemExit("no sample was accepted, so there is nothing to compare; train the bundle first")
    real = neighbours(synthesizer, common.real_sites(synthesizer, cases, draws=3, seed=args.seed), known, rows)
    if folder is not None:
        pairs_sheet(found, crops, known.threshold).save(folder / "nearest.png")
    return {
        "threshold": known.threshold,
        "training_lesions": len(crops),
        "accepted_before_the_refusal": told(found, known.threshold),
        "held_out_real": told(real, known.threshold),
        "pixels_above_all_held_out": float((np.array([a.pixels for a in found]) > max(b.pixels for b in real)).mean()),
    }


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--count", type=int, default=1000, help="accepted samples")
    made.add_argument("--rounds", type=int, default=40, help="over the test frames at most")
    made.add_argument("--out", type=Path, help="folder outside the repository for the sheet of nearest pairs")
    asked = made.parse_args()
    common.tell(measure(asked), asked)
