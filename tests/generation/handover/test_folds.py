"""Folds hold out every real case once and keep patients together."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_diffaug.generation.handover.folds import draw_folds
from monai_diffaug.generation.handover.real import RealCase


def cases(count: int, patients: int | None = None) -> list[RealCase]:
    """Return that many cases; of some patients, the first of whom has half of them."""
    groups = [None if patients is None else f"p{max(0, n - count // 2) % patients}" for n in range(count)]
    return [RealCase(f"r{n:02d}", "training", Path(), Path(), f"r{n:02d}", group) for n, group in enumerate(groups)]


@pytest.mark.parametrize("patients", [None, 7])
@pytest.mark.parametrize("count", [2, 5])
def test_every_case_is_held_out_once(patients, count):
    folds = draw_folds(cases(23, patients), count)
    assert sorted(case.id for fold in folds for case in fold) == [case.id for case in cases(23)]
    assert len(folds) == count and all(folds)


def test_folds_are_alike_in_size():
    assert sorted(map(len, draw_folds(cases(23), 5))) == [4, 4, 5, 5, 5]


def test_patients_stay_together():
    folds = [{case.group for case in fold} for fold in draw_folds(cases(24, 6), 3)]
    assert sum(map(len, folds)) == 6


def test_the_seed_decides_not_the_order():
    one = draw_folds(cases(20), 4, seed=3)
    assert one == draw_folds(cases(20)[::-1], 4, seed=3) != draw_folds(cases(20), 4, seed=4)


@pytest.mark.parametrize("count", [0, 1, 6])
def test_too_few_or_too_many(count):
    with pytest.raises(ValueError, match="as many groups of real cases, 2 at least; there are 5"):
        draw_folds(cases(5), count)
