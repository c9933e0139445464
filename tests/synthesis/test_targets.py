"""Targets: drawn by the seed alone, near what was missed, and followed by the plan as far as places allow."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monai_diffaug.synthesis import (
    Abnormality,
    FormulaShapes,
    LesionOutcome,
    MissTargets,
    NoRoomError,
    RandomMask,
    RelativeSize,
    SynthesisRecord,
    SynthesisRequest,
    Target,
)
from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.window import bounding_box
from tests.toys import GRIDS, SHAPES, ball, toy_image, toy_planner, toy_synthesizer

EXTENT = {2: 0.15, 3: 0.3}


def missed(spatial_dims, place=0.3, *, case="a", extent=None, **more):
    centre = (place,) * spatial_dims
    return LesionOutcome(case, extent or EXTENT[spatial_dims], centre, more.pop("missed", True), **more)


def middle(mask):
    low, high = bounding_box(mask)
    return (low + high) / 2 / mask.shape


def fraction(mask):
    return extent_of(mask, (1.0,) * mask.ndim) / min(mask.shape)


class TestDraws:
    def test_same_seed_same_target_and_other_seeds_differ(self, spatial_dims):
        targets = MissTargets([missed(spatial_dims)])
        assert targets(5) == targets(5)
        assert len({targets(seed).centre for seed in range(9)}) == 9

    def test_nothing_leaves_the_kernels(self, spatial_dims):
        targets = MissTargets([missed(spatial_dims, 0.05)], factor=1.25, shift=0.1)
        drawn = [targets(seed) for seed in range(200)]
        ratios = np.array([one.extent for one in drawn]) / EXTENT[spatial_dims]
        assert 0.79 < ratios.min() < 0.85 and 1.2 < ratios.max() < 1.26
        places = np.array([one.centre for one in drawn])
        assert places.min() == 0 and 0.13 < places.max() <= 0.15

    def test_exactly_alike_without_jitter(self, spatial_dims):
        target = MissTargets([missed(spatial_dims)], factor=1, shift=0)(1)
        assert (target.extent, target.centre) == (EXTENT[spatial_dims], (0.3,) * spatial_dims)

    @pytest.mark.parametrize(("smoothing", "share"), [(0.0, 0.0), (0.2, 1 / 3), (1e6, 0.5)])
    def test_smoothing_counts_what_was_found_in_part(self, smoothing, share):
        recall = 0.2 * np.sqrt(2 * np.log(2))  # weighs a half by the usual smoothing
        others = [missed(2, case="b", missed=False, recall=recall), missed(2, case="c", missed=False)]
        targets = MissTargets([missed(2), *others], smoothing=smoothing)
        drawn = [targets(seed).case for seed in range(400)]
        assert "c" not in drawn and np.mean([one == "b" for one in drawn]) == pytest.approx(share, abs=0.07)

    def test_words_by_the_cuts_or_as_given(self):
        looks = {"colour": -0.5, "border": "sharp border", "shine": 0.5}
        targets = MissTargets([missed(2, looks=looks)], {"polyp": {"colour": (-0.1, 0.1)}})
        assert targets(0).words == {"colour": "paler", "border": "sharp border"}
        assert targets.summary()["words_missed"] == {"paler": 1, "sharp border": 1}

    def test_a_class_narrows_the_draw(self):
        outcomes = [missed(2, case="a", abnormality="polyp"), missed(2, case="b", abnormality="2"), missed(2, case="c")]
        targets = MissTargets(outcomes)
        assert {targets(seed, Abnormality("ulcer", 2)).case for seed in range(40)} == {"b", "c"}
        with pytest.raises(ValueError, match="no missed lesion of the class 'ulcer'"):
            MissTargets(outcomes[:1])(0, Abnormality("ulcer", 2))

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda: MissTargets([missed(2, missed=False, recall=0.9)]), "none of 1 lesions was missed"),
            (lambda: MissTargets([missed(2), missed(3)]), "keep 2D and 3D apart"),
            (lambda: MissTargets([missed(2)], factor=0.5), "factor 1 or more"),
            (lambda: missed(2, 1.5), r"fractions in \[0, 1\]"),
            (lambda: missed(2, extent=-1.0), "extent must be above 0"),
            (lambda: missed(2, recall=30.0), r"recall must lie in \[0, 1\]"),
        ],
    )
    def test_bad_input_is_said(self, make, sentence):
        with pytest.raises(ValueError, match=sentence):
            make()


class TestAround:
    """``RandomMask`` near a wanted size and place."""

    def draw(self, allowed, extent, centre, seed=0):
        sampler, spacing = RandomMask(FormulaShapes(), RelativeSize(0.1, 0.4)), (1.0,) * allowed.ndim
        return sampler.around(allowed, spacing, np.random.default_rng(seed), extent=extent, centre=centre)

    def test_size_and_place_are_met_where_all_is_allowed(self, spatial_dims):
        allowed = np.ones(SHAPES[spatial_dims], bool)
        for seed in range(10):
            mask = self.draw(allowed, EXTENT[spatial_dims], (0.4,) * spatial_dims, seed)
            assert np.abs((middle(mask) - 0.4) * mask.shape).max() <= 1
            assert abs(fraction(mask) - EXTENT[spatial_dims]) * min(mask.shape) <= 1.5

    def test_no_nearer_place_would_have_held_it(self, spatial_dims):
        """By trial of every place: the nearest that is allowed was taken."""
        allowed = ~ball(spatial_dims, 9)
        mask = self.draw(allowed, EXTENT[spatial_dims], (0.5,) * spatial_dims)
        assert not (mask & ~allowed).any()
        low, high = bounding_box(mask)
        blob = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        wanted = 0.5 * np.array(mask.shape) - np.array(blob.shape) / 2
        distances = [
            np.linalg.norm(np.array(start) - wanted)
            for start in np.ndindex(*(n - b + 1 for n, b in zip(mask.shape, blob.shape, strict=True)))
            if allowed[tuple(slice(s, s + b) for s, b in zip(start, blob.shape, strict=True))][blob].all()
        ]
        assert np.linalg.norm(low - wanted) == pytest.approx(min(distances))

    def test_a_corner_stays_inside_the_image(self, spatial_dims):
        mask = self.draw(np.ones(SHAPES[spatial_dims], bool), EXTENT[spatial_dims], (0.0,) * spatial_dims)
        assert bounding_box(mask)[0].max() == 0

    def test_what_fits_nowhere_is_shrunk_and_no_room_is_said(self, spatial_dims):
        allowed = ball(spatial_dims, 6)
        mask = self.draw(allowed, 0.9, (0.1,) * spatial_dims)
        assert mask.any() and not (mask & ~allowed).any()
        with pytest.raises(NoRoomError, match="widen"):
            self.draw(np.zeros(SHAPES[spatial_dims], bool), 0.2, (0.5,) * spatial_dims)

    def test_distances_are_physical(self):
        """Of two free strips the one that is nearer in mm is taken, though it is farther in pixels."""
        allowed = np.zeros((60, 60), bool)
        allowed[:, :8] = allowed[:8, 22:] = True
        mask = RandomMask(FormulaShapes(lobes=0), RelativeSize(0.1, 0.2)).around(
            allowed, (3.0, 1.0), np.random.default_rng(0), extent=0.1, centre=(0.4, 0.5)
        )
        assert mask[:, :8].any()


class TestPlans:
    def test_plans_follow_the_misses(self, spatial_dims):
        planner = toy_planner(spatial_dims)
        looks = {"colour": "darker"}
        synthesizer = toy_synthesizer(spatial_dims, planner=planner)
        aimed = synthesizer.aimed(MissTargets([missed(spatial_dims, looks=looks)], factor=1.1, shift=0.05))
        image = toy_image(spatial_dims)
        plans = [aimed.plan(SynthesisRequest(image, seed))[0] for seed in range(12)]
        plain = [synthesizer.plan(SynthesisRequest(image, seed))[0] for seed in range(12)]
        assert max(np.abs(middle(one.mask) - 0.3).max() for one in plans) < 0.12
        assert max(np.abs(middle(one.mask) - 0.3).max() for one in plain) > 0.2
        assert max(fraction(one.mask) for one in plans) < 1.3 * EXTENT[spatial_dims]
        assert not any(word in one.prompt for one in plans for word in ("redder", "paler", "brighter"))
        assert len({one.mask.tobytes() for one in plans}) == 12

    def test_same_seed_same_plan(self, spatial_dims):
        aimed = toy_synthesizer(spatial_dims).aimed(MissTargets([missed(spatial_dims)]))
        request = SynthesisRequest(toy_image(spatial_dims), 4)
        (one,), (other,) = aimed.plan(request), aimed.plan(request)
        assert (one.mask == other.mask).all() and (one.prompt, one.seeds) == (other.prompt, other.seeds)

    def test_without_targets_nothing_is_different(self, spatial_dims):
        """The aimed synthesizer leaves the one that it was made from alone."""
        synthesizer, image = toy_synthesizer(spatial_dims), toy_image(spatial_dims)
        before = synthesizer(image, seed=3)
        synthesizer.aimed(MissTargets([missed(spatial_dims)]))
        after = synthesizer(image, seed=3)
        assert (before.image == after.image).all() and "target" not in after.record.to_json()

    def test_existing_lesions_are_kept_clear(self, spatial_dims):
        label = ball(spatial_dims, 8).astype(np.uint8)
        target = Target(EXTENT[spatial_dims], (0.5,) * spatial_dims)
        result = toy_synthesizer(spatial_dims).batch(
            [SynthesisRequest(toy_image(spatial_dims), 1, label, target=target)]
        )[0]
        assert not (result.planned[0].astype(bool) & (label > 0)).any()
        assert result.record.target["moved"] > 0.1

    def test_the_record_tells_the_target(self, spatial_dims):
        aimed = toy_synthesizer(spatial_dims).aimed(MissTargets([missed(spatial_dims, case="real_7")]))
        record = aimed(toy_image(spatial_dims), seed=2).record
        assert record.target["case"] == "real_7" and len(record.target["centre"]) == spatial_dims
        assert 0 <= record.target["moved"] < 0.1
        assert SynthesisRecord.from_json(json.loads(json.dumps(record.to_json()))) == record

    def test_of_several_abnormalities_the_first_follows(self, spatial_dims):
        planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.12, 0.3) if spatial_dims == 2 else (0.2, 0.35))
        aimed = toy_synthesizer(spatial_dims, planner=planner).aimed(MissTargets([missed(spatial_dims)]))
        plans = [aimed.plan(SynthesisRequest(toy_image(spatial_dims), seed)) for seed in range(8)]
        assert max(np.abs(middle(one[0].mask) - 0.3).max() for one in plans) < 0.2
        assert max(np.abs(middle(one[1].mask) - 0.3).max() for one in plans) > 0.2

    def test_the_class_comes_from_the_row(self, spatial_dims):
        planner = toy_planner(spatial_dims, abnormalities=[Abnormality("polyp"), Abnormality("ulcer", 2)])
        synthesizer = toy_synthesizer(spatial_dims, planner=planner)
        image = toy_image(spatial_dims)
        for name in ("ulcer", "2"):
            aimed = synthesizer.aimed(MissTargets([missed(spatial_dims, abnormality=name)]))
            assert {aimed.plan(SynthesisRequest(image, seed))[0].abnormality.name for seed in range(6)} == {"ulcer"}
        with pytest.raises(ValueError, match="no missed lesion of the class 'polyp'"):
            aimed.plan(SynthesisRequest(image, 0, abnormality="polyp"))
        with pytest.raises(ValueError, match="'wart' is unknown.*polyp .1., ulcer .2."):
            synthesizer.aimed(MissTargets([missed(spatial_dims, abnormality="wart")]))

    def test_a_given_mask_is_above_the_misses(self, spatial_dims):
        aimed, mask = toy_synthesizer(spatial_dims).aimed(MissTargets([missed(spatial_dims)])), ball(spatial_dims, 5)
        assert (aimed.plan(SynthesisRequest(toy_image(spatial_dims), 0, mask=mask))[0].mask == mask).all()
        with pytest.raises(ValueError, match="give one of them"):
            request = SynthesisRequest(toy_image(spatial_dims), 0, mask=mask, target=Target(0.2, (0.5,) * spatial_dims))
            aimed.plan(request)

    def test_what_cannot_be_followed_is_said(self, spatial_dims):
        synthesizer, other = toy_synthesizer(spatial_dims), {2: 3, 3: 2}[spatial_dims]
        with pytest.raises(ValueError, match=f"the misses are {other}D but this bundle takes {spatial_dims}D"):
            synthesizer.aimed(MissTargets([missed(other)]))
        with pytest.raises(ValueError, match=f"{other} axes, the image {spatial_dims}"):
            synthesizer.plan(SynthesisRequest(toy_image(spatial_dims), 0, target=Target(0.2, (0.5,) * other)))
        with pytest.warns(UserWarning, match="colour 'mauve'"):
            synthesizer.aimed(MissTargets([missed(spatial_dims, looks={"colour": "mauve"})]))
        planner = toy_planner(spatial_dims)
        planner.masks = lambda allowed, spacing, rng: allowed
        with pytest.raises(TypeError, match="has no around"):
            toy_synthesizer(spatial_dims, planner=planner).aimed(MissTargets([missed(spatial_dims)]))


def test_the_window_holds_the_target(spatial_dims):
    aimed = toy_synthesizer(spatial_dims).aimed(MissTargets([missed(spatial_dims, 0.0)]))
    (plan,) = aimed.plan(SynthesisRequest(toy_image(spatial_dims), 1))
    assert plan.window.size == GRIDS[spatial_dims] * spatial_dims
