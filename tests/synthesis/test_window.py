"""The window: always around the whole paint mask, within its bounds, and really off centre."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis.window import Window, WindowSampler, bounding_box
from tests.toys import ball

FIELDS = {2: (300, 260), 3: (96, 100, 90)}


def windows(mask, sampler, spacing=None, count=40):
    spacing = spacing or (1.0,) * mask.ndim
    return [sampler(mask, spacing, np.random.default_rng(seed)) for seed in range(count)]


def contains(window, mask):
    low, high = bounding_box(mask)
    origin, end = np.array(window.origin), np.array(window.origin) + window.shape
    return bool((origin <= low).all() and (end >= high).all())


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("radius", [1, 6, 20])
def test_the_paint_mask_is_inside_and_the_box_in_the_image(spatial_dims, radius, place):
    shape = FIELDS[spatial_dims]
    mask = ball(spatial_dims, radius, centre=[place * (n - 1) for n in shape], shape=shape)
    for window in windows(mask, WindowSampler((32, 64)), count=20):
        assert contains(window, mask)
        for origin, side, n in zip(window.origin, window.shape, shape, strict=True):
            assert (origin >= 0 and origin + side <= n) if side <= n else (origin <= 0 and origin + side >= n)


def test_a_mask_that_reaches_every_edge_is_inside(spatial_dims):
    mask = np.ones((20, 31, 17)[:spatial_dims], bool)
    for window in windows(mask, WindowSampler((16,)), count=10):
        assert contains(window, mask)


@pytest.mark.parametrize("radius", [2, 5, 11, 20])
def test_reduction_and_enlargement_stay_within_bounds(spatial_dims, radius):
    mask = ball(spatial_dims, radius, shape=FIELDS[spatial_dims])
    sampler = WindowSampler((24, 48), max_reduction=2.0, max_enlargement=3.0)
    for window in windows(mask, sampler):
        for side, cells in zip(window.shape, window.size, strict=True):
            assert side <= 2 * cells
            assert cells <= 3 * side
        # The smallest grid that keeps the reduction, never a larger one.
        assert (window.size[0] == 48) == (max(window.shape) > 48)


def test_side_is_a_multiple_of_the_extent_in_the_range(spatial_dims):
    mask = ball(spatial_dims, 10, shape=FIELDS[spatial_dims])
    sides = np.array([max(w.shape) for w in windows(mask, WindowSampler((24, 48), factors=(1.5, 4.0)), count=80)])
    assert 1.5 * 21 - 1 <= sides.min() < 2 * 21
    assert 3.3 * 21 < sides.max() <= 4 * 21 + 1


def test_the_centre_is_jittered(spatial_dims):
    mask = ball(spatial_dims, 8, shape=FIELDS[spatial_dims])
    low, high = bounding_box(mask)
    drawn = windows(mask, WindowSampler((32, 64), factors=(2.5, 4.0), jitter=0.4), count=200)
    offsets = np.array([np.array(w.origin) + np.array(w.shape) / 2 - (low + high) / 2 for w in drawn]) / 17
    assert np.abs(offsets).max() <= 0.4 + 1 / 17
    # Uniform in +-0.4: deviation 0.23; the mean of 200 draws deviates by 0.016.
    assert (offsets.std(0) > 0.18).all() and (offsets.std(0) < 0.28).all()
    assert (np.abs(offsets.mean(0)) < 0.08).all()
    assert abs(np.corrcoef(offsets[:, 0], offsets[:, 1])[0, 1]) < 0.3


def test_without_jitter_it_is_centred(spatial_dims):
    mask = ball(spatial_dims, 8, shape=FIELDS[spatial_dims])
    low, high = bounding_box(mask)
    for window in windows(mask, WindowSampler((32, 64), jitter=0.0), count=10):
        offset = np.array(window.origin) + np.array(window.shape) / 2 - (low + high) / 2
        assert np.abs(offset).max() <= 0.5


def test_same_seed_same_window_and_other_seeds_differ(spatial_dims):
    mask = ball(spatial_dims, 8, shape=FIELDS[spatial_dims])
    assert windows(mask, WindowSampler((32,)), count=10) == windows(mask, WindowSampler((32,)), count=10)
    assert len(set(windows(mask, WindowSampler((32,)), count=10))) > 5


def test_anisotropic_spacing_gives_equal_physical_sides(spatial_dims):
    spacing = (0.5, 2.0, 1.0)[:spatial_dims]
    shape = (200, 80, 110)[:spatial_dims]
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 2, n // 2 + round(10 / s)) for n, s in zip(shape, spacing, strict=True))] = True
    for window in windows(mask, WindowSampler((24, 48)), spacing, count=20):
        assert contains(window, mask)
        sides = np.array(window.shape) * spacing
        assert np.ptp(sides) <= max(spacing)
        assert 1.5 * 10 - 2 <= sides.max() <= 4 * 10 + 2


def test_physical_sides_are_chosen_from_the_list(spatial_dims):
    mask = ball(spatial_dims, 5, shape=FIELDS[spatial_dims])
    sampler = WindowSampler((48,), sides=(24, 48, 72))
    # Extent 11: 1.5 to 4 times is 16.5 to 44.
    assert {w.shape for w in windows(mask, sampler)} == {(24,) * spatial_dims}
    wide = ball(spatial_dims, 9, shape=FIELDS[spatial_dims])
    assert {w.shape for w in windows(wide, sampler)} == {(48,) * spatial_dims, (72,) * spatial_dims}


def test_a_mask_beyond_the_largest_side_still_fits(spatial_dims):
    mask = ball(spatial_dims, 15, shape=FIELDS[spatial_dims])
    for window in windows(mask, WindowSampler((24,), sides=(12, 20)), count=5):
        assert contains(window, mask) and window.shape == (33,) * spatial_dims


def test_no_side_in_range_takes_the_next_above(spatial_dims):
    mask = ball(spatial_dims, 5, shape=FIELDS[spatial_dims])
    assert {w.shape for w in windows(mask, WindowSampler((24,), sides=(12, 50)), count=5)} == {(50,) * spatial_dims}


def test_small_images_are_padded_with_their_edge(spatial_dims):
    shape = (20, 24, 18)[:spatial_dims]
    mask = ball(spatial_dims, 6, shape=shape)
    image = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    for window in windows(mask, WindowSampler((32,), factors=(3.5, 4.0)), count=5):
        assert all(side > n for side, n in zip(window.shape, shape, strict=True))
        assert window.inside(shape) == tuple(slice(0, n) for n in shape)
        whole = window.extend(image, shape)
        assert whole.shape == (2, *window.shape)
        # Every padded value is the value at the nearest place of the image.
        nearest = [
            np.clip(np.arange(s) + o, 0, n - 1) for s, o, n in zip(window.shape, window.origin, shape, strict=True)
        ]
        assert (whole == image[(slice(None), *np.ix_(*nearest))]).all()
        back = window.within(window.inside(shape))
        assert (whole[(slice(None), *back)] == image).all()


def test_extend_is_the_identity_inside(spatial_dims):
    shape = FIELDS[spatial_dims]
    window = Window((5,) * spatial_dims, (20,) * spatial_dims, (16,) * spatial_dims)
    part = np.ones((1, *window.shape), np.float32)
    assert window.extend(part, shape) is part
    assert window.within(window.inside(shape)) == (slice(0, 20),) * spatial_dims
    assert window.within((slice(7, 9),) * spatial_dims) == (slice(2, 4),) * spatial_dims


@pytest.mark.parametrize(("shape", "scale"), [(32, 0.0), (64, 1.0), (16, -1.0)])
def test_scale_is_log2_of_pixels_per_cell(spatial_dims, shape, scale):
    assert Window((0,) * spatial_dims, (shape,) * spatial_dims, (32,) * spatial_dims).scale == pytest.approx(scale)


def test_scale_averages_over_the_axes(spatial_dims):
    shape = (64, *[32] * (spatial_dims - 1))
    assert Window((0,) * spatial_dims, shape, (32,) * spatial_dims).scale == pytest.approx(1 / spatial_dims)


@pytest.mark.parametrize(
    "wrong",
    [{"sizes": ()}, {"sizes": (4,)}, {"factors": (1.0, 4.0)}, {"factors": (3.0, 2.0)}],
)
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        WindowSampler(**wrong)


def test_bounding_box_is_exact(spatial_dims):
    mask = np.zeros((7, 9, 8)[:spatial_dims], bool)
    mask[(3,) * spatial_dims] = mask[(6, 4, 5)[:spatial_dims]] = True
    low, high = bounding_box(mask)
    assert low.tolist() == [3] * spatial_dims and high.tolist() == [7, 5, 6][:spatial_dims]
    with pytest.raises(ValueError, match="empty"):
        bounding_box(np.zeros_like(mask))
