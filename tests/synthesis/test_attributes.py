"""Words of outlines and looks are true of what they describe."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from monai_diffaug.synthesis import FormulaShapes
from monai_diffaug.synthesis.attributes import TERCILES, describe, extent_of, measure, outline_word, size_word
from tests.toys import ball

SHAPES = {2: (80, 90), 3: (48, 52, 50)}


def ones(spatial_dims):
    return (1.0,) * spatial_dims


def ellipsoid(spatial_dims, long, short):
    grid = np.meshgrid(*(np.arange(n) - n / 2 for n in SHAPES[spatial_dims]), indexing="ij")
    return sum((axis / radius) ** 2 for axis, radius in zip(grid, [long, short, short], strict=False)) <= 1


def test_extent_is_the_longest_side_in_mm(spatial_dims):
    mask = np.zeros(SHAPES[spatial_dims], bool)
    mask[tuple(slice(2, 2 + n) for n in (4, 10, 3)[:spatial_dims])] = True
    assert extent_of(mask, ones(spatial_dims)) == 10
    assert extent_of(mask, (3.0, 0.5, 1.0)[:spatial_dims]) == 12


@pytest.mark.parametrize(("radius", "word"), [(2, "small"), (5, "medium"), (14, "large")])
def test_size_words(spatial_dims, radius, word):
    mask = ball(spatial_dims, radius, shape=SHAPES[spatial_dims])
    field = min(SHAPES[spatial_dims])
    cuts = (6 / field, 20 / field)
    assert size_word(mask, ones(spatial_dims), cuts) == word
    # The word is about the share of the field: a common factor of the spacing changes nothing.
    assert size_word(mask, (0.3,) * spatial_dims, cuts) == word


def test_size_word_at_the_cut_is_the_larger(spatial_dims):
    mask = np.zeros((40,) * spatial_dims, bool)
    mask[(slice(0, 10),) * spatial_dims] = True
    assert size_word(mask, ones(spatial_dims), (0.25, 0.5)) == "medium"
    assert size_word(mask, ones(spatial_dims), (0.2500001, 0.5)) == "small"
    assert size_word(mask, ones(spatial_dims), (0.1, 0.25)) == "large"


def test_a_ball_is_round_and_a_cigar_oval(spatial_dims):
    assert outline_word(ball(spatial_dims, 12, shape=SHAPES[spatial_dims]), ones(spatial_dims)) == "round"
    assert outline_word(ellipsoid(spatial_dims, 20, 8), ones(spatial_dims)) == "oval"


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 5, 6, 8, 11])
def test_balls_of_every_size_are_round(spatial_dims, radius):
    """The steps of a small digital ball's surface are no lobes."""
    for at in (10, 10.5):
        for size in (radius, radius + 0.5):
            mask = ball(spatial_dims, size, centre=[at + 2] * spatial_dims, shape=[26] * spatial_dims)
            assert outline_word(mask, ones(spatial_dims)) == "round"


def test_outline_word_follows_the_spacing(spatial_dims):
    """What is stretched in voxels may be round in mm, and the reverse."""
    spacing = (0.5, 1.0, 1.0)[:spatial_dims]
    assert outline_word(ellipsoid(spatial_dims, 20, 10), spacing) == "round"
    assert outline_word(ball(spatial_dims, 12, shape=SHAPES[spatial_dims]), spacing) == "oval"


def test_bulges_are_lobed_or_irregular(spatial_dims):
    shape = SHAPES[spatial_dims]
    middle = np.array(shape) / 2
    star = ball(spatial_dims, 6, shape=shape)
    for axis in range(spatial_dims):
        for sign in (-1, 1):
            centre = middle.copy()
            centre[axis] += 14 * sign
            star |= ball(spatial_dims, 5, centre=centre, shape=shape)
            centre[axis] -= 7 * sign
            star |= ball(spatial_dims, 3, centre=centre, shape=shape)
    assert outline_word(star, ones(spatial_dims)) in ("lobed", "irregular")


