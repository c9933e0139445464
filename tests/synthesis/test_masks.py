"""Sizes and shapes of masks; what every sampler promises is in ``contracts/test_mask_samplers.py``."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis import (
    EmpiricalSize,
    FormulaShapes,
    NoRoomError,
    OutlineBank,
    PhysicalSize,
    RandomMask,
    RelativeSize,
)
from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.masks import largest_component
from tests.toys import ball

FIELDS = {2: (120, 150), 3: (60, 66, 70)}


def grid(spatial_dims, half=20, reach=1.2):
    axis = np.linspace(-reach, reach, 2 * half + 1)
    return np.stack(np.meshgrid(*[axis] * spatial_dims, indexing="ij"))


def draws(size, field=(300, 400), count=400):
    rng = np.random.default_rng(0)
    return np.array([size(field, rng) for _ in range(count)])


def test_relative_sizes_follow_the_shortest_side():
    drawn = draws(RelativeSize(0.1, 0.4))
    assert drawn.min() >= 30 and drawn.max() <= 120
    # Uniform in the logarithm: half of the draws lie below the geometric mean.
    assert np.mean(drawn < 60) == pytest.approx(0.5, abs=0.08)


def test_physical_sizes_ignore_the_image():
    drawn = draws(PhysicalSize(4, 16))
    assert drawn.min() >= 4 and drawn.max() <= 16
    assert np.mean(drawn < 8) == pytest.approx(0.5, abs=0.08)


def test_empirical_sizes_are_the_observed_ones():
    assert set(draws(EmpiricalSize([5.0, 9.0, 30.0]))) == {5.0, 9.0, 30.0}


@pytest.mark.parametrize("size", [RelativeSize, PhysicalSize])
@pytest.mark.parametrize("wrong", [(0, 1), (-1, 2), (3, 2)])
def test_size_ranges_must_rise_from_above_zero(size, wrong):
    with pytest.raises(ValueError, match="rise"):
        size(*wrong)


@pytest.mark.parametrize("wrong", [[], [0.0, 3.0]])
def test_empirical_sizes_must_be_positive(wrong):
    with pytest.raises(ValueError, match="positive"):
        EmpiricalSize(wrong)


@pytest.mark.parametrize(
    "wrong", [{"elongation": (0.5, 2.0)}, {"elongation": (2.0, 1.0)}, {"lobes": 0.8}, {"lobes": -1}]
)
def test_wrong_shape_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        FormulaShapes(**wrong)


def test_without_lobes_and_elongation_it_is_a_ball(spatial_dims):
    offsets = grid(spatial_dims)
    blob = FormulaShapes(elongation=(1.0, 1.0), lobes=0.0)(offsets, np.random.default_rng(0))
    radius = np.sqrt((offsets**2).sum(0))
    assert blob[radius < 0.49].all() and not blob[radius > 0.51].any()


def test_elongation_shortens_the_other_axes_only(spatial_dims):
    offsets = grid(spatial_dims)
    radius = np.sqrt((offsets**2).sum(0))
    areas = []
    for seed in range(20):
        blob = FormulaShapes(elongation=(3.0, 3.0), lobes=0.0)(offsets, np.random.default_rng(seed))
        assert not blob[radius > 0.51].any()
        areas.append(blob.mean())
    assert np.mean(areas) < 0.75 * (radius <= 0.5).mean()


@pytest.mark.parametrize("lobes", [0.35, 0.79])
def test_the_widest_lobes_are_not_cut_off(spatial_dims, lobes):
    """A blob that touches its own grid's edge would be delivered with a flat side."""
    seen = []

    class Watched(FormulaShapes):
        def __call__(self, offsets, rng):
            blob = super().__call__(offsets, rng)
            seen.append(any(np.take(blob, side, axis).any() for axis in range(blob.ndim) for side in (0, -1)))
            return blob

    sampler = RandomMask(Watched(elongation=(1.0, 1.0), lobes=lobes), PhysicalSize(14, 14))
    for seed in range(60):
        sampler(np.ones(FIELDS[spatial_dims], bool), (1.0,) * spatial_dims, np.random.default_rng(seed))
    assert not any(seen)


def test_bank_collects_each_component_and_drops_specks(spatial_dims):
    label = np.zeros(FIELDS[spatial_dims], int)
    label[ball(spatial_dims, 6, centre=[15] * spatial_dims, shape=label.shape)] = 1
    label[ball(spatial_dims, 4, centre=[40] * spatial_dims, shape=label.shape)] = 7
    label[(2,) * spatial_dims] = 1
    bank = OutlineBank.from_labels([label, label])
    assert sorted(outline.shape for outline in bank.outlines) == sorted(2 * [(9,) * spatial_dims, (13,) * spatial_dims])
    assert all(outline.dtype == bool for outline in bank.outlines)


