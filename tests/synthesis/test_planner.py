"""Plans: masks where they may be, apart from each other and from what is there, and all of it from one seed."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import ndimage

from monai_diffaug.synthesis import (
    Abnormality,
    BlackBorder,
    EmpiricalSize,
    FormulaShapes,
    NoRoomError,
    Planner,
    PromptBank,
    RandomMask,
    Regions,
    SynthesisRequest,
    WindowSampler,
)
from monai_diffaug.synthesis.attributes import extent_of, size_word
from monai_diffaug.synthesis.window import bounding_box
from tests.toys import GRIDS, SHAPES, ball, toy_image, toy_planner


def plans(spatial_dims, planner=None, seed=0, **fields):
    image = toy_image(spatial_dims)
    request = SynthesisRequest(image, seed, **fields)
    return (planner or toy_planner(spatial_dims))(request, image.astype(np.float32) / 255)


def equal(one, other):
    return (
        (one.mask == other.mask).all()
        and (one.paint == other.paint).all()
        and (one.prompt, one.window, one.seeds, one.abnormality)
        == (other.prompt, other.window, other.seeds, other.abnormality)
    )


def gap_between(mask, other):
    """Return the distance in pixels between two masks."""
    return ndimage.distance_transform_edt(~other)[mask].min()


def test_a_plan_is_whole(spatial_dims):
    for seed in range(5):
        (plan,) = plans(spatial_dims, seed=seed)
        assert plan.mask.dtype == bool and plan.mask.any() and plan.mask.shape == SHAPES[spatial_dims]
        assert plan.paint[plan.mask].all() and plan.paint.sum() > plan.mask.sum()
        low, high = bounding_box(plan.paint)
        assert (np.array(plan.window.origin) <= low).all()
        assert (np.array(plan.window.origin) + plan.window.shape >= high).all()
        assert len(set(plan.seeds)) == 4 and all(type(one) is int for one in plan.seeds)
        assert plan.abnormality.name == "polyp" and "polyp" in plan.prompt


def test_same_seed_same_plan_and_other_seeds_differ(spatial_dims):
    (one,), (same,), (other,) = (plans(spatial_dims, seed=seed) for seed in (3, 3, 4))
    assert equal(one, same)
    assert (one.mask != other.mask).any() and one.seeds != other.seeds


def test_the_number_of_attempts(spatial_dims):
    (plan,) = plans(spatial_dims, toy_planner(spatial_dims, max_attempts=2))
    assert len(plan.seeds) == 2


def test_size_words_of_drawn_prompts_are_true(spatial_dims):
    for seed in range(15):
        (plan,) = plans(spatial_dims, seed=seed)
        said = {"small", "medium", "large"}.intersection(plan.prompt.split())
        assert said <= {size_word(plan.mask, (1.0,) * spatial_dims, (0.1, 0.25))}


@pytest.mark.parametrize("word", ["small", "medium", "large"])
def test_a_size_word_steers_the_size(spatial_dims, word):
    planner = toy_planner(spatial_dims, size=(0.08, 0.6) if spatial_dims == 2 else (0.15, 0.6))
    planner.prompts.size_cuts = (0.25, 0.4)
    for seed in range(5):
        (plan,) = plans(spatial_dims, planner, seed=seed, prompt=f"a {word} polyp")
        assert size_word(plan.mask, (1.0,) * spatial_dims, (0.25, 0.4)) == word
        assert plan.prompt == f"a {word} polyp"


def test_a_size_that_the_bundle_never_draws_is_refused(spatial_dims):
    planner = toy_planner(spatial_dims, size=(0.5, 0.6))
    with pytest.raises(ValueError, match="small"):
        plans(spatial_dims, planner, prompt="small polyp")


def test_prompts_are_judged(spatial_dims):
    with pytest.raises(ValueError, match="no word"):
        plans(spatial_dims, prompt="a castle")
    with pytest.raises(ValueError, match="says 'small' but the mask is large"):
        plans(spatial_dims, prompt="small polyp", mask=ball(spatial_dims, 12))
    with pytest.warns(UserWarning, match="castle"):
        plans(spatial_dims, prompt="polyp castle")


def test_unknown_words_are_named_once_however_many_lesions(spatial_dims):
    planner = toy_planner(spatial_dims, counts=(0, 0, 1), size=(0.15, 0.2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plans(spatial_dims, planner, prompt="polyp castle")
    assert len([one for one in caught if "castle" in str(one.message)]) == 1


def test_classes_are_drawn_by_weight_or_named(spatial_dims):
    classes = [Abnormality("polyp", 1, 3.0), Abnormality("ulcer", 2, 1.0), Abnormality("never", 3, 0.0)]
    planner = toy_planner(spatial_dims, abnormalities=classes)
    drawn = [plans(spatial_dims, planner, seed=seed)[0].abnormality.name for seed in range(80)]
    assert set(drawn) == {"polyp", "ulcer"} and 0.55 < np.mean([name == "polyp" for name in drawn]) < 0.92
    assert plans(spatial_dims, planner, abnormality="never")[0].abnormality == classes[2]
    with pytest.raises(ValueError, match="'castle' is unknown.*polyp, ulcer, never"):
        plans(spatial_dims, planner, abnormality="castle")


def test_a_given_mask_is_taken_as_it_is(spatial_dims):
    mask = ball(spatial_dims, 5)
    for form in (mask, mask.astype(np.uint8) * 255, mask.astype(np.float32)):
        found = plans(spatial_dims, toy_planner(spatial_dims, counts=(0, 1)), mask=form)
        assert len(found) == 1 and (found[0].mask == mask).all()


def test_a_given_mask_is_above_the_rules_but_not_above_labels_and_regions(spatial_dims):
    planner = toy_planner(spatial_dims, regions=Regions([lambda image: np.ones(image.shape[1:], bool)]))
    mask = ball(spatial_dims, 5)
    with pytest.raises(ValueError, match="rules"):
        plans(spatial_dims, planner)
    assert (plans(spatial_dims, planner, mask=mask)[0].mask == mask).all()
    regions = np.ones(mask.shape, np.uint8)
    regions[: mask.shape[0] // 2] = 0
    with pytest.raises(ValueError, match="move the mask"):
        plans(spatial_dims, planner, mask=mask, regions=regions)
    with pytest.raises(ValueError, match=f"{int(mask.sum())} of the given mask's {int(mask.sum())} pixels"):
        plans(spatial_dims, planner, mask=mask, label=mask.astype(np.uint8))


def test_an_empty_given_mask_is_refused(spatial_dims):
    with pytest.raises(ValueError, match="mask is empty"):
        plans(spatial_dims, mask=np.zeros(SHAPES[spatial_dims], bool))


def test_regions_are_obeyed(spatial_dims):
    allowed = np.zeros(SHAPES[spatial_dims], np.uint8)
    allowed[: allowed.shape[0] // 2] = 9
    for seed in range(10):
        (plan,) = plans(spatial_dims, seed=seed, regions=allowed)
        assert not plan.mask[allowed == 0].any()


def test_rules_are_obeyed(spatial_dims):
    image = toy_image(spatial_dims)
    image[:, : image.shape[1] // 3] = 0
    planner = toy_planner(spatial_dims, regions=Regions([BlackBorder()]))
    for seed in range(10):
        (plan,) = planner(SynthesisRequest(image, seed), image / np.float32(255))
        assert not plan.mask[: image.shape[1] // 3].any()


@pytest.mark.parametrize("wrong", ["no region", "label full"])
def test_where_nothing_is_allowed(spatial_dims, wrong):
    fields = {
        "no region": {"regions": np.zeros(SHAPES[spatial_dims], np.uint8)},
        "label full": {"label": np.ones(SHAPES[spatial_dims], np.uint8)},
    }
    with pytest.raises(ValueError, match="no region is allowed"):
        plans(spatial_dims, **fields[wrong])
    with pytest.raises(ValueError, match="no region is allowed"):
        plans(spatial_dims, mask=ball(spatial_dims, 3), **fields[wrong])


def test_no_room_is_said(spatial_dims):
    speck = np.zeros(SHAPES[spatial_dims], np.uint8)
    speck[(5,) * spatial_dims] = 1
    with pytest.raises(NoRoomError, match="widen"):
        plans(spatial_dims, regions=speck)


def test_existing_lesions_keep_their_gap(spatial_dims):
    """Five per cent of the lesion's extent, rounded up, and one pixel at least, for mask and paint."""
    radius = 20 if spatial_dims == 2 else 11
    label = ball(spatial_dims, radius, centre=[radius] * spatial_dims).astype(np.uint8)
    gap = int(np.ceil(0.05 * (2 * radius + 1)))
    for seed in range(15):
        for plan in plans(spatial_dims, seed=seed, label=label):
            assert gap_between(plan.mask, label > 0) > gap
            assert gap_between(plan.paint, label > 0) > gap


