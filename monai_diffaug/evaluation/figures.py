"""Pictures of the tables: Dice of every arm, and which lesions are missed; from ``results.json`` alone."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from monai_diffaug.evaluation.intervals import Estimate, average
from monai_diffaug.evaluation.report import Block


def draw_figures(results: Mapping[str, Any]) -> dict[str, bytes]:
    """Return file name -> PNG: for each number of real images Dice with intervals, and miss rates by size.

    Args:
        results: content of ``results.json``.
    """
    nums = sorted({cell["num"] for cell in results["cells"]})
    return {f"arms_n{num}.png": _draw(Block(results, num)) for num in nums}


def _draw(block: Block) -> bytes:
    from matplotlib.figure import Figure

    arms = list(block.arms)[::-1]
    figure = Figure(figsize=(11, 1.4 + 0.36 * len(arms)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for test in block.tests:
        _bars(left, arms, [block.estimate("dice", arm, test) for arm in arms], test.name)
    mean = [average([block.estimate("dice", arm, test) for test in block.tests]) for arm in arms]
    if len(block.tests) > 1:
        left.plot([100 * one.value for one in mean], range(len(arms)), "k|", markersize=14, label="mean")
    small = block.tests[0].small
    for test in block.tests:
        _bars(right, arms, [block.estimate(small, arm, test) for arm in arms], test.name)
    left.set_xlabel("Dice, points of 100")
    right.set_xlabel(f"missed lesions {small}, %")
    left.set_yticks(range(len(arms)), arms)
    for axes in (left, right):
        axes.grid(axis="x", alpha=0.3)
    left.legend(loc="best", fontsize="small")
    figure.suptitle(f"{block.num} real images; 95 % intervals over patients and trainings", fontsize="medium")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, metadata={"Software": "monai_diffaug"})
    return stream.getvalue()


def _bars(axes: Any, arms: list[str], estimates: list[Estimate], name: str) -> None:
    """Draw one row an arm: a point and its interval."""
    values = [100 * one.value for one in estimates]
    spans = [[100 * (one.value - one.low) for one in estimates], [100 * (one.high - one.value) for one in estimates]]
    axes.errorbar(values, range(len(arms)), xerr=spans, fmt="o", markersize=4, capsize=2, alpha=0.8, label=name)
