"""Thresholds of the gate from real lesions: what the validator says of them is the yardstick for synthetic ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.engines.copies import measure_copies
from monai_diffaug.engines.gate_files import remove_stale, write_calibration, write_near_copies
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.engines.real_lesions import RealLesions, SeenLesion
from monai_diffaug.synthesis import Calibration, QualityGate
from monai_diffaug.synthesis.calibration import HIGHEST, LOWEST
from monai_diffaug.synthesis.gate import diameter, overlap

LEAST = 20
"""Windows that a bin needs for a threshold of its own; below that the gate's own (0.7, as in the paper) holds."""
DRAWS = 2
"""Looks at each training lesion: descriptors of two windows of it are kept."""


def calibrate(
    root: str | Path,
    looks: RealLesions,
    held_out: LabelledCases,
    training: LabelledCases | None = None,
    *,
    weights: Mapping[str, str],
    about: Mapping[str, Any],
    rate: float = 0.8,
    count: int = 600,
) -> str:
    """Write ``configs/calibration.json`` and, given training cases, ``models/near_copies.pt``; return what was found.

    Of ``rate`` of the real lesions the gate will say that their overlap is enough. The rest are those that the
    validator itself sees badly, and what it says of a synthetic lesion is worth no more than what it says of a real
    one. 0.8 lies within what a gate should let through (60 to 90 %): lower, and only the plainest lesions
    pass; higher, and so does what is painted beside its mask.

    Args:
        root: the bundle's folder.
        looks: the bundle's windows, autoencoder and validator.
        held_out: cases that no network was trained on.
        training: cases that the inpainter was trained on; none leaves near copies as they are.
        weights: file name -> sha256; the calibration holds for this ``model.pt`` alone.
        about: where the cases come from, to be told in the file.
        rate: share of the real lesions that shall pass, between 0 and 1.
        count: windows of each class; lesions are drawn several times, each time with another jitter.

    Raises:
        ValueError: when a number is out of range, there are no lesions, or held-out cases are training cases too.
    """
    root, digest = Path(root), weights.get("model.pt", "")
    _check(held_out, training, rate, count)
    seen = list(looks(held_out, count=count, seed=1))
    body = {**about, "rate": rate, "windows": len(seen), "weights": digest, **measure_thresholds(seen, rate=rate)}
    if training is not None:
        repeats = DRAWS * max(Counter(lesion.name for lesion in training.lesions).values(), default=1)
        known, again = (looks(training, count=many, seed=seed) for many, seed in ((repeats, 2), (count, 3)))
        copies = measure_copies(known, seen, again)
        body["near_copies"] = {name: value for name, value in copies.items() if name != "descriptors"}
        write_near_copies(root, {**copies, "weights": digest})
    write_calibration(root, body)
    remove_stale(root, digest)
    return summary(body)


def measure_thresholds(seen: Sequence[SeenLesion], *, rate: float, bins: int = 3) -> dict[str, Any]:
    """Return edges and thresholds, as ``Calibration`` has them, and what was measured in each bin.

    The bins are equally wide in the logarithm: real data sets are full of large lesions, and bins of equally many would
    throw all small ones together.

    Args:
        seen: real lesions.
        rate: share of them whose overlap shall be above the threshold.
        bins: number of size bins.
    """
    extents = [diameter(one.mask) for one in seen]
    low, high = (float(np.quantile(extents, share)) for share in (0.02, 0.98))
    cuts = np.geomspace(low, high, bins + 1)[1:-1]
    edges = tuple(sorted({round(float(cut), 1) for cut in cuts}))
    names = sorted({one.name for one in seen})
    binned: dict[str, list[list[SeenLesion]]] = {name: [[] for _ in range(len(edges) + 1)] for name in names}
    plain = Calibration(edges, {})
    for one, extent in zip(seen, extents, strict=True):
        binned[one.name][plain.bin_of(extent)].append(one)
    rows = {name: tuple(_threshold(_overlaps(group), rate) for group in groups) for name, groups in binned.items()}
    calibration = Calibration(edges, rows)
    gate = QualityGate(iou=calibration)
    measured = {name: [_tell(group, gate) for group in groups] for name, groups in binned.items()}
    return {**calibration.to_json(), "measured": measured}


def summary(body: Mapping[str, Any]) -> str:
    """Return a calibration in words, a line for each class and bin."""
    edges = [0, *body["edges"], None]
    lines = []
    for name, rows in body["measured"].items():
        for row, threshold, low, high in zip(rows, body["thresholds"][name], edges, edges[1:], strict=False):
            size = f"{low:g} to {high:g}" if high is not None else f"from {low:g}"
            needed = f"{threshold:.3f}" if threshold is not None else f"as it was (fewer than {LEAST} windows)"
            lines.append(
                f"{name}, {size} cells: threshold {needed}, {row['windows']} windows, "
                f"mean overlap {row['mean_iou']:.3f}, {row['passed']:.0%} pass, {row['passed_gate']:.0%} all checks"
            )
    if copies := body.get("near_copies"):
        lines.append(
            f"near copies: cosine above {copies['threshold']:.4f}, {copies['called']:.1%} of held-out lesions are "
            f"called copies, {copies['recognised']:.1%} of training lesions in other windows; left out as repeats of "
            f"training cases: {', '.join(copies['repeats']) or 'none'}"
        )
    return "\n".join(lines)


def _threshold(overlaps: Sequence[float], rate: float) -> float | None:
    """Return the overlap that ``rate`` of the windows are above, within bounds; None for too few windows."""
    if len(overlaps) < LEAST:
        return None
    ranked, passing = sorted(overlaps, reverse=True), max(1, round(rate * len(overlaps)))
    below = ranked[passing] if passing < len(ranked) else 0.0
    return round(min(max((ranked[passing - 1] + below) / 2, LOWEST), HIGHEST), 5)


def _overlaps(group: Sequence[SeenLesion]) -> list[float]:
    return [overlap(one.mask.float(), one.pred.float()) for one in group]


def _tell(group: Sequence[SeenLesion], gate: QualityGate) -> dict[str, float]:
    """Return counts and shares of a bin, 0 for an empty one."""
    overlaps = _overlaps(group)
    enough = [iou > gate.needed(one.mask, one.name) for iou, one in zip(overlaps, group, strict=True)]
    verdicts = [
        gate.judge(one.mask.float(), one.pred.float(), one.paint.float(), change=math.inf, name=one.name)
        for one in group
    ]
    count = max(len(group), 1)
    return {
        "windows": len(group),
        "mean_iou": round(sum(overlaps) / count, 4),
        "passed": round(sum(enough) / count, 4),
        "passed_gate": round(sum(verdict.accepted for verdict in verdicts) / count, 4),
    }


def _check(held_out: LabelledCases, training: LabelledCases | None, rate: float, count: int) -> None:
    if not 0 < rate < 1 or count < 1:
        raise ValueError(f"the rate must lie between 0 and 1 and the windows be 1 or more, got {rate} and {count}")
    known = () if training is None else training.cases
    both = sorted({str(case["name"]) for case in held_out.cases} & {str(case["name"]) for case in known})
    if both:
        raise ValueError(
            f"{len(both)} cases are held out and trained on, the first is {both[0]}; "
            "give data with separate splits, or no training split"
        )
