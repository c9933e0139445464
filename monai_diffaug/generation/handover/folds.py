"""Cross-validation folds over real cases; what is synthetic is never validated on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_diffaug.generation.handover.case_sets import CaseSet
from monai_diffaug.generation.handover.real import RealCase


def draw_folds(cases: Sequence[RealCase], count: int, seed: int = 0) -> list[list[RealCase]]:
    """Return the cases to hold out in each fold: every case once, each patient's together, folds alike in size.

    Args:
        cases: the real ones.
        count: number of folds, 2 or more.
        seed: same seed, same folds, whatever the order of the cases.

    Raises:
        ValueError: when there are more folds than patients.
    """
    patients: dict[tuple[bool, str], list[RealCase]] = {}
    for case in sorted(cases, key=lambda case: case.id):
        patients.setdefault((case.group is None, case.group or case.id), []).append(case)
    if not 2 <= count <= len(patients):
        raise ValueError(f"{count} folds need as many groups of real cases, 2 at least; there are {len(patients)}")
    names = sorted(patients)
    names = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    folds: list[list[RealCase]] = [[] for _ in range(count)]
    for name in sorted(names, key=lambda name: -len(patients[name])):  # the largest first, into the smallest fold
        min(folds, key=len).extend(patients[name])
    return folds


def own_split(cases: CaseSet) -> list[list[RealCase]]:
    """Return the real data's own validation cases as the one fold.

    Raises:
        ValueError: when they have none.
    """
    held = cases.of("validation")
    if not held or not cases.of("training"):
        raise ValueError("the real cases have no train and val of their own; give a number of --folds")
    return [held]


def splits(cases: CaseSet, folds: Sequence[Sequence[RealCase]]) -> list[dict[str, list[str]]]:
    """Return the ids to train and to validate on in each fold; test cases, and what shows them, are in none."""
    used, test = cases.of("training", "validation"), cases.of("test")
    found = []
    for held in folds:
        validate = sorted(case.id for case in held)
        train = sorted({case.id for case in used} - set(validate))
        beside = sorted(one.id for one in cases.beside([*held, *test]))
        found.append({"train": [*train, *beside], "val": validate})
    return found
