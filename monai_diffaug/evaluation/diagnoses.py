"""Where samples pass the gate as they should and misses stay as they were: what may be the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_diffaug.evaluation.report import RIVALS, Block

NORMAL = (0.5, 0.95)
"""Accepted share of attempts that is nothing out of the ordinary."""
LEVELS = (0.7, 0.8, 0.9, 1.01)
"""Limits of the validator's overlap between which the auditor's is averaged."""


def diagnoses(results: Mapping[str, Any]) -> str:
    """Return what there is to say of arms whose misses did not change for the better, in Markdown.

    Args:
        results: content of ``results.json``.
    """
    parts = []
    for num in sorted({cell["num"] for cell in results["cells"]}):
        block = Block(results, num)
        parts += [_diagnosis(block, arm) for arm in block.arms if _unchanged(block, arm)]
    return "\n" + "\n\n".join(["# Diagnoses", *parts]) + "\n" if parts else ""


def _unchanged(block: Block, arm: str) -> bool:
    """Whether samples were accepted at a normal rate, and misses of small lesions are not surely rarer."""
    rows = _rows(block, arm)
    if not rows or not block.comparable(arm, RIVALS[0]):
        return False
    rate = sum(row["accepted"] for row in rows) / sum(row["attempts"] for row in rows)
    changes = [block.against(test.small, arm, RIVALS[0], test) for test in block.tests]
    return NORMAL[0] <= rate <= NORMAL[1] and all(not change.high < 0 for change in changes)


def _rows(block: Block, arm: str) -> list[Mapping[str, Any]]:
    return [row for cell in block.arms[arm].values() for row in cell.get("samples", ())]


def _diagnosis(block: Block, arm: str) -> str:
    rows = _rows(block, arm)
    head = f"**{arm}, {block.num} images**: samples are accepted as usual, "
    head += "but it is not sure that small lesions are missed less."
    return "\n".join([head, *_against_auditor(rows), *_size_shift(block, arm, rows)])


def _against_auditor(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell whether the gate's overlap means the same to a segmenter that took no part."""
    judged = [(row["iou"], row["auditor"]) for row in rows if row["accepted"] and row["auditor"] is not None]
    if len(judged) < 10:
        return ["- Gate against auditor: too few samples were audited (arm `standard` trains the auditor)."]
    ious, seen = np.array(judged).T
    parts = []
    for low, high in zip((0.0, *LEVELS), LEVELS, strict=False):
        held = (ious > low) & (ious <= high)
        if held.sum() >= 5:
            parts.append(
                f"{seen[held].mean():.2f} where the gate says {low:.1f} to {min(high, 1):.1f} (n = {held.sum()})"
            )
    unseen = float((seen < 0.3).mean())
    easy = float((seen > 0.7).mean())
    told = f"- Gate against auditor: the auditor's overlap is {'; '.join(parts)}."
    told += f" It misses {unseen:.0%} of accepted lesions, and finds {easy:.0%} at an overlap above 0.7:"
    if unseen > 0.4:
        return [told + " many are accepted that it does not see; either they are hard, which is wanted, or not there."]
    return [told + (" most are easy for it, and teach it little." if easy > 0.6 else " neither too easy nor unseen.")]


def _size_shift(block: Block, arm: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tell how sizes of accepted lesions differ from planned ones and from the cohort's."""
    planned = np.array([row["extent"] for row in rows])
    passed = np.array([row["extent"] for row in rows if row["accepted"]])
    real = np.array([one for cell in block.arms[arm].values() for one in cell.get("real_extents", ())])
    if not len(passed) or not len(real):
        return []
    cut = np.quantile(real, 1 / 3)
    named = (("planned", planned), ("accepted", passed), ("real in the cohort", real))
    thirds = [f"{name}: {np.median(one):.0f}, {(one < cut).mean():.0%}" for name, one in named]
    return [f"- Sizes (median extent, share below the smallest third of real ones): {'; '.join(thirds)}."]
