"""How much of what is painted into held-out frames the gate accepts, and how much of what is real.

    python -m benchmarks.polyp.acceptance --bundle polyp_endoscopy --data KVASIR [--json FILE]

Backgrounds are Kvasir's test frames with their labels, so that real lesions are avoided. Size bins are terciles of the
drawn extent. Real lesions of the same frames pass the same gate: window as in use, prediction on the encoded window;
overlap, offset and spill are asked, since nothing was changed and a real lesion is seen before. They are also told
for the drawn sizes' bins, and, since real lesions of the smallest are rare, once more from frames of half the size.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.polyp import common
from benchmarks.polyp.auditing import halved
from monai_diffaug import AbnormalitySynthesizer, SynthesisResult
from monai_diffaug.metrics import acceptance
from monai_diffaug.synthesis.sites import Site


def synthetic(
    results: Sequence[SynthesisResult], cuts: tuple[float, float] | None = None
) -> tuple[dict[str, Any], tuple[float, float]]:
    """Return the acceptance of samples, overall and by size, and the cut points between the sizes."""
    records = [result.record for result in results if result.record.abnormalities]
    sizes = [record.abnormalities[0].extent for record in records]
    cuts = cuts or common.terciles(sizes)
    bins = {
        name: acceptance(r for r, size in zip(records, sizes, strict=True) if common.bin_of(size, cuts) == name)
        for name in common.BINS
    }
    figures = {
        **acceptance(records),
        "without_room": len(results) - len(records),
        "small_over_large": _ratio(bins["small"]["per_attempt"], bins["large"]["per_attempt"]),
        "small_over_large_per_sample": _ratio(bins["small"]["per_sample"], bins["large"]["per_sample"]),
        "by_size": bins,
    }
    return figures, cuts


def _ratio(small: float | None, large: float | None) -> float | None:
    return small / large if small is not None and large else None


def real(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], cuts: tuple[float, float]) -> dict[str, Any]:
    """Return the share of real lesions that the gate accepts, why it refuses the others, and the share by size."""
    preds = common.predict_sites(synthesizer, sites)
    # Nothing was painted: an endless change stands for the checks that only make sense for paint.
    verdicts = [common.judge(synthesizer, site, one, change=np.inf) for site, one in zip(sites, preds, strict=True)]
    accepted, sizes = [verdict.accepted for verdict in verdicts], [common.extent(site) for site in sites]
    reasons = Counter(reason for verdict in verdicts if not verdict.accepted for reason in verdict.reasons)
    return {
        "lesions": len(sites),
        "accepted": float(np.mean(accepted)),
        "mean_iou": float(np.mean([verdict.iou for verdict in verdicts])),
        "reasons": dict(reasons.most_common()),
        "by_size": common.by_bin(accepted, sizes, cuts),
        "by_own_terciles": common.by_bin(accepted, sizes, common.terciles(sizes)),
    }


def paint(
    synthesizer: AbnormalitySynthesizer,
    cases: Sequence[Mapping[str, Any]],
    *,
    draws: int,
    seed: int,
    audit: bool = False,
) -> list[SynthesisResult]:
    """Return the results of ``draws`` requests for each case, in order; an audit keeps refused pixels too."""
    requests = [
        common.request_of(case, common.seed_of(seed, index, draw))
        for index, case in enumerate(cases)
        for draw in range(draws)
    ]
    return common.synthesize(synthesizer, requests, audit=audit)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    found: dict[str, Any] = {}
    for preset in args.presets:
        synthesizer = common.build(args, preset=preset)
        cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
        draws = args.draws if preset == "fast" else args.paper_draws
        figures, cuts = synthetic(paint(synthesizer, cases, draws=draws, seed=args.seed))
        sites = common.real_sites(synthesizer, cases, draws=args.draws, seed=args.seed)
        judged = real(synthesizer, sites, cuts)
        half = [halved(case) for case in cases]
        smaller = common.real_sites(synthesizer, half, draws=args.draws, seed=args.seed)
        points = None if figures["per_attempt"] is None else 100 * (figures["per_attempt"] - judged["accepted"])
        found[preset] = {
            "cuts_px": list(cuts),
            "synthetic": figures,
            "real": judged,
            "real_at_half_size": real(synthesizer, smaller, cuts),
            "points_over_real": points,
            "thresholds": synthesizer.renderer.gate.thresholds(),
        }
    return found


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=4, help="samples and real windows for each frame")
    made.add_argument("--paper-draws", type=int, default=1, help="samples for each frame with the preset paper")
    made.add_argument("--presets", nargs="+", default=["fast", "paper"])
    asked = made.parse_args()
    common.tell(measure(asked), asked)
