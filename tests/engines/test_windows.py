"""Training windows: with a lesion, cutting one, of normal tissue, of whole frames; drawn by number."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from monai_diffaug.engines.windows import TrainingWindow
from monai_diffaug.synthesis.prompts import NORMAL_TEXT
from tests.tiny_training import toy_cases, toy_windows
from tests.toys import GRIDS

KINDS = ("lesion", "cut", "normal", "frame", "bare")


def same(one: TrainingWindow, other: TrainingWindow) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_fit_the_grid_and_each_other(spatial_dims: int, kind: str) -> None:
    windows = toy_windows(spatial_dims)
    for index in range(4):
        one = getattr(windows, kind)(index)
        grid = GRIDS[spatial_dims] * spatial_dims
        assert {one.image.shape, one.lesions.shape, one.label.shape, one.paint.shape} == {(1, *grid)}
        assert one.image.min() >= -1 and one.image.max() <= 1
        for mask in (one.lesions, one.label, one.paint):
            assert set(mask.unique().tolist()) <= {0.0, 1.0}
        assert (one.paint >= one.label).all()
        assert np.isfinite(one.scale) and one.name in ("case0", "case1", "case2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_is_a_draw(spatial_dims: int, kind: str) -> None:
    first, again, other = (getattr(toy_windows(spatial_dims, seed=seed), kind) for seed in (0, 0, 1))
    assert same(first(3), again(3))
    assert not same(first(3), first(4)) and not same(first(3), other(3))


def test_draws_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    toy_windows(2).lesion(0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002


def test_lesions_are_inside_and_described(spatial_dims: int) -> None:
    windows = toy_windows(spatial_dims)
    drawn = [windows.lesion(index) for index in range(6)]
    for one in drawn:
        assert one.label.sum() > 0 and torch.equal(one.label, one.lesions)
        assert "polyp" in one.prompt
    assert {one.name for one in drawn} == {"case0", "case1"}  # they take turns


def test_a_cut_holds_part_of_a_lesion_and_of_its_surroundings(spatial_dims: int) -> None:
    windows = toy_windows(spatial_dims)
    for index in range(6):
        one = windows.cut(index)
        assert 0 < one.lesions.mean() < 1 and "polyp" in one.prompt


def test_normal_tissue_holds_no_lesion_where_it_is_painted(spatial_dims: int) -> None:
    windows = toy_windows(spatial_dims)
    for index in range(6):
        one = windows.normal(index)
        assert one.prompt == NORMAL_TEXT and one.label.sum() > 0
        assert not (one.label * one.lesions).any()


def test_frames_are_painted_from_nothing(spatial_dims: int) -> None:
    windows = toy_windows(spatial_dims)
    for index in range(4):
        one = windows.frame(index)
        assert one.paint.all() and torch.equal(one.label, one.lesions)
        assert ("polyp" in one.prompt) or one.prompt == NORMAL_TEXT


def test_bare_windows_say_nothing_or_everything(spatial_dims: int) -> None:
    windows = toy_windows(spatial_dims)
    drawn = [windows.bare(index) for index in range(24)]
    assert all(one.paint.all() and not one.lesions.any() for one in drawn)
    assert {float(one.label.mean()) for one in drawn} == {0.0, 1.0}


def test_images_full_of_lesions_leave_no_bare_window() -> None:
    full = [{**case, "label": np.ones_like(case["label"])} for case in toy_cases(3)]
    with pytest.raises(ValueError, match="has a lesion-free square"):
        toy_windows(3, cases=full).bare(0)


def test_a_square_that_is_too_small_is_enlarged(spatial_dims: int) -> None:
    cases = toy_cases(spatial_dims)
    for case in cases:
        case["label"][:] = 1
        case["label"][(slice(3, 17),) * spatial_dims] = 0
    window = toy_windows(spatial_dims, cases=cases).bare(0)
    assert not window.lesions.any() and window.scale < 0


def test_data_without_lesions_is_refused() -> None:
    cases = [{**case, "label": 0 * case["label"]} for case in toy_cases(2)]
    with pytest.raises(ValueError, match="none of 2 cases has a lesion"):
        toy_windows(2, cases=cases)


def test_images_full_of_lesions_have_no_normal_tissue() -> None:
    full = [{**case, "label": np.ones_like(case["label"])} for case in toy_cases(2)]
    with pytest.raises(ValueError, match="no normal tissue of a lesion's size"):
        toy_windows(2, cases=full).normal(0)
