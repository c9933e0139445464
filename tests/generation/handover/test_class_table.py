"""Label values get their names; 0 and 255 become 0 and 1, and nothing is guessed."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.generation.handover.class_table import ClassTable


def label(spatial_dims: int, *values: int) -> np.ndarray:
    return np.resize(np.array([0, *values], np.int64), (4,) * spatial_dims)


def test_a_binary_label_is_of_the_one_class(spatial_dims):
    found = ClassTable({"polyp": 3}).plain(label(spatial_dims, 255), "a.png")
    assert found.dtype == np.uint8 and (found == label(spatial_dims, 3)).all()


def test_an_empty_label_stays_so(spatial_dims):
    assert not ClassTable({"polyp": 1, "cyst": 2}).plain(label(spatial_dims), "a.png").any()


def test_255_may_be_a_class(spatial_dims):
    table = ClassTable({"polyp": 1, "other": 255})
    assert (table.plain(label(spatial_dims, 255), "a.png") == label(spatial_dims, 255)).all()


def test_values_become_consecutive(spatial_dims):
    table = ClassTable({"cyst": 300, "polyp": 2})
    plain = table.plain(label(spatial_dims, 300, 2), "a.nii.gz")
    assert plain.dtype == np.uint16
    assert (table.renumbered(plain, table.consecutive()) == label(spatial_dims, 2, 1)).all()


@pytest.mark.parametrize(
    ("classes", "values", "sentence"),
    [
        ({"polyp": 1}, (1, 2), "a.png: no class has the value 2; known are polyp=1; name it with --class"),
        ({"polyp": 1}, (1, 255), "no class has the value 255"),
        ({"polyp": 1}, (-1,), "no class has the value -1"),
        ({"polyp": 1, "cyst": 2}, (255,), "0 and 255 cannot tell the classes polyp, cyst apart"),
    ],
)
def test_what_no_class_has(classes, values, sentence):
    with pytest.raises(ValueError, match=sentence):
        ClassTable(classes).plain(label(2, *values), "a.png")


@pytest.mark.parametrize("classes", [{}, {"a": 0}, {"a": 1, "b": 1}, {"a": 70000}, {"background": 1}])
def test_what_is_no_table(classes):
    with pytest.raises(ValueError, match="class"):
        ClassTable(classes)
