"""The whole method: what stays untouched, what depends on the seed alone, and what is refused with a clear sentence."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import (
    Abnormality,
    FormulaShapes,
    Planner,
    PromptBank,
    QualityGate,
    RandomMask,
    Regions,
    RelativeSize,
    SynthesisRequest,
    WindowSampler,
)
from tests.toys import SHAPES, assert_untouched_outside, ball, toy_image, toy_planner, toy_synthesizer

RANGES = {np.uint8: (0.0, 255.0), np.int16: (-1000.0, 3000.0), np.float32: (0.0, 1.0)}


def image_of(spatial_dims, dtype, seed=0):
    low, high = RANGES[dtype]
    values = low + (high - low) * (toy_image(spatial_dims, dtype=np.float64, seed=seed) / 255)
    return (np.rint(values) if np.issubdtype(dtype, np.integer) else values).astype(dtype)


def same(one, other):
    return (
        one.image.tobytes() == other.image.tobytes()
        and one.label.tobytes() == other.label.tobytes()
        and one.mask.tobytes() == other.mask.tobytes()
        and one.record.abnormalities == other.record.abnormalities
    )


@pytest.mark.parametrize("dtype", list(RANGES))
def test_not_one_bit_changes_outside_the_paint_mask(spatial_dims, dtype):
    planner = toy_planner(spatial_dims, counts=(2, 1), size=(0.15, 0.35))
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, intensity_range=RANGES[dtype])
    accepted = 0
    for seed in range(8):
        request = SynthesisRequest(image_of(spatial_dims, dtype, seed), seed)
        result = synthesizer.batch([request])[0]
        accepted += result.record.accepted
        assert_untouched_outside(result, synthesizer.plan(request), request.image)
    assert accepted >= 4


@pytest.mark.slow
def test_not_one_bit_changes_in_a_thousand_samples(spatial_dims):
    """500 samples each in 2D and 3D, over three dtypes and batches of three."""
    seed = accepted = 0
    while seed < 500:
        dtype = list(RANGES)[seed % 3]
        planner = toy_planner(spatial_dims, counts=(2, 1), size=(0.12, 0.4))
        synthesizer = toy_synthesizer(spatial_dims, planner=planner, intensity_range=RANGES[dtype], batch_size=3)
        requests = [SynthesisRequest(image_of(spatial_dims, dtype, k), k) for k in range(seed, seed + 10)]
        for request, result in zip(requests, synthesizer.batch(requests), strict=True):
            accepted += result.record.accepted
            assert_untouched_outside(result, synthesizer.plan(request), request.image)
        seed += 10
    assert accepted > 250


def test_same_seed_same_bytes_and_other_seeds_differ(spatial_dims, toy_image):
    results = [toy_synthesizer(spatial_dims)(toy_image, seed=seed) for seed in (3, 3, 4)]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_seed_alone_decides_not_what_ran_before(synthesizer, toy_image):
    first = synthesizer(toy_image, seed=5)
    synthesizer(toy_image, seed=6)
    assert same(first, synthesizer(toy_image, seed=5))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_order_batch_mates_and_padding_do_not_matter(spatial_dims, batch_size):
    synthesizer = toy_synthesizer(spatial_dims, batch_size=batch_size)
    requests = [SynthesisRequest(toy_image(spatial_dims, seed=k), k) for k in range(6)]
    alone = [synthesizer.batch([one])[0] for one in requests]
    assert all(same(a, b) for a, b in zip(alone, synthesizer.batch(requests), strict=True))
    backwards = synthesizer.batch(requests[::-1])[::-1]
    assert all(same(a, b) for a, b in zip(alone, backwards, strict=True))
    assert same(alone[3], synthesizer.batch([requests[3], requests[0]])[0])


def test_requests_may_be_mappings(spatial_dims, synthesizer, toy_image):
    one = synthesizer.batch([{"image": toy_image, "seed": 3}])[0]
    assert same(one, synthesizer(toy_image, seed=3))
    with pytest.raises(TypeError, match="sead"):
        synthesizer.batch([{"image": toy_image, "sead": 3}])
    assert synthesizer.batch([]) == []


def test_the_result_is_what_was_planned(spatial_dims, synthesizer, toy_image):
    for seed in range(4):
        request = SynthesisRequest(toy_image, seed)
        (plan,) = synthesizer.plan(request)
        result = synthesizer.batch([request])[0]
        (one,) = result.record.abnormalities
        assert (result.planned[0] > 0).tolist() == plan.mask.tolist()
        expected = plan.mask if result.record.accepted else np.zeros_like(plan.mask)
        assert result.mask.dtype == np.uint8 and (result.mask[0] == expected).all()
        assert (result.label[0] == expected).all()
        assert (one.prompt, one.window, one.name, one.value) == (plan.prompt, plan.window, "polyp", 1)
        assert [a.seed for a in one.attempts] == list(plan.seeds[: len(one.attempts)])
        low, high = one.bbox
        assert plan.mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].sum() == plan.mask.sum()
        assert one.extent == max(b - a for a, b in zip(low, high, strict=True))


def test_a_refused_sample_is_its_source(spatial_dims, toy_image):
    """Never an unvalidated sample, never silence."""
    synthesizer = toy_synthesizer(spatial_dims, gate=QualityGate(iou=1.0))
    label = ball(spatial_dims, 3, centre=[4] * spatial_dims).astype(np.int16) * 5
    result = synthesizer(toy_image, label, seed=2)
    assert not result.record.accepted and len(result.record.attempts) == 4
    assert all(attempt.reasons for attempt in result.record.attempts)
    assert result.image.tobytes() == toy_image.tobytes() and result.image.dtype == toy_image.dtype
    assert result.label.tobytes() == label.tobytes() and result.label.dtype == label.dtype
    assert not result.mask.any() and result.planned.any()


def test_results_share_no_memory_with_what_was_given(spatial_dims, toy_image):
    label = np.zeros(SHAPES[spatial_dims], np.uint8)
    for gate in (None, QualityGate(iou=1.0)):
        result = toy_synthesizer(spatial_dims, gate=gate)(toy_image, label, seed=2)
        assert not np.shares_memory(result.image, toy_image) and not np.shares_memory(result.label, label)


def test_inputs_are_never_modified(spatial_dims):
    """They may even be read-only."""
    image = toy_image(spatial_dims)
    given = {
        "image": image,
        "label": ball(spatial_dims, 3, centre=[4] * spatial_dims).astype(np.uint8),
        "regions": np.ones(image.shape[1:], np.uint8),
    }
    before = {name: value.tobytes() for name, value in given.items()}
    for value in given.values():
        value.flags.writeable = False
    synthesizer = toy_synthesizer(spatial_dims)
    for seed in range(3):
        synthesizer(**given, seed=seed)
    synthesizer(image, mask=ball(spatial_dims, 5), seed=0)
    assert {name: value.tobytes() for name, value in given.items()} == before


def test_global_random_state_is_left_alone(spatial_dims, synthesizer, toy_image):
    python, numpy_, torch_ = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    synthesizer(toy_image, seed=1)
    after = np.random.get_state()  # noqa: NPY002
    assert random.getstate() == python
    assert after[0] == numpy_[0] and (after[1] == numpy_[1]).all() and after[2:] == numpy_[2:]
    assert torch.equal(torch.random.get_rng_state(), torch_)


def test_tensors_come_back_as_tensors(spatial_dims, synthesizer, toy_image):
    label = np.zeros(SHAPES[spatial_dims], np.int64)
    arrays = synthesizer(toy_image, label, seed=1)
    tensors = synthesizer(torch.from_numpy(toy_image), torch.from_numpy(label), seed=1)
    for name in ("image", "label", "mask", "prediction", "planned"):
        one, other = getattr(arrays, name), getattr(tensors, name)
        assert isinstance(one, np.ndarray) and isinstance(other, torch.Tensor)
        assert (other.numpy() == one).all() and other.numpy().dtype == one.dtype
    mixed = synthesizer(torch.from_numpy(toy_image), label, seed=1)
    assert isinstance(mixed.label, np.ndarray) and isinstance(mixed.image, torch.Tensor)


def test_a_given_mask_is_the_truth_to_the_last_pixel(spatial_dims, synthesizer, toy_image):
    """It is never resampled, however ragged."""
    rng = np.random.default_rng(0)
    mask = ball(spatial_dims, 7) & (rng.random(SHAPES[spatial_dims]) < 0.97)
    result = synthesizer(toy_image, mask=mask[None], seed=3)
    assert result.record.accepted and (result.mask[0] == mask).all() and (result.label[0] == mask).all()


def test_a_prompt_of_ones_own(spatial_dims, synthesizer, toy_image):
    darker, brighter = (
        synthesizer(toy_image, mask=ball(spatial_dims, 7), prompt=prompt, seed=3)
        for prompt in ("darker polyp", "brighter polyp")
    )
    assert darker.record.prompt == "darker polyp"
    inside = ball(spatial_dims, 5)
    before, low, high = (image[0][inside].mean() for image in (toy_image, darker.image, brighter.image))
    assert low < before < high


def test_anisotropic_spacing(spatial_dims, toy_image):
    planner = toy_planner(spatial_dims, size=(0.3, 0.5))
    spacing = (2.0, 1.0, 1.0)[:spatial_dims]
    accepted = 0
    for seed in range(5):
        result = toy_synthesizer(spatial_dims, planner=planner)(toy_image, seed=seed, spacing=spacing)
        accepted += result.record.accepted
        assert result.record.unit == "mm"
        (one,) = result.record.abnormalities
        sides = (np.array(one.bbox[1]) - one.bbox[0]) * spacing
        assert one.extent == pytest.approx(sides.max())
    assert accepted
    assert toy_synthesizer(spatial_dims)(toy_image, seed=0).record.unit == "pixels"


def test_images_smaller_than_the_window(spatial_dims):
    planner = Planner(
        Regions(),
        RandomMask(FormulaShapes(), RelativeSize(0.4, 0.5)),
        PromptBank(["{name}"]),
        WindowSampler((24,), factors=(3.5, 4.0)),
        abnormalities=[Abnormality("polyp")],
    )
    image = np.ascontiguousarray(toy_image(spatial_dims)[(slice(None), *[slice(0, 17)] * spatial_dims)])
    for seed in range(4):
        request = SynthesisRequest(image, seed)
        synthesizer = toy_synthesizer(spatial_dims, planner=planner)
        (plan,) = synthesizer.plan(request)
        assert max(plan.window.shape) > 17
        assert_untouched_outside(synthesizer.batch([request])[0], [plan], image)


def test_the_prediction_lies_where_the_mask_lies(spatial_dims, synthesizer, toy_image):
    for seed in range(5):
        result = synthesizer(toy_image, seed=seed)
        if result.record.accepted:
            mask, pred = result.mask > 0, result.prediction > 0
            assert result.prediction.dtype == np.uint8 and result.prediction.shape == result.mask.shape
            assert (mask & pred).sum() / (mask | pred).sum() > 0.5


def test_several_channels(spatial_dims):
    image = toy_image(spatial_dims, channels=3)
    synthesizer = toy_synthesizer(spatial_dims, channels=3)
    request = SynthesisRequest(image, 1)
    assert_untouched_outside(synthesizer.batch([request])[0], synthesizer.plan(request), image)


def test_weights_and_batch_size_are_recorded(spatial_dims, toy_image):
    synthesizer = toy_synthesizer(spatial_dims, batch_size=2)
    synthesizer.weights["denoiser"] = "ab" * 32
    record = synthesizer(toy_image, seed=0).record
    assert record.batch_size == 2 and record.weights == {"denoiser": "ab" * 32} and record.seed == 0
    assert {"torch", "numpy"} <= set(record.versions)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_it_can_be_copied_and_pickled(synthesizer, toy_image, copied):
    assert same(copied(synthesizer)(toy_image, seed=2), synthesizer(toy_image, seed=2))