def test_a_given_mask_near_a_lesion_never_paints_on_it(spatial_dims):
    label = np.zeros(SHAPES[spatial_dims], np.uint8)
    label[(slice(0, 8), *[slice(10, 20)] * (spatial_dims - 1))] = 1
    mask = np.zeros(label.shape, bool)
    mask[(slice(9, 14), *[slice(12, 18)] * (spatial_dims - 1))] = True
    (plan,) = plans(spatial_dims, label=label, mask=mask)
    assert gap_between(plan.paint, label > 0) > 1 and plan.paint[mask].all()
    assert (plan.paint & ~mask).any()


@pytest.mark.parametrize("counts", [(0, 1), (0, 0, 1)])
def test_several_lesions_lie_apart(spatial_dims, counts):
    planner = toy_planner(spatial_dims, counts=counts, size=(0.12, 0.3) if spatial_dims == 2 else (0.2, 0.35))
    for seed in range(15):
        found = plans(spatial_dims, planner, seed=seed)
        assert len(found) == len(counts)
        together = sum(plan.paint.astype(int) for plan in found)
        assert together.max() == 1


def test_lesions_of_very_different_size_do_not_paint_on_each_other(spatial_dims):
    """A large lesion's margin is wide: it must not reach into a small one that was drawn before it."""
    sizes = EmpiricalSize([4.0, 40.0 if spatial_dims == 2 else 20.0])
    planner = Planner(
        Regions(),
        RandomMask(FormulaShapes(elongation=(1.0, 1.0), lobes=0.0), sizes, min_pixels=4),
        PromptBank(["{name}"]),
        WindowSampler(GRIDS[spatial_dims]),
        abnormalities=[Abnormality("polyp")],
        counts=(0, 0, 0, 0, 0, 0, 0, 1),
    )
    mixed = 0
    for seed in range(30):
        found = plans(spatial_dims, planner, seed=seed)
        extents = [extent_of(plan.mask, (1.0,) * spatial_dims) for plan in found]
        mixed += max(extents) > 3 * min(extents)
        assert sum(plan.paint.astype(int) for plan in found).max() == 1
    assert mixed > 10


