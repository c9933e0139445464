"""Image formats: what fits passes in silence, what does not is refused with its remedy; values are never guessed."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis import ImageFormat
from tests.toys import toy_image


def frames(spatial_dims, channels=1, intensity_range=(0.0, 255.0)):
    return ImageFormat(spatial_dims, channels, intensity_range)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64])
def test_a_fitting_image_passes(spatial_dims, dtype):
    assert frames(spatial_dims).check(toy_image(spatial_dims, dtype=dtype)) is None


@pytest.mark.parametrize(("needed", "came", "message"), [(3, 1, "1 channel but.*3 .RGB.*convert it to RGB"),
                                                        (1, 3, "3 channels but.*greyscale"),
                                                        (2, 4, "select its channels")])  # fmt: skip
def test_wrong_channels(spatial_dims, needed, came, message):
    with pytest.raises(ValueError, match=message):
        frames(spatial_dims, needed).check(toy_image(spatial_dims, channels=came))


def test_wrong_number_of_axes(spatial_dims):
    image = toy_image(spatial_dims)
    for wrong in (image[0], image[None]):
        with pytest.raises(ValueError, match=f"takes {spatial_dims}D images"):
            frames(spatial_dims).check(wrong)


@pytest.mark.parametrize("side", [0, 1, 15])
def test_a_side_under_16_is_refused(spatial_dims, side):
    for axis in range(spatial_dims):
        shape = [20] * spatial_dims
        shape[axis] = side
        with pytest.raises(ValueError, match="16 pixels or more"):
            frames(spatial_dims).check(np.zeros((1, *shape), np.uint8))
    frames(spatial_dims).check(np.zeros((1, *[16] * spatial_dims), np.uint8))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_refused(spatial_dims, wrong):
    image = toy_image(spatial_dims, dtype=np.float32)
    image[(0, *[3] * spatial_dims)] = wrong
    with pytest.raises(ValueError, match="NaN or infinite"):
        frames(spatial_dims).check(image)


@pytest.mark.parametrize("wrong", [-1.0, 256.0])
def test_values_out_of_range_are_refused_and_named(spatial_dims, wrong):
    image = toy_image(spatial_dims, dtype=np.float32)
    image[(0, *[3] * spatial_dims)] = wrong
    with pytest.raises(ValueError, match=f"{wrong:g}.*0 to 255.*intensity_range="):
        frames(spatial_dims).check(image)


def test_a_rounding_error_beyond_the_range_is_none(spatial_dims):
    image = np.full((1, *[16] * spatial_dims), np.float32(0.1))
    assert float(image.max()) > 0.1
    frames(spatial_dims, intensity_range=(0.0, 0.1)).check(image)


@pytest.mark.parametrize("dtype", [bool, complex, object, "U3"])
def test_what_holds_no_numbers_is_refused(spatial_dims, dtype):
    with pytest.raises(TypeError, match="integer or floating"):
        frames(spatial_dims).check(np.zeros((1, *[16] * spatial_dims)).astype(dtype))


@pytest.mark.parametrize("wrong", [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
def test_the_range_must_rise(wrong):
    with pytest.raises(ValueError, match="rise"):
        ImageFormat(2, 1, wrong)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(np.uint8, 0, 255), (np.int16, -1000, 2000), (np.float32, -0.5, 0.5)]
)
def test_range_maps_to_the_networks_and_back(dtype, low, high):
    images = ImageFormat(2, 1, (low, high))
    stored = np.linspace(low, high, 256).reshape(1, 16, 16).astype(dtype)
    unit = images.to_unit(stored)
    assert unit.dtype == np.float32 and unit.min() == 0 and unit.max() == 1
    back = images.from_network(unit * 2 - 1)
    assert back == pytest.approx(stored.astype(float), abs=1e-5 * (high - low))
    if np.issubdtype(dtype, np.integer):
        assert (np.rint(back).astype(dtype) == stored).all()


def test_network_values_beyond_the_range_are_clipped():
    assert ImageFormat(2, 1, (10.0, 20.0)).from_network(np.array([-3.0, 3.0])).tolist() == [10.0, 20.0]