@pytest.mark.parametrize("wrong", [[], [np.zeros((3, 3), bool)]])
def test_a_bank_holds_no_empty_outline(wrong):
    with pytest.raises(ValueError, match="at least one outline"):
        OutlineBank(wrong)


def test_bank_shapes_are_the_outlines_at_diameter_one(spatial_dims):
    """A bar of 12 by 4 comes back as a bar of three to one, in every axis order and flip."""
    bar = np.ones((12, *[4] * (spatial_dims - 1)), bool)
    longest = set()
    for seed in range(12):
        blob = OutlineBank([bar])(grid(spatial_dims, 24, 1.0), np.random.default_rng(seed))
        sides = np.array(
            [np.flatnonzero(blob.any(tuple({*range(spatial_dims)} - {a}))).size for a in range(spatial_dims)]
        )
        longest.add(int(sides.argmax()))
        assert sides.max() == pytest.approx(24, abs=2)
        assert sides.min() == pytest.approx(8, abs=2)
    assert longest == set(range(spatial_dims))


def test_bank_outlines_are_flipped(spatial_dims):
    """An outline with one heavy end shows it on both sides."""
    outline = np.zeros((12, *[12] * (spatial_dims - 1)), bool)
    outline[:4] = True
    outline[(slice(None), *[slice(0, 3)] * (spatial_dims - 1))] = True
    heavy = set()
    for seed in range(80):
        blob = OutlineBank([outline])(grid(spatial_dims, 16, 0.6), np.random.default_rng(seed))
        heavy.add(tuple(np.sign(np.argwhere(blob).mean(0) - 16).astype(int)))
    assert len(heavy) == 2**spatial_dims


def test_the_drawn_diameter_is_what_the_mask_measures(spatial_dims):
    sampler = RandomMask(FormulaShapes(elongation=(1.0, 1.0), lobes=0.0), PhysicalSize(20, 20))
    for seed in range(5):
        mask = sampler(np.ones(FIELDS[spatial_dims], bool), (1.0,) * spatial_dims, np.random.default_rng(seed))
        assert extent_of(mask, (1.0,) * spatial_dims) == pytest.approx(20, abs=1)


def test_small_masks_are_drawn_again_larger(spatial_dims):
    sampler = RandomMask(FormulaShapes(), PhysicalSize(1.0, 1.5), min_pixels=30)
    for seed in range(10):
        mask = sampler(np.ones(FIELDS[spatial_dims], bool), (1.0,) * spatial_dims, np.random.default_rng(seed))
        assert 30 <= mask.sum() < 30 * 3**spatial_dims


def test_it_shrinks_where_it_fits_nowhere(spatial_dims):
    allowed = ball(spatial_dims, 8, shape=FIELDS[spatial_dims])
    sampler = RandomMask(FormulaShapes(), PhysicalSize(40, 40))
    for seed in range(3):
        mask = sampler(allowed, (1.0,) * spatial_dims, np.random.default_rng(seed))
        assert mask.any() and not (mask & ~allowed).any()


def test_a_drawn_size_that_fits_is_not_shrunk(spatial_dims):
    """Only a third of the field is allowed, but the blob fits there with ease."""
    allowed = np.zeros(FIELDS[spatial_dims], bool)
    allowed[: allowed.shape[0] // 2] = True
    sampler = RandomMask(FormulaShapes(elongation=(1, 1), lobes=0), PhysicalSize(12, 12))
    for seed in range(20):
        mask = sampler(allowed, (1.0,) * spatial_dims, np.random.default_rng(seed))
        assert extent_of(mask, (1.0,) * spatial_dims) == pytest.approx(12, abs=1)


def test_places_cover_the_field(spatial_dims):
    sampler = RandomMask(FormulaShapes(), PhysicalSize(8, 8))
    shape = np.array(FIELDS[spatial_dims])
    centres = np.array(
        [
            np.argwhere(sampler(np.ones(shape, bool), (1.0,) * spatial_dims, np.random.default_rng(seed))).mean(0)
            for seed in range(60)
        ]
    )
    assert (centres.min(0) < 0.25 * shape).all() and (centres.max(0) > 0.75 * shape).all()


def test_no_room_is_said(spatial_dims):
    allowed = np.zeros(FIELDS[spatial_dims], bool)
    allowed[(10,) * spatial_dims] = True
    for given in (allowed, np.zeros_like(allowed)):
        with pytest.raises(NoRoomError, match="widen the regions"):
            RandomMask(FormulaShapes(), PhysicalSize(8, 8))(given, (1.0,) * spatial_dims, np.random.default_rng(0))


def test_largest_component(spatial_dims):
    mask = ball(spatial_dims, 3, centre=[5] * spatial_dims, shape=[30] * spatial_dims)
    large = ball(spatial_dims, 5, centre=[20] * spatial_dims, shape=[30] * spatial_dims)
    assert (largest_component(mask | large) == large).all()
    assert largest_component(mask) is mask