def test_the_number_of_lesions_follows_the_weights(spatial_dims):
    planner = toy_planner(spatial_dims, counts=(1, 3), size=(0.12, 0.2))
    counts = [len(plans(spatial_dims, planner, seed=seed)) for seed in range(60)]
    assert set(counts) == {1, 2} and 0.55 < np.mean(np.array(counts) == 2) < 0.93


def test_a_full_image_gets_fewer_lesions(spatial_dims):
    """There is room for one, and the second is left out; no room for the first is an error."""
    regions = ball(spatial_dims, 5).astype(np.uint8)
    planner = toy_planner(spatial_dims, counts=(0, 0, 0, 0, 1), size=(0.15, 0.2))
    assert 1 <= len(plans(spatial_dims, planner, regions=regions)) < 5


def test_lesions_have_texts_and_noise_of_their_own(spatial_dims):
    planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.12, 0.3))
    found = [plans(spatial_dims, planner, seed=seed) for seed in range(12)]
    assert all(one.seeds != other.seeds for one, other in found)
    assert any(one.prompt != other.prompt for one, other in found)


def test_spacing_reaches_the_size(spatial_dims):
    planner = Planner(
        Regions(),
        RandomMask(FormulaShapes(elongation=(1.0, 1.0), lobes=0.0), EmpiricalSize([12.0])),
        PromptBank(["{name}"]),
        WindowSampler(GRIDS[spatial_dims]),
        abnormalities=[Abnormality("polyp")],
    )
    spacing = (2.0, 1.0, 1.0)[:spatial_dims]
    (plan,) = plans(spatial_dims, planner, spacing=spacing)
    low, high = bounding_box(plan.mask)
    assert (high - low)[0] == pytest.approx(6, abs=1) and (high - low)[1] == pytest.approx(12, abs=1)
    sides = np.array(plan.window.shape) * spacing
    assert np.ptp(sides) <= 4  # two pixels of margin are more along the coarse axis


@pytest.mark.parametrize(
    "wrong",
    [
        {"abnormalities": []},
        {"abnormalities": [Abnormality("polyp"), Abnormality("polyp", 2)]},
        {"max_attempts": 0},
        {"counts": ()},
        {"counts": (0.0, 0.0)},
        {"counts": (-1.0, 2.0)},
    ],
)
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        toy_planner(2, **wrong)


def test_classes_that_are_never_drawn_are_refused():
    """Weights that sum to nothing can draw no class."""
    with pytest.raises(ValueError, match="weight"):
        toy_planner(2, abnormalities=[Abnormality("polyp", weight=0.0)])
