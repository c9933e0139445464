"""The composite: outside the paint mask not one bit changes, on the label mask all of the paint arrives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from monai_diffaug import AbnormalitySynthesizer, SynthesisRequest
from monai_diffaug.synthesis.blend import composite, feather, grain, paint_mask
from tests.toys import assert_untouched_outside, ball, toy_image, toy_synthesizer

SHAPES = {2: (70, 64), 3: (44, 40, 42)}
DTYPES = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.float16, np.float32, np.float64]


@pytest.mark.parametrize(("radius", "margin", "reach"), [(3, 0.1, 2), (12, 0.1, 2), (12, 0.2, 5)])
def test_the_margin_is_a_share_of_the_extent_and_two_pixels_at_least(spatial_dims, radius, margin, reach):
    mask = ball(spatial_dims, radius, shape=SHAPES[spatial_dims])
    paint = paint_mask(mask, None, margin=margin)
    centre = tuple(n // 2 for n in SHAPES[spatial_dims])
    for axis in range(spatial_dims):
        line = tuple(slice(None) if other == axis else centre[other] for other in range(spatial_dims))
        assert paint[line].sum() == mask[line].sum() + 2 * reach
    assert paint[mask].all()


def test_the_margin_ends_at_the_image(spatial_dims):
    mask = ball(spatial_dims, 5, centre=[0] * spatial_dims, shape=SHAPES[spatial_dims])
    paint = paint_mask(mask, None)
    assert paint[mask].all() and paint.sum() > mask.sum()
    whole = np.ones((16,) * spatial_dims, bool)
    assert paint_mask(whole, None).all()


def test_forbidden_places_stay_out_of_the_margin(spatial_dims):
    mask = ball(spatial_dims, 6, shape=SHAPES[spatial_dims])
    forbidden = np.zeros_like(mask)
    forbidden[: SHAPES[spatial_dims][0] // 2] = True
    paint = paint_mask(mask, forbidden)
    assert paint[mask].all()
    assert not (paint & forbidden & ~mask).any()


def test_alpha_is_one_on_the_label_and_falls_to_zero_at_the_edge(spatial_dims):
    mask = ball(spatial_dims, 12, shape=SHAPES[spatial_dims])
    paint = paint_mask(mask, None, margin=0.3)
    alpha = feather(mask, paint)
    assert (alpha[mask] == 1).all()
    assert (alpha[~paint] == 0).all()
    rim = paint & ~mask
    assert (alpha[rim] > 0).all() and (alpha[rim] < 1).all()
    line = alpha[(slice(SHAPES[spatial_dims][0] // 2, None), *[n // 2 for n in SHAPES[spatial_dims][1:]])]
    assert (np.diff(line) <= 0).all() and len(set(line[:22])) > 5
    assert line[line > 0].min() < 0.2


def test_alpha_without_any_outside(spatial_dims):
    whole = np.ones((8,) * spatial_dims, bool)
    assert (feather(whole, whole) == 1).all()
    corner = np.zeros_like(whole)
    corner[(0,) * spatial_dims] = True
    alpha = feather(corner, whole)
    assert (alpha > 0).all() and alpha[(0,) * spatial_dims] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_not_one_bit_changes_where_alpha_is_zero(spatial_dims, dtype):
    rng = np.random.default_rng(0)
    shape = (2, *SHAPES[spatial_dims])
    bits = rng.integers(0, 256, size=(*shape, np.dtype(dtype).itemsize), dtype=np.uint8)
    original = bits.view(dtype)[..., 0]
    if np.issubdtype(dtype, np.floating):
        original = np.where(np.isfinite(original), original, np.asarray(-0.0, dtype))
        original = np.clip(original, -1e4, 1e4).astype(dtype)
    mask = ball(spatial_dims, 9, shape=SHAPES[spatial_dims])
    paint = paint_mask(mask, None)
    result = composite(original, rng.normal(0, 50, shape), feather(mask, paint))
    assert result.dtype == dtype and result.shape == shape
    assert result[:, ~paint].tobytes() == original[:, ~paint].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_the_label_the_paint_arrives(spatial_dims, dtype):
    mask = ball(spatial_dims, 5, shape=SHAPES[spatial_dims])
    original = np.zeros((1, *mask.shape), dtype)
    result = composite(original, np.full(original.shape, 41.6), feather(mask, paint_mask(mask, None)))
    expected = 42 if np.issubdtype(dtype, np.integer) else pytest.approx(41.6, rel=1e-3)
    assert result[0][mask].min() == expected and result[0][mask].max() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_whole_numbers_are_clipped_and_never_wrap(dtype):
    mask = np.ones((1, 4, 4), bool)[0]
    info = np.iinfo(dtype)
    for value, stored in ((1e9, info.max), (-1e9, info.min)):
        assert (composite(np.zeros((1, 4, 4), dtype), np.full((1, 4, 4), value), feather(mask, mask)) == stored).all()


def test_the_rim_is_a_mix(spatial_dims):
    mask = ball(spatial_dims, 6, shape=SHAPES[spatial_dims])
    alpha = feather(mask, paint_mask(mask, None))
    result = composite(np.full((1, *mask.shape), 10.0), np.full((1, *mask.shape), 20.0), alpha)
    assert result[0] == pytest.approx(10 + 10 * alpha)


def test_inputs_stay(spatial_dims):
    mask = ball(spatial_dims, 6, shape=SHAPES[spatial_dims])
    original = np.zeros((1, *mask.shape), np.uint8)
    before = mask.copy()
    result = composite(original, np.full(original.shape, 200.0), feather(mask, paint_mask(mask, ~mask)))
    assert not original.any() and result.any() and (mask == before).all()


class TestGrain:
    def test_a_smooth_image_has_none(self, spatial_dims):
        assert not grain(np.full((2, *SHAPES[spatial_dims]), 7, np.uint8)).any()

    def test_noise_is_kept_and_glare_is_not(self, spatial_dims):
        image = np.random.default_rng(0).normal(100, 2, (1, *SHAPES[spatial_dims]))
        spot = (0, *[20] * spatial_dims)
        image[spot] += 100
        found = grain(image)
        assert found.std() > 1 and found[spot] < 10
        assert abs(float(found.mean())) < 0.1

    def test_paint_gets_it_and_nothing_else(self, spatial_dims):
        plain = toy_synthesizer(spatial_dims)
        grainy = AbnormalitySynthesizer(replace(plain.images, grain=1.0), plain.planner, plain.renderer)
        noise = np.random.default_rng(0).normal(0, 4, toy_image(spatial_dims).shape)
        image = np.clip(np.rint(toy_image(spatial_dims) + noise), *plain.images.intensity_range)
        image = image.astype(toy_image(spatial_dims).dtype)
        one, other = (synthesizer(image, seed=3) for synthesizer in (plain, grainy))
        assert one.record.accepted and other.record.accepted
        inside = one.mask[0] > 0
        fine = [np.abs(ndimage.laplace(made.image[0].astype(float)))[inside].mean() for made in (one, other)]
        assert fine[1] > fine[0]
        assert_untouched_outside(other, grainy.plan(SynthesisRequest(image, 3)), image)
