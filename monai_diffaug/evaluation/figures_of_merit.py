"""The figures that tables show, from the raw results of one test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_diffaug.evaluation.intervals import Bootstrap, Estimate

MISSED = 0.3
"""Share found of a lesion below which it is missed."""
AREAS = (0.02, 0.05)
"""Limits of the area bins as shares of the image."""
DIAMETERS = (5.0, 10.0)
"""Limits of the bins in mm, where spacing is known."""
IMAGE_FIGURES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "false_positives": "false positives an image"}


@dataclass(frozen=True)
class TestFacts:
    """A test set as the results describe it: nothing of it is read again.

    Args:
        told: an entry of ``tests`` of the results.
    """

    told: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.told["name"])

    @property
    def lesion_groups(self) -> list[str]:
        """The patient or sequence of each lesion."""
        return [self.told["groups"][one["case"]] for one in self.told["lesions"]]

    @property
    def small(self) -> str:
        """Name of the bin of all small lesions."""
        return list(self.bins())[3]

    def bins(self) -> dict[str, np.ndarray]:
        """Return which lesions each bin holds: by size, all that are small, and flat ones, bool (lesions,)."""
        lesions = self.told["lesions"]
        known = bool(lesions) and all(one["diameter"] is not None for one in lesions)
        sizes = np.array([one["diameter"] if known else one["area"] for one in lesions])
        low, high = DIAMETERS if known else AREAS
        names = [f"{low:g} mm", f"{high:g} mm"] if known else [f"{100 * low:g} %", f"{100 * high:g} %"]
        contrast = np.array([one["contrast"] for one in lesions])
        flat = contrast <= np.quantile(contrast, 1 / 3) if lesions else np.zeros(0, bool)
        return {
            f"< {names[0]}": sizes < low,
            f"{names[0]} to {names[1]}": (sizes >= low) & (sizes < high),
            f"> {names[1]}": sizes >= high,
            f"< {names[1]}": sizes < high,
            "flat": flat,
            "all": np.ones(len(sizes), bool),
        }


class TestFigures:
    """Figures of arms on one test set, over the same bootstrap draws.

    Args:
        facts: the test set.
        seeds: trainings that every arm has.
    """

    def __init__(self, facts: TestFacts, seeds: Sequence[int]) -> None:
        self.facts, self.seeds = facts, tuple(seeds)
        # Two bootstraps with one seed: the same patients are drawn for images and for lesions.
        self._images = Bootstrap(facts.told["groups"], len(seeds))
        self._groups = sorted(set(facts.told["groups"]))
        self._bins = facts.bins()
        self._lesions = self._of_lesions()

    def _of_lesions(self) -> Bootstrap:
        made = Bootstrap(self._groups, len(self.seeds))
        index = {name: number for number, name in enumerate(self._groups)}
        made.rows = made.rows[:, [index[name] for name in self.facts.lesion_groups]]
        return made

    def image_figure(self, cells: Mapping[int, Mapping[str, Any]], name: str) -> Estimate:
        """Return a mean over images.

        Args:
            cells: seed -> the cell's raw figures of this test set.
            name: key of ``IMAGE_FIGURES``.
        """
        rows = [[np.nan if v is None else v for v in cells[seed]["images"][name]] for seed in self.seeds]
        return self._images.mean(np.array(rows, float))

    def miss_rate(self, cells: Mapping[int, Mapping[str, Any]], part: str) -> Estimate:
        """Return the share of a bin's lesions of which less than ``MISSED`` was found."""
        rows = np.array([cells[seed]["recalls"] for seed in self.seeds], float)
        return self._lesions.mean((rows < MISSED).astype(float), self._bins[part].astype(float))

    def counts(self) -> dict[str, int]:
        """Return how many lesions each bin holds."""
        return {name: int(held.sum()) for name, held in self._bins.items()}
