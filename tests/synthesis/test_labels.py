"""Merging a new abnormality into a label map."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis.labels import blank, label_value, merge
from tests.toys import SHAPES, ball


def organ_label(spatial_dims, dtype=np.int16):
    label = np.zeros(SHAPES[spatial_dims], dtype)
    label[: label.shape[0] // 2] = 3
    label[label.shape[0] // 2 :] = 5
    return label


def test_the_mask_gets_the_value_and_the_rest_stays(spatial_dims):
    label, mask = organ_label(spatial_dims), ball(spatial_dims, 6)
    before = label.copy()
    merged = merge(label, mask, 7)
    assert (merged[mask] == 7).all() and (merged[~mask] == label[~mask]).all()
    assert merged.dtype == label.dtype and (label == before).all() and not np.shares_memory(merged, label)


def test_protected_values_stay(spatial_dims):
    label, mask = organ_label(spatial_dims), ball(spatial_dims, 6)
    merged = merge(label, mask, 7, protected=(5,))
    assert ((merged == 5) == (label == 5)).all()
    assert ((merged == 7) == (mask & (label == 3))).all()
    assert (merge(label, mask, 7, protected=(3, 5)) == label).all()


@pytest.mark.parametrize(("value", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16)])
def test_without_a_label_one_is_made(spatial_dims, value, dtype):
    mask = ball(spatial_dims, 4)
    merged = merge(blank(mask.shape, [value]), mask, value)
    assert merged.dtype == dtype and ((merged == value) == mask).all() and set(np.unique(merged)) == {0, value}


def test_a_label_of_0_and_255_stays_binary(spatial_dims):
    mask = ball(spatial_dims, 4)
    label = np.zeros(mask.shape, np.uint8)
    label[0] = 255
    merged = merge(label, mask, label_value(label, 1))
    assert set(np.unique(merged)) == {0, 255} and (merged[mask] == 255).all()


@pytest.mark.parametrize(
    ("values", "value"),
    [((0, 255), 255), ((255,), 255), ((0, 1), 4), ((0, 1, 255), 4), ((0,), 4), ((0, 300), 4), ((-1, 255), 4)],
)
def test_only_0_and_255_is_binary(values, value):
    assert label_value(np.resize(np.array(values, np.int16), (6, 6)), 4) == value


def test_no_label_has_the_class_value():
    assert label_value(None, 4) == 4


def test_a_dtype_that_cannot_hold_the_value_is_refused(spatial_dims):
    mask = ball(spatial_dims, 4)
    with pytest.raises(ValueError, match="does not fit"):
        merge(np.zeros(mask.shape, np.int8), mask, 128)
    assert merge(np.zeros(mask.shape, np.float32), mask, 128).max() == 128


def test_shapes_must_agree(spatial_dims):
    with pytest.raises(ValueError, match="they must be equal"):
        merge(np.zeros((5,) * spatial_dims, np.uint8), ball(spatial_dims, 4), 1)
