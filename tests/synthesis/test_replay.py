"""Replay renders the recorded attempt again: equal bytes, from the source, the mask and the record alone."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from monai_diffaug.synthesis import Abnormality, ChangeValidator, QualityGate, SynthesisRecord, SynthesisRequest
from monai_diffaug.synthesis.window import Window
from tests.toys import SHAPES, ball, toy_image, toy_planner, toy_synthesizer


def replayed(synthesizer, request, result):
    """Replay from what a manifest would hold."""
    record = SynthesisRecord.from_json(json.loads(json.dumps(result.record.to_json())))
    again = SynthesisRequest(request.image, record.seed, request.label, request.spacing, mask=result.mask)
    return synthesizer.replay(again, record)


def assert_equal(one, other):
    for name in ("image", "label", "mask"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
        assert getattr(one, name).dtype == getattr(other, name).dtype
        assert getattr(one, name).shape == getattr(other, name).shape


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_equal_bytes(spatial_dims, batch_size, dtype):
    synthesizer = toy_synthesizer(spatial_dims, batch_size=batch_size)
    requests = [SynthesisRequest(toy_image(spatial_dims, dtype=dtype, seed=k), k) for k in range(4)]
    results = synthesizer.batch(requests)
    assert any(result.record.accepted for result in results)
    for request, result in zip(requests, results, strict=True):
        again = replayed(synthesizer, request, result)
        assert_equal(again, result)
        if result.record.accepted:
            assert again.record == result.record


@pytest.mark.parametrize("value", [1, 255])
def test_with_labels(spatial_dims, value):
    label = ball(spatial_dims, 4, centre=[6] * spatial_dims).astype(np.uint8) * value
    planner = toy_planner(spatial_dims, abnormalities=[Abnormality("polyp", 1), Abnormality("ulcer", 2)])
    synthesizer = toy_synthesizer(spatial_dims, planner=planner)
    accepted = 0
    for seed in range(5):
        request = SynthesisRequest(toy_image(spatial_dims), seed, label=label[None])
        result = synthesizer.batch([request])[0]
        accepted += result.record.accepted
        assert_equal(replayed(synthesizer, request, result), result)
    assert accepted


def test_with_two_lesions_and_a_label(spatial_dims):
    label = ball(spatial_dims, 3, centre=[5] * spatial_dims).astype(np.int16)
    planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.2, 0.3))
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, gate=QualityGate(iou=0.45))
    both = 0
    for seed in range(8):
        request = SynthesisRequest(toy_image(spatial_dims), seed, label=label)
        result = synthesizer.batch([request])[0]
        both += sum(one.accepted for one in result.record.abnormalities) == 2
        assert_equal(replayed(synthesizer, request, result), result)
    assert both >= 2


def test_with_one_of_two_refused(spatial_dims):
    class Blind(ChangeValidator):
        def __call__(self, latent, source, size):
            return super().__call__(latent, source, size) * (source.mean() < 0.4)

    image = toy_image(spatial_dims) // 2
    image[:, : image.shape[1] // 2] += 128
    planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.15, 0.25))
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, validator=Blind(), gate=QualityGate(iou=0.3))
    mixed = 0
    for seed in range(20):
        request = SynthesisRequest(image, seed)
        result = synthesizer.batch([request])[0]
        if sorted(one.accepted for one in result.record.abnormalities) == [False, True]:
            mixed += 1
            assert_equal(replayed(synthesizer, request, result), result)
    assert mixed


def test_with_spacing(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims)
    request = SynthesisRequest(toy_image(spatial_dims), 3, spacing=(2.0, 1.0, 0.5)[:spatial_dims])
    result = synthesizer.batch([request])[0]
    again = replayed(synthesizer, request, result)
    assert_equal(again, result)
    assert [one.extent for one in again.record.abnormalities] == [
        one.extent for one in result.record.abnormalities if one.accepted
    ]


def test_a_given_mask_of_several_parts(spatial_dims):
    mask = ball(spatial_dims, 5) | ball(spatial_dims, 2, centre=[5] * spatial_dims)
    synthesizer = toy_synthesizer(spatial_dims, gate=QualityGate(iou=0.3))
    request = SynthesisRequest(toy_image(spatial_dims), 1, mask=mask)
    result = synthesizer.batch([request])[0]
    assert result.record.accepted
    assert_equal(replayed(synthesizer, request, result), result)


def test_it_never_gates(spatial_dims):
    """A gate that would refuse everything changes nothing."""
    strict = toy_synthesizer(spatial_dims, gate=QualityGate(iou=1.0))
    for seed in range(6):
        request = SynthesisRequest(toy_image(spatial_dims), seed)
        result = toy_synthesizer(spatial_dims).batch([request])[0]
        assert_equal(replayed(strict, request, result), result)


def test_a_refused_sample_replays_to_its_source(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims, gate=QualityGate(iou=1.0))
    request = SynthesisRequest(toy_image(spatial_dims), 0)
    result = synthesizer.batch([request])[0]
    again = replayed(synthesizer, request, result)
    assert not result.record.accepted
    assert_equal(again, result)


def accepted_sample(spatial_dims, synthesizer):
    for seed in range(20):
        request = SynthesisRequest(toy_image(spatial_dims), seed)
        result = synthesizer.batch([request])[0]
        if all(one.accepted for one in result.record.abnormalities):
            return request, result
    raise AssertionError("no seed was accepted")


def test_another_noise_seed_or_window_is_noticed(spatial_dims):
    """So the record is what decides, not the planner."""
    synthesizer = toy_synthesizer(spatial_dims)
    request, result = accepted_sample(spatial_dims, synthesizer)
    (one,) = result.record.abnormalities
    again = SynthesisRequest(request.image, request.seed, mask=result.mask)
    noise = dataclasses.replace(one.attempts[-1], seed=one.attempts[-1].seed + 1)
    window = Window(one.window.origin, tuple(n + 1 for n in one.window.shape), one.window.size)
    for changed in (
        dataclasses.replace(one, attempts=(*one.attempts[:-1], noise)),
        dataclasses.replace(one, window=window),
    ):
        record = dataclasses.replace(result.record, abnormalities=(changed,))
        assert synthesizer.replay(again, record).image.tobytes() != result.image.tobytes()


def test_the_seed_field_does_not_decide(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims)
    request, result = accepted_sample(spatial_dims, synthesizer)
    again = SynthesisRequest(request.image, 12345, mask=result.mask)
    assert synthesizer.replay(again, result.record).image.tobytes() == result.image.tobytes()


def test_a_mask_is_needed(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims)
    request, result = accepted_sample(spatial_dims, synthesizer)
    with pytest.raises(ValueError, match="recorded mask"):
        synthesizer.replay(request, result.record)


def test_a_foreign_mask_is_refused_where_lesions_are_told_apart(spatial_dims):
    planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.2, 0.3))
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, gate=QualityGate(iou=0.3))
    request, result = accepted_sample(spatial_dims, synthesizer)
    foreign = SynthesisRequest(request.image, request.seed, mask=ball(spatial_dims, 3))
    with pytest.raises(ValueError, match="bounding boxes"):
        synthesizer.replay(foreign, result.record)


def test_a_foreign_mask_of_a_single_lesion_is_refused(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims)
    request, result = accepted_sample(spatial_dims, synthesizer)
    for wrong in (ball(spatial_dims, 2, centre=[4] * spatial_dims), np.zeros(SHAPES[spatial_dims], np.uint8)):
        with pytest.raises(ValueError, match="mask"):
            synthesizer.replay(SynthesisRequest(request.image, request.seed, mask=wrong), result.record)
