"""Masks that look like labelled lesions: outlines and sizes, by class."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.engines.shapes import observed_masks
from monai_diffaug.synthesis import Abnormality, MasksByClass, ObservedShape


def bar(shape: tuple[int, ...], length: int, *, value: int = 1) -> np.ndarray:
    """Return a label with a bar ``length`` long on the last axis, 8 on the others."""
    label = np.zeros(shape, np.uint8)
    label[(*[slice(4, 12)] * (len(shape) - 1), slice(4, 4 + length))] = value
    return label


def labelled(label: np.ndarray, names: tuple[str, ...] = ("polyp",), **more) -> LabelledCases:
    case = {"name": "a", "image": np.zeros((1, *label.shape)), "label": label, **more}
    return LabelledCases([case], [Abnormality(name, value) for value, name in enumerate(names, start=1)])


def sides(mask: np.ndarray) -> list[int]:
    found = np.nonzero(mask)
    return sorted(int(one.max() - one.min()) + 1 for one in found)


def test_masks_have_the_outlines_and_the_share_of_the_image(spatial_dims):
    shape = (60, 100) if spatial_dims == 2 else (60, 64, 100)
    masks = observed_masks(labelled(bar(shape, 24)))
    drawn = [
        sides(masks(np.ones([2 * n for n in shape], bool), (1.0,) * spatial_dims, np.random.default_rng(seed)))
        for seed in range(12)
    ]
    longest = np.array([one[-1] for one in drawn]) / 120
    assert np.all((longest > 0.4 / 1.2) & (longest < 0.4 * 1.2)) and longest.std() > 0.01
    assert all(2.5 < one[-1] / one[0] < 3.6 for one in drawn)


def test_outlines_of_long_pixels_are_made_even(spatial_dims):
    shape = (60, 100) if spatial_dims == 2 else (60, 64, 100)
    spacing = (*(1.0,) * (spatial_dims - 1), 0.5)
    masks = observed_masks(labelled(bar(shape, 16), spacing=spacing))
    mask = masks(np.ones((120,) * spatial_dims, bool), (1.0,) * spatial_dims, np.random.default_rng(0))
    assert sides(mask)[-1] <= 1.3 * sides(mask)[0]


def test_each_class_has_its_own():
    label = bar((64, 64), 8) + np.flip(bar((64, 64), 40, value=2))
    masks = observed_masks(labelled(label, ("cyst", "tumour")))
    drawn = {
        name: sides(masks.of(name)(np.ones((64, 64), bool), (1, 1), np.random.default_rng(1)))[-1]
        for name in ("cyst", "tumour")
    }
    assert drawn["cyst"] < 12 < 30 < drawn["tumour"]
    assert masks.about["lesions"] == {"cyst": 1, "tumour": 1}


def test_very_large_lesions_are_drawn_smaller():
    masks = observed_masks(labelled(bar((60, 60), 56)))
    drawn = [sides(masks(np.ones((60, 60), bool), (1, 1), np.random.default_rng(seed)))[-1] for seed in range(8)]
    assert max(drawn) <= 0.62 * 60


def test_labels_without_lesions_are_refused():
    with pytest.raises(ValueError, match="none of 1 labels holds a polyp of 64 pixels or more"):
        observed_masks(labelled(np.zeros((64, 64), np.uint8)))


def test_other_outlines_and_other_sizes_have_other_digests():
    square, disc = np.ones((5, 5), bool), np.ones((4, 5), bool)
    shapes = [ObservedShape(square, 0.2), ObservedShape(square, 0.3), ObservedShape(disc, 0.2)]
    made = [MasksByClass.from_shapes({"polyp": [one]}).about["sha256"] for one in (*shapes, shapes[0])]
    assert len(set(made[:3])) == 3 and made[0] == made[3]
