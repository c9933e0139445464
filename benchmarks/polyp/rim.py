"""Are lesions as sharp as real ones, at the rim and inside, and is there a seam.

    python -m benchmarks.polyp.rim --bundle polyp_endoscopy --data KVASIR [--json FILE]

Accepted samples on Kvasir's test frames against the real lesions of these frames, in image pixels of the grey image:
`rim` is the mean gradient on the mask's edge, `sharpness` the mean absolute Laplacian inside over that of the belt
around the paint mask. Size bins are terciles of the accepted extents; real lesions are weighted so that their bins
weigh alike, since they are larger. `seam` is the gradient along the paint mask's outline over that of parallel curves,
beside the same figure of the same pixels before painting.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.polyp import common
from benchmarks.polyp.acceptance import paint
from benchmarks.polyp.auditor import delivered_sites
from benchmarks.polyp.painting import delivered_unit
from monai_diffaug.evaluation.fidelity.rims import detail_ratio, edge_slope, matched_median, seam
from monai_diffaug.synthesis.sites import Site


def looks(site: Site) -> dict[str, float]:
    """Return a lesion's rim and sharpness, real or delivered."""
    grey, (mask, around, known) = delivered_unit(site).mean(0), boxed(site)
    return {"rim": edge_slope(grey, mask), "sharpness": detail_ratio(grey, mask, around, known)}


def boxed(site: Site) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mask, paint mask and other lesions in a site's box, bool (*box)."""
    mask = site.plan.mask[site.box]
    known = np.zeros_like(mask) if site.known is None else site.known[site.box] & ~mask
    return mask, site.plan.paint[site.box], known


def compare(synthetic: Sequence[Site], real: Sequence[Site]) -> dict[str, Any]:
    """Return rim and sharpness of synthetic lesions over those of real ones of the same sizes."""
    extents = [[common.extent(site) for site in sites] for sites in (synthetic, real)]
    cuts = common.terciles(extents[0])
    bins = [[common.bin_of(size, cuts) for size in sizes] for sizes in extents]
    shared = {name: bins[0].count(name) for name in common.BINS if name in bins[1]}
    found = [[looks(site) for site in sites] for sites in (synthetic, real)]
    figures: dict[str, Any] = {"cuts_px": list(cuts), "accepted": len(synthetic), "real": len(real)}
    figures["by_size"] = {name: {"accepted": bins[0].count(name), "real": bins[1].count(name)} for name in common.BINS}
    for name in ("rim", "sharpness"):
        values = [[one[name] for one in ones] for ones in found]
        figures[name] = {
            "over_real": over(values, bins, shared),
            "by_size": {part: over(values, bins, {part: shared.get(part, 0)}) for part in common.BINS},
            "accepted": matched_median(values[0], bins[0], shared),
            "real": matched_median(values[1], bins[1], shared),
        }
    return figures


def over(values: Sequence[Sequence[float]], bins: Sequence[Sequence[str]], wanted: dict[str, int]) -> float | None:
    """Return the ratio of matched medians; None where one side has no lesion of these sizes."""
    first, second = (matched_median(one, names, wanted) for one, names in zip(values, bins, strict=True))
    return first / second if np.isfinite(first) and np.isfinite(second) and second else None


def seams(sites: Sequence[Site]) -> dict[str, Any]:
    """Return the seam figure of delivered pixels and of the same pixels before."""
    parts = [(delivered_unit(site).mean(0), site.images.to_unit(site.original).mean(0), boxed(site)) for site in sites]
    after = np.array([seam(grey, *masks) for grey, _, masks in parts])
    before = np.array([seam(grey, *masks) for _, grey, masks in parts])
    return {
        "painted": float(np.nanmedian(after)),
        "untouched": float(np.nanmedian(before)),
        "half_again_above_untouched": float((after > 1.5 * before).mean()),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    results = paint(synthesizer, cases, draws=args.draws, seed=args.seed)
    accepted, _ = delivered_sites(synthesizer, cases, results, draws=args.draws)
    if not accepted:
        raise SystemExit("no sample was accepted, so there is nothing to compare; train the bundle first")
    real = common.real_sites(synthesizer, cases, seed=args.seed)
    return {**compare(accepted, real), "seam": seams(accepted)}


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=3, help="samples for each frame")
    asked = made.parse_args()
    common.tell(measure(asked), asked)
