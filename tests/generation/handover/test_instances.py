"""Lesions are told apart by connection, painted ones by their record; no pixel is lost or had twice."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.generation.handover.class_table import ClassTable
from monai_diffaug.generation.handover.coco import run_lengths
from monai_diffaug.generation.handover.instances import painted, standing
from tests.toys import ball

TABLE = ClassTable({"polyp": 1, "cyst": 2})


def record(name: str, mask: np.ndarray, *, accepted: bool = True) -> dict:
    places = np.argwhere(mask)
    box = [places.min(0).tolist(), (places.max(0) + 1).tolist()]
    return {"class": name, "bbox": box, "attempts": [{"accepted": False}, {"accepted": accepted}]}


def grid(spatial_dims: int) -> tuple[int, ...]:
    return (24,) * spatial_dims


def test_connected_parts_of_each_class(spatial_dims):
    one, other = (ball(spatial_dims, 3, centre=[n] * spatial_dims, shape=grid(spatial_dims)) for n in (5, 15))
    label = one * 1 + other * 2
    label[(20,) * spatial_dims] = label[(21,) * spatial_dims] = 1  # neighbours by a corner are one lesion
    found = list(standing(label))
    assert sorted((lesion.value, int(lesion.mask.sum())) for lesion in found) == sorted(
        [(1, int(one.sum())), (1, 2), (2, int(other.sum()))]
    )
    assert (sum(lesion.mask * lesion.value for lesion in found) == label).all()


def test_a_small_lesion_in_a_large_ones_box(spatial_dims):
    large = np.zeros(grid(spatial_dims), bool)
    large[:2], large[:, :2], large[-2:] = True, True, True  # a box around the small one
    small = ball(spatial_dims, 3, centre=[12] * spatial_dims, shape=grid(spatial_dims))
    refused = record("polyp", small, accepted=False)
    line = {"abnormalities": [record("polyp", large), refused, record("cyst", small)]}
    found = {one.value: one.mask for one in painted(large | small, line, TABLE)}
    assert set(found) == {1, 2} and (found[1] == large).all() and (found[2] == small).all()


def test_a_lesion_of_several_parts_is_one(spatial_dims):
    mask = np.zeros(grid(spatial_dims), bool)
    mask[(2,) * spatial_dims] = mask[(9,) * spatial_dims] = True
    (found,) = painted(mask, {"abnormalities": [record("cyst", mask)]}, TABLE)
    assert (found.mask == mask).all() and found.value == 2


@pytest.mark.parametrize("fill", [0, 1, None])
def test_run_lengths_give_the_mask_back(spatial_dims, fill):
    shape = grid(spatial_dims)
    mask = np.full(shape, fill) if fill is not None else np.random.default_rng(0).integers(0, 2, shape)
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    assert (np.repeat(np.arange(len(counts)) % 2, counts).reshape(shape, order="F") == mask).all()
