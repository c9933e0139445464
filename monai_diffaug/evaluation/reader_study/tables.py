"""A score report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HEADS = {
    "auc": "AUC of telling apart",
    "accuracy": "accuracy at 3/4",
    "sensitivity": "synthetic called synthetic",
    "specificity": "real called real",
    "realism_real": "realism, real",
    "realism_synthetic": "realism, synthetic",
    "usefulness_real": "usefulness, real",
    "usefulness_synthetic": "usefulness, synthetic",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report of ``scores.score`` for people."""
    shown, readers = report["pictures"], report["readers"]
    counts = f"{shown['real']} real and {shown['synthetic']} synthetic pictures, {report['repeats']} shown twice"
    pieces = [
        f"# Reader study {report['study']}",
        f"{counts}. Readers: {len(readers)}. In brackets: 95 % bootstrap intervals over pictures; pooled: over readers "
        "and pictures. AUC 0.5: real and synthetic cannot be told apart.",
        _figures({**{one["reader"]: one for one in readers}, "**pooled**": report["pooled"]}),
        "## By size of the lesion (root of its area over the frame's side), pooled",
        _figures({_third(one): one for one in report["by_size"]}),
        "## Agreement (quadratic-weighted kappa)",
        _agreement(report["agreement"], readers),
        "## Answers",
        _table(
            ("reader", "realism missing", "usefulness missing", "median seconds a picture"),
            [(one["reader"], *one["missing"].values(), _number(one["median_seconds"])) for one in readers],
        ),
        "Research only, not for diagnosis.",
    ]
    return "\n\n".join(pieces) + "\n"


def _third(one: Mapping[str, Any]) -> str:
    return f"{one['third']} ({one['from']:.2f} to {one['to']:.2f}; {one['real']} real, {one['synthetic']} synthetic)"


def _figures(columns: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [(head, *(_interval(one[name]) for one in columns.values())) for name, head in HEADS.items()]
    return _table(("", *columns), rows)


def _agreement(agreement: Mapping[str, Any], readers: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (" and ".join(one["readers"]), *(_interval(one[scale]) for scale in ("realism", "usefulness")))
        for one in agreement["pairs"]
    ]
    for one in readers:
        twice = [one["repeats"][scale] for scale in ("realism", "usefulness")]
        rows.append((f"{one['reader']}, same picture twice (n = {twice[0]['pictures']})", *map(_once, twice)))
    fleiss = agreement["fleiss_real_or_synthetic"]
    said = f"Fleiss' kappa of all readers, real or synthetic: {_interval(fleiss)}." if fleiss else ""
    return "\n\n".join(filter(None, (_table(("", "realism", "usefulness"), rows), said)))


def _once(entry: Mapping[str, Any]) -> str:
    return _number(entry["kappa"])


def _interval(entry: Mapping[str, Any]) -> str:
    if entry["low"] is None or entry["value"] is None:
        return _number(entry["value"])
    return f"{entry['value']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(one).replace("|", "\\|") for one in line) + " |" for line in lines)
