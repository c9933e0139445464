"""Tables from ``results.json`` alone: Markdown for people, and what figures are drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from monai_diffaug.evaluation.arms import ARMS
from monai_diffaug.evaluation.figures_of_merit import IMAGE_FIGURES, TestFacts, TestFigures
from monai_diffaug.evaluation.intervals import Estimate, average, difference, relative

RIVALS = ("standard", "copy_paste")
"""Arms that the others are compared with."""


@dataclass(frozen=True)
class Block:
    """All arms at one number of real images, with the trainings that they have in common.

    Args:
        results: content of ``results.json``.
        num: real images.
    """

    results: Mapping[str, Any]
    num: int

    @cached_property
    def arms(self) -> dict[str, dict[int, Mapping[str, Any]]]:
        """Arm -> seed -> cell, in the order of ``ARMS``; where ratios differ, synthetic arms tell theirs."""
        order = {arm.name: index for index, arm in enumerate(ARMS)}
        own = [cell for cell in self.results["cells"] if cell["num"] == self.num]
        mixed = len({cell["ratio"] for cell in own if cell["ratio"] is not None}) > 1
        found: dict[str, dict[int, Mapping[str, Any]]] = {}
        for cell in sorted(own, key=lambda one: (order.get(one["arm"], 99), one["ratio"] or 0, one["seed"])):
            name = f"{cell['arm']} {cell['ratio']:g}x" if mixed and cell["ratio"] is not None else cell["arm"]
            found.setdefault(name, {})[cell["seed"]] = cell
        return found

    @property
    def tests(self) -> list[TestFacts]:
        return [TestFacts(one) for one in self.results["tests"]]

    def estimate(self, figure: str, arm: str, test: TestFacts, rival: str | None = None) -> Estimate:
        """Return a figure of an arm on a test set; with a rival both over the seeds that they share.

        Args:
            figure: key of ``IMAGE_FIGURES``, or a bin of lesions for its miss rate.
        """
        seeds = sorted(set(self.arms[arm]) & set(self.arms[rival or arm]))
        figures = TestFigures(test, seeds)
        cells = {seed: _of_test(self.arms[arm][seed], test.name) for seed in seeds}
        return figures.image_figure(cells, figure) if figure in IMAGE_FIGURES else figures.miss_rate(cells, figure)

    def against(self, figure: str, arm: str, rival: str, test: TestFacts, *, share: bool = False) -> Estimate:
        """Return the difference to a rival, or the relative change."""
        one, other = self.estimate(figure, arm, test, rival), self.estimate(figure, rival, test, arm)
        return relative(one, other) if share else difference(one, other)

    def comparable(self, arm: str, rival: str) -> bool:
        return arm != rival and rival in self.arms and bool(set(self.arms[arm]) & set(self.arms[rival]))


def _of_test(cell: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(one for one in cell["tests"] if one["test"] == name)


def write_tables(results: Mapping[str, Any]) -> str:
    """Return the report's text.

    Args:
        results: content of ``results.json``.
    """
    nums = sorted({cell["num"] for cell in results["cells"]})
    parts = [_head(results)]
    for num in nums:
        block = Block(results, num)
        parts += [f"## {num} real images", _overall(block)]
        parts += [_small(block, test) for test in block.tests]
        parts += [_missed(block)] if len(block.tests) > 1 else []
        parts += [_shifted(block, test) for test in block.tests if any(_shifts(block, test).values())]
        parts.append(_sets(block))
    return "\n\n".join(parts) + "\n"


def _head(results: Mapping[str, Any]) -> str:
    about, budget = results["about"], results["cells"][0]["budget"]
    segmenter = about.get("segmenter", "MONAI U-Net")
    return "\n".join(
        [
            f"# Evidence: {about['bundle']} {about['bundle_version']}",
            "",
            f"{len(results['cells'])} segmenters ({segmenter}), each {budget['steps']} steps of "
            f"{budget['batch_size']} images at {budget['size']} cells, the same augmentation in all arms. "
            "Dice in points of 100. In brackets "
            "95 % intervals by bootstrap over patients or sequences and over trainings.",
            "",
            f"> {about['intended_use'] or 'Research only, not for diagnosis.'}",
        ]
    )


def _overall(block: Block) -> str:
    """Return Dice by test set, the mean of all, and the differences to the rivals."""
    tests = block.tests
    heads = ["arm", "trainings", *(f"Dice {test.name}" for test in tests)]
    several = len(tests) > 1
    heads += [*(["mean"] if several else []), *(f"mean less {rival}" for rival in RIVALS)]
    heads += [f"{IMAGE_FIGURES[name]} {test.name}" for test in tests for name in ("iou", "hd95", "false_positives")]
    rows = []
    for arm, cells in block.arms.items():
        own = [block.estimate("dice", arm, test) for test in tests]
        row = [arm, str(len(cells)), *(one.text(100) for one in own)]
        row += [average(own).text(100)] if several else []
        row += [_versus(block, arm, rival) for rival in RIVALS]
        for test in tests:
            row.append(f"{100 * block.estimate('iou', arm, test).value:.1f}")
            row.append(f"{block.estimate('hd95', arm, test).value:.1f}")
            row.append(f"{block.estimate('false_positives', arm, test).value:.2f}")
        rows.append(row)
    return _table(heads, rows)


def _versus(block: Block, arm: str, rival: str) -> str:
    if not block.comparable(arm, rival):
        return ""
    return average([block.against("dice", arm, rival, test) for test in block.tests]).text(100, sign=True)


def _small(block: Block, test: TestFacts) -> str:
    """Return miss rates by bin, and how much rarer misses of small and flat lesions are than in the first rival."""
    rival = RIVALS[0]
    counts = TestFigures(test, [0]).counts()
    small = test.small
    heads = ["arm", *(f"{name} (n = {count})" for name, count in counts.items())]
    heads += [f"{small}, change against {rival}", f"flat, change against {rival}"]
    rows = []
    for arm in block.arms:
        row = [arm, *(block.estimate(name, arm, test).text(100) for name in counts)]
        for part in (small, "flat"):
            there = block.comparable(arm, rival)
            row.append(
                block.against(part, arm, rival, test, share=True).text(100, sign=True, digits=0) if there else ""
            )
        rows.append(row)
    return f"Missed lesions of {test.name}, % (less than 30 % of the lesion found), by size\n\n" + _table(heads, rows)


def _missed(block: Block) -> str:
    """Return miss rates of small and flat lesions, means of all test sets, and changes against the first rival."""
    tests, rival = block.tests, RIVALS[0]
    names = list(dict.fromkeys(test.small for test in tests))
    heads = [
        "arm",
        *(f"{part}{end}" for part in (" or ".join(names), "flat") for end in ("", f", change against {rival}")),
    ]
    rows = []
    for arm in block.arms:
        row = [arm]
        for parts in ([test.small for test in tests], ["flat"] * len(tests)):
            pairs = list(zip(parts, tests, strict=True))
            row.append(average([block.estimate(part, arm, test) for part, test in pairs]).text(100))
            there = block.comparable(arm, rival)
            row.append(_change(block, arm, rival, pairs).text(100, sign=True, digits=0) if there else "")
        rows.append(row)
    return "Missed lesions, %, mean of all test sets\n\n" + _table(heads, rows)


def _change(block: Block, arm: str, rival: str, pairs: Sequence[tuple[str, TestFacts]]) -> Estimate:
    """Return the relative change of a mean miss rate."""
    one = average([block.estimate(part, arm, test, rival) for part, test in pairs])
    return relative(one, average([block.estimate(part, rival, test, arm) for part, test in pairs]))


def _shifts(block: Block, test: TestFacts) -> dict[str, dict[str, list[float]]]:
    """Return arm -> change -> its mean Dice of each training."""
    found: dict[str, dict[str, list[float]]] = {}
    for arm, cells in block.arms.items():
        told = [one for cell in cells.values() for one in cell.get("shifts", ()) if one["test"] == test.name]
        found[arm] = {}
        for one in told:
            for name, dice in one["dice"].items():
                known = [value for value in dice if value is not None]
                found[arm].setdefault(name, []).append(sum(known) / max(1, len(known)))
    return found


def _shifted(block: Block, test: TestFacts) -> str:
    """Return Dice on changed images, beside that on the images as they are."""
    found = _shifts(block, test)
    names = list(next(one for one in found.values() if one))
    rows = []
    for arm, dice in found.items():
        if dice:
            plain = f"{100 * block.estimate('dice', arm, test).value:.1f}"
            rows.append([arm, plain, *(f"{100 * sum(dice[name]) / len(dice[name]):.1f}" for name in names)])
    return f"Dice of {test.name} on changed images\n\n" + _table(["arm", "as they are", *names], rows)


def _sets(block: Block) -> str:
    """Return what was synthesized for each arm, summed over trainings."""
    rows = []
    for arm, cells in block.arms.items():
        sets = [cell["synthetic"] for cell in cells.values() if cell["synthetic"]]
        if sets:
            planned, attempts, accepted, used = (
                sum(one[key] for one in sets) for key in ("planned", "attempts", "accepted", "used")
            )
            rows.append([arm, str(planned), str(attempts), str(accepted), str(used)])
    if not rows:
        return "No arm used synthetic images."
    return "Synthetic images, all trainings together\n\n" + _table(
        ["arm", "planned", "attempts", "accepted", "used"], rows
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
