"""Count a manifest and write the head of the gallery: what it is, how much was accepted, why the rest was not."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from monai_diffaug.generation.gallery_card import SIZES, best_iou, is_number, reasons_of, size_of, was_painted

BINS = 20  # of the histogram of IoU


@dataclass
class Summary:
    """Count what the page's head says; `cuts` holds, per unit, the two extents between small, medium and large."""

    planned: int = 0
    accepted: int = 0
    attempts: int = 0
    ious: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    extents: dict[str, list[tuple[float, bool]]] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """List the kinds of reasons, in the order of the page's filter."""
        return sorted(self.reasons)

    @property
    def cuts(self) -> dict[str, tuple[float, float]]:
        """Cut the extents of this run into three parts of equal number."""
        return {unit: _terciles([extent for extent, _ in pairs]) for unit, pairs in self.extents.items()}


def summarise(lines: Iterable[Mapping[str, Any]]) -> Summary:
    """Count samples, attempts, refusals by reason, overlaps and extents over all lines of a manifest."""
    summary = Summary()
    for line in lines:
        summary.planned += 1
        summary.accepted += bool(line["accepted"])
        summary.attempts += len(line.get("attempts") or [])
        summary.reasons.update(kind for attempt in line.get("attempts") or [] for kind in reasons_of(attempt))
        iou = best_iou(line)
        if line["accepted"] and iou is not None:
            summary.ious.append(iou)
        for lesion in line.get("abnormalities") or []:
            if is_number(lesion.get("extent")):
                pair = (float(lesion["extent"]), was_painted(lesion, line))
                summary.extents.setdefault(str(line.get("unit") or "pixels"), []).append(pair)
        summary.weights = summary.weights or line.get("weights") or {}
    return summary


def _terciles(extents: list[float]) -> tuple[float, float]:
    ordered = sorted(extents)
    return ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]


def describe_run(run: Mapping[str, Any], summary: Summary) -> dict[str, str]:
    """Write every part of the page's head as HTML, by its name in the template."""
    facts = {key: run[key] for key in ("preset", "seed", "abnormality", "prompts") if run.get(key) is not None}
    kinds = enumerate(summary.kinds)
    return {
        "bundle": escape(Path(str(run.get("bundle") or "Synthetic samples")).name),
        "facts": _describe(facts),
        "terms": _describe(_terms(run, summary)),
        "numbers": _numbers(run, summary),
        "refusals": _refusals(summary),
        "overlap": _histogram(summary.ious),
        "sizes": _sizes(summary),
        "kinds": "".join(f'<option value="{index}">{escape(kind)}</option>' for index, kind in kinds),
        "total": str(summary.planned),
        "empty": "" if summary.planned else '<p class="empty">No samples: the manifest has no lines yet.</p>',
    }


def _terms(run: Mapping[str, Any], summary: Summary) -> dict[str, Any]:
    """Gather what says where the pictures come from; nothing about weights or data stays silent."""
    terms = {
        "weights": run.get("weights") or summary.weights or "none recorded",
        "data terms": run.get("data_terms") or "none recorded",
    }
    return terms | ({"thresholds": run["thresholds"]} if run.get("thresholds") else {})


def _describe(value: Any) -> str:
    """Write JSON of any shape as nested definition lists."""
    if isinstance(value, Mapping):
        rows = (f"<div><dt>{escape(str(key))}</dt><dd>{_describe(each)}</dd></div>" for key, each in value.items())
        return f"<dl>{''.join(rows)}</dl>"
    if isinstance(value, list):
        return "<br>".join(_describe(each) for each in value)
    return escape(f"{value:g}" if isinstance(value, float) else str(value))


def _numbers(run: Mapping[str, Any], summary: Summary) -> str:
    count = run.get("count")
    planned = f"{summary.planned}"
    if isinstance(count, int) and count > summary.planned:
        planned += f"<small> of {count}</small>"
    numbers = [("planned", planned), ("accepted", f"{summary.accepted}")]
    if summary.planned:
        numbers.append(("acceptance rate", f"{100 * summary.accepted / summary.planned:.1f}<small> %</small>"))
        numbers.append(("attempts per sample", f"{summary.attempts / summary.planned:.2f}"))
    if summary.ious:
        numbers.append(("median IoU, accepted", f"{statistics.median(summary.ious):.2f}"))
    return "".join(f"<div><dt>{name}</dt><dd>{number}</dd></div>" for name, number in numbers)


def _bar(name: str, share: float, text: str) -> str:
    return f'<li><span>{escape(name)}</span><i style="--share:{share:.3f}"></i><b>{text}</b></li>'


def _refusals(summary: Summary) -> str:
    if not summary.reasons:
        return "<p>No attempt was refused.</p>"
    most = max(summary.reasons.values())
    ranked = sorted(summary.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return f"<ul>{''.join(_bar(kind, number / most, str(number)) for kind, number in ranked)}</ul>"


def _sizes(summary: Summary) -> str:
    bars = []
    for unit, pairs in sorted(summary.extents.items()):
        cuts = summary.cuts[unit]
        ranges = (f"under {cuts[0]:.3g} {unit}", f"{cuts[0]:.3g} to {cuts[1]:.3g} {unit}", f"over {cuts[1]:.3g} {unit}")
        for name, span in zip(SIZES, ranges, strict=True):
            verdicts = [accepted for extent, accepted in pairs if size_of(extent, cuts) == name]
            if verdicts:
                share = sum(verdicts) / len(verdicts)
                bars.append(_bar(span, share, f"{100 * share:.0f} % of {len(verdicts)}"))
    return f'<ul class="rates">{"".join(bars)}</ul>' if bars else "<p>No sizes recorded.</p>"


def _histogram(ious: list[float]) -> str:
    if not ious:
        return "<p>No sample was accepted.</p>"
    low = min(int(min(ious) * 10) / 10, 0.9)
    bins = Counter(min(int((iou - low) / (1 - low) * BINS), BINS - 1) for iou in ious)
    most = max(bins.values())
    bars = "".join(f'<i style="--share:{bins[index] / most:.3f}" title="{bins[index]}"></i>' for index in range(BINS))
    return f'<div class="histogram">{bars}</div><p class="scale"><span>{low:.1f}</span><span>1.0</span></p>'
