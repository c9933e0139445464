"""Promises that were broken once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import (
    Abnormality,
    Background,
    FormulaShapes,
    NearCopies,
    NetworkValidator,
    NoRoomError,
    PhysicalSize,
    PromptBank,
    QualityGate,
    RandomMask,
    Regions,
    SynthesisRequest,
    TextureInpainter,
    WindowSampler,
)
from monai_diffaug.synthesis.blend import paint_mask
from tests.tiny_networks import tiny_inpainter, tiny_validator_net
from tests.toys import ball, toy_image, toy_planner, toy_synthesizer


class AsksEarly(TextureInpainter):
    """Asks ``keep`` half-way with a half-painted latent and stops when nobody is kept, as a sampler does."""

    def inpaint(self, canvas, prompts, seeds, keep=None):
        painted = super().inpaint(canvas, prompts, seeds)
        halfway = (painted + canvas.source) / 2
        if keep is not None and not keep(0.4, halfway).any():
            return halfway
        return painted


def network_synthesizer(spatial_dims, batch_size):
    validator = NetworkValidator(tiny_validator_net(spatial_dims))
    gate = QualityGate(iou=0.0, offset=99, spill=2, before=2, reconstruction_error=0.0, iou_alone=True)
    inpainter = tiny_inpainter(spatial_dims)
    return toy_synthesizer(spatial_dims, inpainter=inpainter, validator=validator, gate=gate, batch_size=batch_size)


def test_the_callers_autocast_stays_outside(spatial_dims):
    synthesizer, image = network_synthesizer(spatial_dims, 1), toy_image(spatial_dims)
    plain = synthesizer.batch([SynthesisRequest(image, 3)], audit=True)[0]
    with torch.autocast("cpu", torch.bfloat16):
        inside = synthesizer.batch([SynthesisRequest(image, 3)], audit=True)[0]
    assert plain.record.to_json() == inside.record.to_json()
    painted = [one.image if one.refused is None else one.refused for one in (plain, inside)]
    assert (painted[0] == painted[1]).all()


def test_a_refused_sample_does_not_depend_on_kept_mates(spatial_dims):
    """Alone, sampling stops when it is refused; beside a kept mate it goes on."""
    planner = toy_planner(spatial_dims, max_attempts=1, size=(0.1, 0.3))
    synthesizer = toy_synthesizer(
        spatial_dims, planner=planner, inpainter=AsksEarly(), gate=QualityGate(iou=0.8), batch_size=2
    )
    image = toy_image(spatial_dims)
    alone = {seed: synthesizer.batch([SynthesisRequest(image, seed)], audit=True)[0] for seed in range(12)}
    early = [seed for seed, one in alone.items() if one.record.attempts[0].stopped_early]
    kept = [seed for seed, one in alone.items() if not one.record.attempts[0].stopped_early]
    assert early and kept
    for pair in itertools.product(early[:2], kept[:2]):
        for seed, one in zip(
            pair, synthesizer.batch([SynthesisRequest(image, s) for s in pair], audit=True), strict=True
        ):
            assert one.record == alone[seed].record
            assert (one.prediction == alone[seed].prediction).all()
            assert (one.refused is None) == (alone[seed].refused is None)
            assert one.refused is None or (one.refused == alone[seed].refused).all()


def test_audit_changes_no_record_and_no_prediction(spatial_dims):
    synthesizer, image = toy_synthesizer(spatial_dims, gate=QualityGate(iou=0.8)), toy_image(spatial_dims)
    for seed in range(6):
        plain, audited = (synthesizer.batch([SynthesisRequest(image, seed)], audit=audit)[0] for audit in (False, True))
        assert plain.record == audited.record and (plain.prediction == audited.prediction).all()


@pytest.mark.parametrize("side", [10, 16, 24])
def test_a_small_allowed_place_in_a_large_image_is_found(side):
    allowed = np.zeros((800, 900), bool)
    allowed[300 : 300 + side, 400 : 400 + side] = True
    sampler = RandomMask(FormulaShapes(), PhysicalSize(60, 300))
    for seed in range(20):
        mask = sampler(allowed, (1.0, 1.0), np.random.default_rng(seed))
        assert mask.sum() >= 12 and not (mask & ~allowed).any()


def test_where_nothing_fits_it_says_so(spatial_dims):
    allowed = np.zeros((40,) * spatial_dims, bool)
    allowed[(20,) * spatial_dims] = True
    with pytest.raises(NoRoomError, match="none fits 12 connected"):
        RandomMask(FormulaShapes(), PhysicalSize(8, 12))(allowed, (1.0,) * spatial_dims, np.random.default_rng(0))


def test_no_room_is_a_refused_sample_at_every_door(spatial_dims, toy_image):
    regions = np.zeros(toy_image.shape[1:], np.uint8)
    regions[(10,) * spatial_dims] = 1
    result = toy_synthesizer(spatial_dims)(toy_image, seed=4, regions=regions)
    assert not result.record.accepted and result.record.attempts[0].reasons == ("no room",)
    assert (result.image == toy_image).all() and not result.mask.any() and result.record.prompt == ""
    assert type(result.record).from_json(result.record.to_json()) == result.record


def test_a_prompt_that_names_a_class_is_of_that_class(spatial_dims, toy_image):
    classes = [Abnormality("polyp", 1), Abnormality("ulcer", 2)]
    synthesizer = toy_synthesizer(spatial_dims, planner=toy_planner(spatial_dims, abnormalities=classes))
    for seed in range(6):
        (plan,) = synthesizer.plan(SynthesisRequest(toy_image, seed, prompt="redder ulcer"))
        assert plan.abnormality.value == 2
    with pytest.raises(ValueError, match="names the class ulcer, but 'polyp' was asked for"):
        synthesizer(toy_image, prompt="an ulcer", abnormality="polyp")
    with pytest.raises(ValueError, match="names the class polyp and ulcer"):
        synthesizer(toy_image, prompt="a polyp and an ulcer")


def test_a_large_class_value_without_a_label_fits(spatial_dims, toy_image):
    planner = toy_planner(spatial_dims, abnormalities=[Abnormality("polyp", 300)])
    result = toy_synthesizer(spatial_dims, planner=planner)(toy_image, seed=1)
    assert result.record.accepted and int(result.label.max()) == 300


def test_the_margin_is_physical_but_two_pixels_at_least():
    mask = np.zeros((100, 100, 30), bool)
    mask[30:70, 30:70, 10:18] = True
    grown = paint_mask(mask, None, (1.0, 1.0, 5.0))
    where = np.argwhere(grown)
    assert where.min(0).tolist() == [26, 26, 8] and where.max(0).tolist() == [73, 73, 19]


def test_the_gap_is_physical():
    label = np.zeros((60, 60, 30), np.uint8)
    label[25:35, 25:35, 10:20] = 1
    guard = np.argwhere(Regions().guard(label, (1.0, 1.0, 5.0)))
    assert guard.min(0).tolist() == [22, 22, 9] and guard.max(0).tolist() == [37, 37, 20]


def test_protected_values_are_not_painted_over(spatial_dims, toy_image):
    label = np.zeros(toy_image.shape[1:], np.uint8)
    label[: label.shape[0] // 2 - 5] = 9
    planner = toy_planner(spatial_dims, regions=Regions(protected=(9,)))
    mask = ball(spatial_dims, 4)
    result = toy_synthesizer(spatial_dims, planner=planner, gate=QualityGate(iou=0.3))(toy_image, label, 2, mask=mask)
    assert result.record.accepted and (result.image != toy_image).any()
    assert (result.image == toy_image)[:, label == 9].all()


def test_requests_are_taken_when_they_are_needed(spatial_dims, toy_image):
    """A killed run loses what is under way: that is two batches at most."""
    synthesizer, taken = toy_synthesizer(spatial_dims, batch_size=2), []

    def requests():
        for seed in range(9):
            taken.append(seed)
            yield SynthesisRequest(toy_image, seed)

    for done, _ in enumerate(synthesizer.stream(requests())):
        assert len(taken) - done <= 4
    assert taken == list(range(9))


def test_two_sizes_in_one_text_are_refused():
    bank = PromptBank(["{size} {name}"])
    with pytest.raises(ValueError, match="names the sizes small and large; keep one"):
        bank.check_words("a large or small polyp", ["polyp"])


@pytest.mark.parametrize(
    "build",
    [
        lambda: WindowSampler(jitter=-0.1),
        lambda: WindowSampler(max_reduction=0.5),
        lambda: WindowSampler(sides=[]),
        lambda: QualityGate(spill=-1),
        lambda: NearCopies(torch.ones(1, 4), threshold=2),
        lambda: PromptBank(["{name}"], size_cuts=(0.3, 0.1)),
        lambda: Background(0),
        lambda: RandomMask(FormulaShapes(), PhysicalSize(1, 2), min_pixels=0),
        lambda: toy_planner(2, margin=1.5),
    ],
)
def test_impossible_numbers_are_refused_when_built(build):
    with pytest.raises(ValueError, match="must"):
        build()


def test_the_gate_judges_what_the_file_can_hold(spatial_dims):
    """A file of few grey levels may not hold the paint at all: then nothing may be accepted."""
    image = np.full(toy_image(spatial_dims).shape, 100.0, np.float32)

    def coarse(values):
        return (np.rint(values / 100) * 100).astype(np.float32)

    synthesizer = toy_synthesizer(spatial_dims)
    for seed in range(6):
        plain = synthesizer.batch([SynthesisRequest(image, seed)])[0]
        rounded = synthesizer.batch([SynthesisRequest(image, seed, quantise=coarse)])[0]
        assert (rounded.image % 100 == 0).all()
        assert plain.record.accepted
        assert rounded.record.accepted == bool((rounded.image != image).any())
