"""What an independent auditor says of accepted samples, against what it says of real lesions.

    python -m benchmarks.polyp.auditor --bundle polyp_endoscopy --data KVASIR --cache DIR [--json FILE]

The auditor is a SegResNet on pixels, trained on the training images that the validator did not see (the bundle's
`configs/validator_images.json` lists those it did) and on the validation split. It judges delivered pixels of accepted
samples on Kvasir's test frames, and the real lesions of these frames, in windows as in use: overlap of its prediction
outside other labelled lesions with the mask, on the window grid. Refused samples, kept by an audit, are told apart.
Real lesions of the smallest drawn sizes are rare: frames at half the size have them, and are told apart too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.polyp import common
from benchmarks.polyp.acceptance import paint
from benchmarks.polyp.auditing import Auditor, audit_cases, halved, trained_auditor
from monai_diffaug import AbnormalitySynthesizer, SynthesisResult
from monai_diffaug.bundle import open_bundle
from monai_diffaug.synthesis.gate import overlap
from monai_diffaug.synthesis.sites import Site

CACHE = Path.home() / ".cache" / "monai_diffaug" / "benchmarks"


def audit(
    auditor: Auditor, synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], *, delivered: bool = False
) -> list[float]:
    """Return the auditor's overlap with the mask of each site, in its real or its delivered pixels."""

    def work(group: list[Site]) -> list[float]:
        pixels = [site.delivered_view() if delivered else site.window_image for site in group]
        return audited(auditor, common.stack(pixels, synthesizer), group)

    return common.each_batch(sites, work, batch_size=synthesizer.renderer.batch_size, what="audit")


def audited(auditor: Auditor, pixels: Tensor, group: Sequence[Site]) -> list[float]:
    """Return the overlaps of a group whose pixels (N, C, *size) are given."""
    found = (auditor.predict(pixels).cpu() > 0.5).float()
    return [overlap(site.mask, one * (1 - site.seen)) for site, one in zip(group, found, strict=False)]


Judged = tuple[Sequence[float], Sequence[float]]
"""Overlaps and extents of some windows."""


def compare(real: Judged, halves: Judged, synthetic: Judged) -> dict[str, Any]:
    """Compare the auditor's medians.

    Args:
        real: of real lesions.
        halves: of real lesions in frames of half the size.
        synthetic: of accepted samples, whose terciles cut the sizes.
    """
    cuts = common.terciles(synthetic[1])
    median: Callable[[Any], Any] = np.median
    figures: dict[str, Any] = {
        name: {
            "windows": len(found[0]),
            "median_iou": float(np.median(found[0])),
            "share_above_half": float((np.asarray(found[0]) > 0.5).mean()),
            "by_size": common.by_bin(*found, cuts, median),
            "windows_by_size": common.by_bin(*found, cuts, len),
        }
        for name, found in (("real", real), ("real_at_half_size", halves), ("accepted", synthetic))
    }
    small = figures["accepted"]["by_size"]["small"]
    half = figures["real_at_half_size"]["by_size"]["small"]
    own = common.by_bin(*real, common.terciles(real[1]), median)
    return {
        "cuts_px": list(cuts),
        **figures,
        "real_by_own_terciles": own,
        "accepted_minus_real": figures["accepted"]["median_iou"] - figures["real"]["median_iou"],
        "smallest_minus_real": _difference(small, figures["real"]["median_iou"]),
        "smallest_minus_real_of_that_size_at_half_size": _difference(small, half),
    }


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def delivered_sites(
    synthesizer: AbnormalitySynthesizer,
    cases: Sequence[Mapping[str, Any]],
    results: Sequence[SynthesisResult],
    *,
    draws: int,
) -> tuple[list[Site], list[Site]]:
    """Return the windows of accepted and of refused samples; ``draws`` results belong to each case."""
    pairs = [(cases[index // draws], result) for index, result in enumerate(results)]
    accepted = [common.delivered_site(synthesizer, case, one) for case, one in pairs if one.record.accepted]
    refused = [
        common.delivered_site(synthesizer, case, one, refused=True) for case, one in pairs if one.refused is not None
    ]
    return accepted, refused


def auditor_of(args: argparse.Namespace, synthesizer: AbnormalitySynthesizer) -> Auditor:
    """Return the trained auditor that the command line asks for."""
    train, val = (common.read_cases(args.data, synthesizer.images, split=split) for split in ("train", "val"))
    cases = audit_cases(train, val, open_bundle(args.bundle).root / "configs" / "validator_images.json")
    return trained_auditor(cases, synthesizer, args.cache, steps=args.steps, seed=args.seed)


def add_auditor(made: argparse.ArgumentParser) -> None:
    """Add what ``auditor_of`` reads."""
    made.add_argument("--cache", type=Path, default=CACHE, help="folder for the auditor, outside of the repository")
    made.add_argument("--steps", type=int, default=1500, help="of the auditor's training")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    auditor = auditor_of(args, synthesizer)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    judged = {
        name: _judged(auditor, synthesizer, common.real_sites(synthesizer, some, draws=args.draws, seed=args.seed))
        for name, some in (("real", cases), ("halves", [halved(case) for case in cases]))
    }
    results = paint(synthesizer, cases, draws=args.draws, seed=args.seed, audit=True)
    accepted, refused = delivered_sites(synthesizer, cases, results, draws=args.draws)
    if not accepted:
        return {"accepted": 0, "real_median_iou": float(np.median(judged["real"][0]))}
    synthetic = _judged(auditor, synthesizer, accepted, delivered=True)
    others = audit(auditor, synthesizer, refused, delivered=True)
    return {
        **compare(judged["real"], judged["halves"], synthetic),
        "refused": len(refused),
        "refused_median_iou": float(np.median(others)) if others else None,
    }


def _judged(
    auditor: Auditor, synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], *, delivered: bool = False
) -> Judged:
    return audit(auditor, synthesizer, sites, delivered=delivered), [common.extent(site) for site in sites]


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    add_auditor(made)
    made.add_argument("--draws", type=int, default=3, help="samples and real windows for each frame")
    asked = made.parse_args()
    common.tell(measure(asked), asked)
