"""What a caller asks for is checked at the door: clear errors, plain arrays behind it, inputs left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import ImageFormat, SynthesisRequest
from monai_diffaug.synthesis.requests import checked, from_fields, like
from tests.toys import SHAPES, ball, toy_image


def check(spatial_dims, **fields):
    request = SynthesisRequest(**{"image": toy_image(spatial_dims), "seed": 0, **fields})
    return checked(request, ImageFormat(spatial_dims, 1, (0.0, 255.0)))


def empty(spatial_dims, dtype=np.uint8):
    return np.zeros(SHAPES[spatial_dims], dtype)


def test_an_array_is_taken_as_it_is(spatial_dims):
    image = toy_image(spatial_dims)
    case = check(spatial_dims, image=image, seed=5)
    assert case.image is image or np.shares_memory(case.image, image)
    assert (case.seed, case.label, case.spacing, case.regions, case.mask) == (5, None, None, None, None)


def test_tensors_become_arrays(spatial_dims):
    image, label = torch.from_numpy(toy_image(spatial_dims)), torch.from_numpy(empty(spatial_dims, np.int64))
    case = check(spatial_dims, image=image, label=label)
    assert type(case.image) is np.ndarray and (case.image == image.numpy()).all()
    assert type(case.label) is np.ndarray and case.label.dtype == np.int64


@pytest.mark.parametrize("name", ["label", "regions", "mask"])
def test_maps_come_with_or_without_a_channel_axis(spatial_dims, name):
    given = ball(spatial_dims, 4).astype(np.uint8)
    for form in (given, given[None]):
        found = getattr(check(spatial_dims, **{name: form}), name)
        assert found.shape == SHAPES[spatial_dims] and (found == given).all()


@pytest.mark.parametrize("name", ["label", "regions", "mask"])
def test_maps_of_another_shape_are_refused(spatial_dims, name):
    given = empty(spatial_dims)
    larger = np.pad(given, 1)
    for wrong in (given[1:], larger, given[None, None], given.swapaxes(0, 1)):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            check(spatial_dims, **{name: wrong})
    with pytest.raises(ValueError, match=f"{name} has 2 channels"):
        check(spatial_dims, **{name: np.stack([given, given])})


@pytest.mark.parametrize("name", ["label", "regions", "mask"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_maps_of_nan_are_refused(spatial_dims, name, value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        check(spatial_dims, **{name: np.full(SHAPES[spatial_dims], value, np.float32)})


@pytest.mark.parametrize("name", ["image", "label", "regions", "mask"])
@pytest.mark.parametrize("wrong", ["a path.png", [[1, 2], [3, 4]], 7])
def test_what_is_no_array_is_refused(spatial_dims, name, wrong):
    with pytest.raises(TypeError, match="NumPy array or a torch tensor"):
        check(spatial_dims, **{name: wrong})


def test_labels_hold_whole_numbers(spatial_dims):
    whole = ball(spatial_dims, 4).astype(np.float32) * 2
    assert (check(spatial_dims, label=whole).label == whole).all()
    boolean = check(spatial_dims, label=ball(spatial_dims, 4)).label
    assert boolean.dtype == np.uint8 and set(np.unique(boolean)) == {0, 1}
    with pytest.raises(ValueError, match="not whole"):
        check(spatial_dims, label=whole + 0.5)
    with pytest.raises(ValueError, match="integer map"):
        check(spatial_dims, label=whole.astype(complex))


@pytest.mark.parametrize("wrong", [True, np.True_, 1.0, "7", None])
def test_a_seed_is_an_integer_from_zero(spatial_dims, wrong):
    with pytest.raises(TypeError, match="seed must be an integer from 0"):
        check(spatial_dims, seed=wrong)


def test_a_negative_seed_is_refused(spatial_dims):
    with pytest.raises(ValueError, match="seed must be an integer from 0, got -1"):
        check(spatial_dims, seed=-1)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("prompt", 5),
        ("prompt", ["polyp"]),
        ("abnormality", 1),
        ("spacing", 1.0),
        ("spacing", ("a", "b")),
        ("label", torch.zeros(4, 4, dtype=torch.bfloat16)),
        ("label", torch.zeros(4, 4).to_sparse()),
    ],
)
def test_what_is_of_no_usable_kind_is_a_type_error(spatial_dims, field, wrong):
    with pytest.raises(TypeError, match="must be|cannot be used"):
        check(spatial_dims, **{field: wrong})


@pytest.mark.parametrize("wrong", ["abc", {"image": 1}, {"image": 1, "seed": 2, "seeed": 3}])
def test_what_is_no_request_is_named(wrong):
    with pytest.raises(TypeError, match="a request must be a mapping with image, seed and any of label"):
        from_fields(wrong)


@pytest.mark.parametrize("seed", [0, 2**63, np.int64(7), np.uint32(7)])
def test_any_integer_from_zero_is_a_seed(spatial_dims, seed):
    found = check(spatial_dims, seed=seed).seed
    assert type(found) is int and found == seed


@pytest.mark.parametrize("wrong", [(1.0,), (1.0,) * 4, "first zero", "negative", "nan", "inf"])
def test_bad_spacing_is_refused(spatial_dims, wrong):
    values = {"first zero": 0.0, "negative": -1.0, "nan": float("nan"), "inf": float("inf")}
    spacing = (values[wrong], *[1.0] * (spatial_dims - 1)) if isinstance(wrong, str) else wrong
    with pytest.raises(ValueError, match=f"spacing must be {spatial_dims} positive numbers"):
        check(spatial_dims, spacing=spacing)


def test_nan_behind_a_number_is_found_too(spatial_dims):
    with pytest.raises(ValueError, match="spacing must be"):
        check(spatial_dims, spacing=(*[1.0] * (spatial_dims - 1), float("nan")))


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_spacing_of_any_container_is_a_tuple_of_floats(spatial_dims, form):
    found = check(spatial_dims, spacing=form([1, 2, 3][:spatial_dims])).spacing
    assert found == (1.0, 2.0, 3.0)[:spatial_dims] and all(type(one) is float for one in found)


def test_the_image_is_checked(spatial_dims):
    with pytest.raises(ValueError, match="NaN"):
        check(spatial_dims, image=np.full((1, *SHAPES[spatial_dims]), np.nan))


def test_results_come_in_the_container_of_the_example():
    array = np.zeros((2, 2), np.int16)
    assert like(array, array) is array
    tensor = like(array, torch.zeros(1))
    assert isinstance(tensor, torch.Tensor) and tensor.dtype == torch.int16
