"""Targets: drawn after what was missed, followed by the planner, told in the record."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis import LesionOutcome, MissTargets, SynthesisRecord, SynthesisRequest, Target
from tests.toys import toy_image, toy_planner, toy_synthesizer

CUTS = {"polyp": {"colour": (-0.1, 0.1)}}


def missed(spatial_dims, *, extent=0.2, place=0.25, case="a", **fields):
    return LesionOutcome(case, extent, (place,) * spatial_dims, True, **fields)


def targets(spatial_dims, **numbers):
    found = LesionOutcome("b", 0.5, (0.8,) * spatial_dims, False, recall=0.9)
    return MissTargets([missed(spatial_dims, looks={"colour": 0.5}), found], CUTS, **numbers)


def test_drawn_near_what_was_missed(spatial_dims):
    drawn = [targets(spatial_dims)(seed) for seed in range(40)]
    assert all(0.2 / 1.25 - 1e-3 <= one.extent <= 0.2 * 1.25 + 1e-3 for one in drawn)
    assert all(abs(place - 0.25) <= 0.1 + 1e-3 for one in drawn for place in one.centre)
    assert {one.case for one in drawn} == {"a"} and len({one.extent for one in drawn}) > 20
    assert all(one.words == {"colour": "redder"} for one in drawn)
    assert targets(spatial_dims)(3) == targets(spatial_dims)(3)


def test_nearly_missed_lesions_count_by_the_smoothing(spatial_dims):
    outcomes = [missed(spatial_dims), LesionOutcome("b", 0.5, (0.8,) * spatial_dims, False, recall=0.2)]
    share = [
        np.mean([MissTargets(outcomes, smoothing=smoothing)(seed).case == "b" for seed in range(200)])
        for smoothing in (0.0, 0.2, 10.0)
    ]
    assert share[0] == 0 and 0.25 < share[1] < 0.5 and share[1] < share[2] < 0.62


def test_the_planner_follows(spatial_dims):
    """Sizes and places move to where the misses are."""
    image, aimed = toy_image(spatial_dims), toy_synthesizer(spatial_dims).aimed(targets(spatial_dims))
    extents, places = [], []
    for seed in range(12):
        (plan,) = aimed.plan(SynthesisRequest(image, seed))
        points = np.argwhere(plan.mask)
        low, high = points.min(0), points.max(0) + 1
        extents.append((high - low).max() / min(image.shape[1:]))
        places.append((low + high) / 2 / image.shape[1:])
    assert 0.13 < min(extents) and max(extents) < 0.32
    assert np.abs(np.array(places) - 0.25).max() < 0.22


def test_the_record_tells_the_target(spatial_dims):
    result = toy_synthesizer(spatial_dims).aimed(targets(spatial_dims))(toy_image(spatial_dims), seed=3)
    told = result.record.to_json()["target"]
    assert told["case"] == "a" and told["words"] == {"colour": "redder"} and told["moved"] < 0.3
    assert SynthesisRecord.from_json(result.record.to_json()) == result.record
    plain = toy_synthesizer(spatial_dims)(toy_image(spatial_dims), seed=3)
    assert "target" not in plain.record.to_json()


def test_without_targets_a_seed_gives_what_it_gave(spatial_dims):
    image, plain = toy_image(spatial_dims), toy_synthesizer(spatial_dims)
    again = plain.aimed(targets(spatial_dims))
    asked = SynthesisRequest(image, 5, mask=plain.plan(SynthesisRequest(image, 5))[0].mask)
    assert (plain.batch([asked])[0].image == again.batch([asked])[0].image).all()  # a given mask has its place


def test_where_the_place_is_not_allowed_the_nearest_is_taken(spatial_dims):
    image = toy_image(spatial_dims)
    label = np.zeros(image.shape[1:], np.uint8)
    label[: label.shape[0] // 2] = 1
    (plan,) = toy_synthesizer(spatial_dims).plan(
        SynthesisRequest(image, 1, label, target=Target(0.2, (0.25,) * spatial_dims))
    )
    assert not (plan.mask & (label > 0)).any()
    assert np.argwhere(plan.mask)[:, 0].min() < 0.75 * label.shape[0]


def test_a_class_by_name_or_value(spatial_dims):
    planner = toy_planner(spatial_dims)
    for text in ("polyp", "1"):
        planner.check_targets(MissTargets([missed(spatial_dims, abnormality=text)]))
    with pytest.raises(ValueError, match="class 'wart' is unknown to this bundle; it knows: polyp"):
        planner.check_targets(MissTargets([missed(spatial_dims, abnormality="wart")]))


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ValueError, match="none of 1 lesions was missed"):
        MissTargets([LesionOutcome("a", 0.1, (0.5, 0.5), False)])
    with pytest.raises(ValueError, match="different numbers of dimensions"):
        MissTargets([missed(2), missed(3)])
    with pytest.raises(ValueError, match="the misses are 3D but this bundle takes 2D"):
        toy_synthesizer(2).aimed(MissTargets([missed(3)]))
    with pytest.raises(ValueError, match="extent must be above 0"):
        Target(0.0, (0.5, 0.5))
    with pytest.raises(ValueError, match="fractions in"):
        Target(0.1, (0.5, 1.5))
    with pytest.raises(ValueError, match="smoothing must be 0 or more"):
        MissTargets([missed(2)], factor=0.5)
