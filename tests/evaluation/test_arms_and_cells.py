"""Which trainings there are, in which order, and how several processes share them."""

from __future__ import annotations

import pytest

from monai_diffaug.evaluation.arms import ARMS, Arm, Synthetic, find_arms
from monai_diffaug.evaluation.cells import Cell, claimed, ranked


def test_names_of_arms_and_of_sets_tell_them_apart():
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    made = {arm.synthetic for arm in ARMS if arm.synthetic and not arm.synthetic.both}
    files = {(one.gate, one.targeted, one.cleaned, one.own_shapes, one.prompts, one.ratio) for one in made}
    assert len({one.key() for one in made}) == len(files)


def test_a_set_on_both_backgrounds_is_made_of_two_halves():
    halves = Synthetic(both=True, ratio=3).parts()
    assert [one.cleaned for one in halves] == [False, True]
    assert sum(one.ratio for one in halves) == 3


@pytest.mark.parametrize("names", [["standard", "nonsense"], ["standard", "standard"]])
def test_arms_that_do_not_exist_or_are_named_twice_are_refused(names):
    with pytest.raises(ValueError, match="arms are standard, copy_paste"):
        find_arms(names)


def test_whole_rows_come_first_and_arms_without_samples_once():
    arms = find_arms(["standard", "gated"])
    cells = ranked(arms, [50, 25], 2, [1.0, 3.0])
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert [cell.key for cell in cells][:3] == ["n50_standard_s0", "n50_gated_x1_s0", "n50_gated_x3_s0"]
    assert len(cells) == 2 * 2 * 3
    assert len({cell.key for cell in cells}) == len(cells)


def test_a_ratio_changes_the_set_and_nothing_else():
    cell = Cell(Arm("gated", Synthetic()), 50, 0, 5.0)
    assert cell.told.synthetic == Synthetic(ratio=5.0)
    assert Cell(Arm("standard"), 50, 0).told == Arm("standard")


def test_a_claim_holds_as_long_as_it_is_held(tmp_path):
    path = tmp_path / "cells" / "a.json"
    with claimed(path) as first, claimed(path) as second:
        assert (first, second) == (True, False)
    with claimed(path) as again:
        assert again