def test_three_joined_balls_are_lobed(spatial_dims):
    shape = (60,) * spatial_dims
    rest = [30] * (spatial_dims - 2)
    trefoil = np.zeros(shape, bool)
    for centre in ([18, 20], [42, 20], [30, 41]):
        trefoil |= ball(spatial_dims, 12, centre=[*centre, *rest], shape=shape)
    assert outline_word(trefoil, ones(spatial_dims)) in ("lobed", "irregular")


def test_formula_shapes_with_lobes_are_called_so_sometimes(spatial_dims):
    """Else two words of every prompt bank would never be drawn."""
    axis = np.linspace(-0.8, 0.8, 41)
    offsets = np.stack(np.meshgrid(*[axis] * spatial_dims, indexing="ij"))
    blobs = [FormulaShapes()(offsets, np.random.default_rng(seed)) for seed in range(40)]
    words = {outline_word(blob, ones(spatial_dims)) for blob in blobs}
    assert {"round", "oval"} <= words and words & {"lobed", "irregular"}


def test_specks_and_lines_have_a_word(spatial_dims):
    speck = np.zeros((20,) * spatial_dims, bool)
    speck[(3,) * spatial_dims] = True
    assert outline_word(speck, ones(spatial_dims)) == "round"
    line = np.zeros((20,) * spatial_dims, bool)
    line[(slice(2, 18), *[4] * (spatial_dims - 1))] = True
    assert outline_word(line, ones(spatial_dims)) in ("oval", "lobed", "irregular")


def lesion(spatial_dims, *, shift=(0.0, 0.0, 0.0), blur=0.0, rough=0.0):
    shape = SHAPES[spatial_dims]
    mask = ball(spatial_dims, 10, shape=shape)
    profile = ndimage.gaussian_filter(mask.astype(float), blur) if blur else mask.astype(float)
    noise = np.random.default_rng(0).standard_normal(shape) * rough * mask
    image = 0.5 + np.array(shift).reshape(-1, *[1] * spatial_dims) * profile + noise
    return measure(image.astype(np.float32), mask)


def test_measured_looks_go_the_right_way(spatial_dims):
    plain = lesion(spatial_dims)
    assert plain["brightness"] == pytest.approx(0, abs=1e-5) and plain["colour"] == pytest.approx(0, abs=1e-5)
    assert lesion(spatial_dims, shift=(0.2, 0.2, 0.2))["brightness"] == pytest.approx(0.2, abs=1e-5)
    assert lesion(spatial_dims, shift=(-0.2, -0.2, -0.2))["brightness"] == pytest.approx(-0.2, abs=1e-5)
    assert lesion(spatial_dims, shift=(0.2, 0.0, 0.0))["colour"] > 0.05
    assert lesion(spatial_dims, shift=(-0.2, 0.0, 0.0))["colour"] < -0.05
    assert lesion(spatial_dims, rough=0.1)["texture"] > 5 * plain["texture"] + 0.01
    sharp, soft = (lesion(spatial_dims, shift=(0.3,) * 3, blur=blur)["border"] for blur in (0.0, 4.0))
    assert sharp > 1.5 * soft


def test_one_channel_has_no_colour(spatial_dims):
    mask = ball(spatial_dims, 5, shape=SHAPES[spatial_dims])
    assert measure(np.where(mask, 0.8, 0.3)[None], mask)["colour"] == pytest.approx(0)


def test_a_mask_that_leaves_no_ring_is_measured(spatial_dims):
    full = np.ones((12,) * spatial_dims, bool)
    assert all(np.isfinite(value) for value in measure(np.full((1, *full.shape), 0.5), full).values())
    nearly = full.copy()
    nearly[(0,) * spatial_dims] = False
    assert all(np.isfinite(value) for value in measure(np.full((1, *full.shape), 0.5), nearly).values())


def test_words_are_terciles():
    cuts = {name: (1.0, 2.0) for name in TERCILES}
    for value, third in ((0.0, 0), (1.5, 1), (2.0, 2)):
        assert describe(dict.fromkeys(TERCILES, value), cuts) == [words[third] for words in TERCILES.values()]
