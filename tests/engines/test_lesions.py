"""Lesions of every class in the labels of a data set."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.engines.lesions import LabelledCases, bank_masks
from monai_diffaug.synthesis import Abnormality
from tests.toys import ball, toy_image

CYST, TUMOUR = Abnormality("cyst", 1), Abnormality("tumour", 2)
PLACES = {2: ((25, 25), (25, 44)), 3: ((14, 10, 10), (14, 10, 21))}
RADIUS = {2: 9, 3: 5}


def case(spatial_dims: int, *values: int) -> dict:
    """Return a case with balls that touch each other, of the given values."""
    label = np.zeros(toy_image(spatial_dims).shape[1:], np.uint8)
    for value, centre in zip(values, PLACES[spatial_dims], strict=False):
        label[ball(spatial_dims, RADIUS[spatial_dims], centre=centre)] = value
    return {"name": "a", "image": toy_image(spatial_dims), "label": label, "spacing": None}


def test_neighbours_of_two_classes_are_two_lesions(spatial_dims):
    one = case(spatial_dims, 1, 2)
    cases = LabelledCases([one], [CYST, TUMOUR])
    assert [lesion.name for lesion in cases.lesions] == ["cyst", "tumour"]
    for lesion, value in zip(cases.lesions, (1, 2), strict=True):
        assert (cases.mask(lesion) == (one["label"] == value)).all()
        assert cases.extent(lesion) == 2 * RADIUS[spatial_dims] + 1
    assert (cases.classes(0) == np.stack([one["label"] == value for value in (1, 2)])).all()


def test_one_class_alone(spatial_dims):
    cases = LabelledCases([case(spatial_dims, 1, 2)], [CYST, TUMOUR]).only("tumour")
    assert [lesion.name for lesion in cases.lesions] == ["tumour"] and cases.classes(0).shape[0] == 1


def test_a_binary_label_is_of_the_only_class(spatial_dims):
    assert len(LabelledCases([case(spatial_dims, 255)], [CYST]).lesions) == 1


def test_organ_and_protected_values_are_no_lesions(spatial_dims):
    one = case(spatial_dims, 1, 7)
    one["label"][one["label"] == 0] = 4
    cases = LabelledCases([one], [CYST], organ=[4], protected=[7])
    assert [lesion.name for lesion in cases.lesions] == ["cyst"]
    assert (cases.place(0) == (one["label"] == 4)).all()


def test_a_value_that_is_nobodys_is_refused(spatial_dims):
    with pytest.raises(ValueError, match=r"label of a holds the value 2, but the bundle's lesions are 1 \(cyst\)"):
        LabelledCases([case(spatial_dims, 1, 2)], [CYST])


def test_specks_are_not_drawn_but_known(spatial_dims):
    one = case(spatial_dims, 1)
    one["label"][(0,) * spatial_dims] = 1
    cases = LabelledCases([one], [CYST])
    assert len(cases.lesions) == 1 and int(cases.parts[0].max()) == 2


def test_masks_have_the_sizes_of_the_lesions(spatial_dims):
    sampler = bank_masks(LabelledCases([case(spatial_dims, 1)], [CYST]))
    mask = sampler(np.ones((64,) * spatial_dims, bool), (1.0,) * spatial_dims, np.random.default_rng(0))
    extent = 2 * RADIUS[spatial_dims] + 1
    assert all(extent - 2 <= int(mask.any(tuple(set(range(spatial_dims)) - {axis})).sum()) <= extent + 2
               for axis in range(spatial_dims))  # fmt: skip
