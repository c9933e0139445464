"""Changed test images: each change does what its name says, more at greater strength."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.evaluation.shifts import shift_series
from monai_diffaug.synthesis import ImageFormat
from tests.toys import toy_image


def speckled(spatial_dims, channels, dtype=np.uint8):
    """Return a toy image with detail that a blur can take."""
    image = toy_image(spatial_dims, channels=channels).astype(int)
    speckles = np.random.default_rng(0).integers(-9, 10, image.shape)
    return (image + speckles).clip(0, 255).astype(dtype)


FORMATS = {2: ImageFormat(2, 3, (0.0, 255.0)), 3: ImageFormat(3, 1, (-100.0, 300.0))}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_dtype_shape_and_range_stay_and_strength_rises(spatial_dims, dtype):
    images = FORMATS[spatial_dims]
    image = speckled(spatial_dims, images.channels, dtype)
    changes: dict[str, list[float]] = {}
    for shift in shift_series():
        changed = shift(image, images)
        assert (changed.dtype, changed.shape) == (image.dtype, image.shape)
        assert images.intensity_range[0] <= changed.min() <= changed.max() <= images.intensity_range[1]
        distance = float(np.abs(changed.astype(float) - image).mean())
        changes.setdefault(shift.name.split()[0], []).append(distance)
    assert set(changes) == {"colour", "blur", "noise", "jpeg"}
    for name, distances in changes.items():
        assert distances[0] <= distances[1] < distances[2], name  # a tiny volume is too coarse for little blur


def test_blur_takes_detail_and_noise_adds_it():
    images = FORMATS[2]
    image = speckled(2, 3)
    detail = {one.name: np.abs(np.diff(one(image, images).astype(float), axis=-1)).mean() for one in shift_series()}
    plain = np.abs(np.diff(image.astype(float), axis=-1)).mean()
    assert detail["blur 20"] < detail["blur 5"] < plain < detail["noise 0.12"]


def test_the_same_image_is_changed_the_same_way():
    images = FORMATS[2]
    image = toy_image(2, channels=3)
    for shift in shift_series():
        assert np.array_equal(shift(image, images), shift(image, images))
