"""Removal: nothing outside the paint changes, and nothing is accepted in which a lesion is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import ChangeValidator, LesionRemover, NormalGate, SynthesisRequest
from monai_diffaug.synthesis.normal_gate import SEEN_BESIDE, STILL_SEEN
from monai_diffaug.synthesis.prompts import NORMAL_TEXT
from monai_diffaug.synthesis.removal import TOO_LARGE
from tests.synthesis.fakes import Always, Recorder
from tests.toys import ball, toy_image, toy_planner, toy_synthesizer

PLACES = {2: ((22, 24), (55, 70)), 3: ((9, 8, 9), (22, 19, 27))}
RADIUS = {2: 7, 3: 4}


class Filler(Recorder):
    """Paint a flat grey where it is asked to; ``fail_first`` calls paint it white."""

    def inpaint(self, canvas, prompts, seeds, keep=None):
        super().inpaint(canvas, prompts, seeds)
        colour = 1.0 if len(self.seeds) <= self.fail_first else -0.9
        return torch.where(canvas.paint_mask > 0, colour, canvas.source)


class SeesWhite:
    """See a lesion wherever it is white."""

    def __call__(self, latent, source, size):
        return (latent.mean(1, keepdim=True) > 0.8).float()


def white(spatial_dims, label):
    image = toy_image(spatial_dims)
    image[:, label > 0] = 255
    return image


def lesions(spatial_dims, *, count=2, radius=None):
    label = np.zeros(toy_image(spatial_dims).shape[1:], np.uint8)
    for centre in PLACES[spatial_dims][:count]:
        label[ball(spatial_dims, radius or RADIUS[spatial_dims], centre=centre)] = 1
    return label


def remover(spatial_dims, *, validator=None, fail_first=0, **fields):
    synthesizer = toy_synthesizer(
        spatial_dims, inpainter=Filler(fail_first), validator=validator or Always(0.0), **fields
    )
    return LesionRemover(synthesizer)


def test_lesions_are_painted_over_and_the_rest_stays(spatial_dims):
    image, label = toy_image(spatial_dims), lesions(spatial_dims)
    one = remover(spatial_dims)
    result = one(image, label, seed=3)
    assert result.accepted and not result.label.any() and result.label.dtype == label.dtype
    assert (result.mask[0] == label).all() and len(result.record.abnormalities) == 2
    changed = (result.image != image).any(0)
    plans = one.plan(SynthesisRequest(image, 3, label))
    paint = np.any([plan.paint for plan in plans], axis=0)
    assert changed[label > 0].mean() > 0.99 and not changed[~paint].any()
    assert result.image.dtype == image.dtype
    assert {text for asked in one.renderer.inpainter.prompts for text in asked} == {NORMAL_TEXT}


def test_nothing_of_a_lesion_reaches_the_network(spatial_dims):
    """Neither where painting begins, nor what it is conditioned on, tells of what was there."""
    label = lesions(spatial_dims)
    image = toy_image(spatial_dims)
    other = image.copy()
    other[:, label > 0] = 255 - other[:, label > 0]
    one, two = remover(spatial_dims), remover(spatial_dims)
    one(image, label, seed=3), two(other, label, seed=3)
    for first, second in zip(one.renderer.inpainter.canvases, two.renderer.inpainter.canvases, strict=True):
        assert first.begins < 1 and (first.label_mask == first.paint_mask).all()
        assert torch.equal(first.source, second.source) and torch.equal(first.blanked, second.blanked)


def test_same_seed_same_bytes_whatever_the_company(spatial_dims):
    requests = [SynthesisRequest(toy_image(spatial_dims, seed=k), k, lesions(spatial_dims)) for k in range(3)]
    one = remover(spatial_dims)
    together = dict(one.stream(requests))
    for index, request in enumerate(requests):
        alone = remover(spatial_dims)(request.image, request.label, request.seed)
        assert (alone.image == together[index].image).all()
        assert alone.record.to_json() == together[index].record.to_json()


@pytest.mark.parametrize("probability", [0.6, 1.0])
def test_where_a_lesion_is_seen_the_source_comes_back(spatial_dims, probability):
    image, label = toy_image(spatial_dims), lesions(spatial_dims)
    result = remover(spatial_dims, validator=Always(probability))(image, label)
    assert not result.accepted and (result.image == image).all() and (result.label == label).all()
    attempts = [attempt for one in result.record.abnormalities for attempt in one.attempts]
    assert len(attempts) == 8 and all(STILL_SEEN in attempt.reasons for attempt in attempts)


def test_one_lesion_that_stays_is_enough_to_refuse(spatial_dims):
    """Half a removal leaves an image that is not normal and whose label says that it is."""
    label = lesions(spatial_dims)
    image = white(spatial_dims, label)
    result = remover(spatial_dims, validator=SeesWhite(), fail_first=4)(image, label)
    accepted = [one.accepted for one in result.record.abnormalities]
    assert accepted == [False, True] and not result.accepted and (result.image == image).all()


def test_it_is_tried_again_with_other_noise(spatial_dims):
    one, label = remover(spatial_dims, validator=SeesWhite(), fail_first=1), lesions(spatial_dims, count=1)
    result = one(white(spatial_dims, label), label)
    assert result.accepted and [attempt.accepted for attempt in result.record.attempts] == [False, True]
    assert len({attempt.seed for attempt in result.record.attempts}) == 2


def test_neighbours_are_removed_together(spatial_dims):
    label = np.zeros(toy_image(spatial_dims).shape[1:], np.uint8)
    first = [n // 2 for n in label.shape]
    second = [*first[:-1], first[-1] + 2 * RADIUS[spatial_dims] + 2]
    for centre in (first, second):
        label[ball(spatial_dims, RADIUS[spatial_dims], centre=centre)] = 1
    (plan,) = remover(spatial_dims).plan(SynthesisRequest(toy_image(spatial_dims), 0, label))
    assert (plan.mask == (label > 0)).all()


def test_a_lesion_that_fills_the_image_is_refused_unpainted(spatial_dims):
    image = toy_image(spatial_dims)
    label = np.ones(image.shape[1:], np.uint8)
    one = remover(spatial_dims)
    result = one(image, label)
    assert not result.accepted and result.record.attempts[0].reasons == (TOO_LARGE,)
    assert not one.renderer.inpainter.prompts


def test_organ_and_protected_values_stay(spatial_dims):
    planner = toy_planner(spatial_dims)
    planner.regions.organ, planner.regions.protected = (2,), (3,)
    label = np.full(toy_image(spatial_dims).shape[1:], 2, np.uint8)
    label[lesions(spatial_dims, count=1) > 0] = 1
    label[..., -3:] = 3
    image = toy_image(spatial_dims)
    result = remover(spatial_dims, planner=planner)(image, label)
    assert result.accepted and set(np.unique(result.label)) == {2, 3}
    assert (result.image[..., -3:] == image[..., -3:]).all()


def test_a_normal_image_is_normal(spatial_dims):
    image = toy_image(spatial_dims)
    result = remover(spatial_dims)(image, np.zeros(image.shape[1:], np.uint8))
    assert result.accepted and (result.image == image).all() and result.record.abnormalities == ()


def test_a_label_is_needed(spatial_dims):
    with pytest.raises(ValueError, match="removal needs a label"):
        remover(spatial_dims)(toy_image(spatial_dims), None)


class TestGate:
    mask = torch.zeros(1, 20, 20)
    mask[:, 6:14, 6:14] = 1
    paint = torch.zeros(1, 20, 20)
    paint[:, 1:19, 1:19] = 1

    def judged(self, pred, *, change=0.5):
        return NormalGate().judge(self.mask, pred, self.paint, change=change)

    def test_nothing_is_accepted(self):
        assert self.judged(torch.zeros_like(self.mask)).accepted

    def test_a_speck_is_nothing_and_a_tenth_is_not(self):
        for cells, accepted in ((2, True), (3, False)):
            pred = torch.zeros_like(self.mask)
            pred[:, 7 : 7 + cells, 7 : 7 + cells] = 1
            verdict = self.judged(pred)
            assert verdict.accepted == accepted and (STILL_SEEN in verdict.reasons) != accepted

    def test_a_lesion_in_the_rim(self):
        pred = torch.zeros_like(self.mask)
        pred[:, 1:6, 1:6] = 1
        assert self.judged(pred).reasons == (SEEN_BESIDE,)
        pred = pred * (1 - self.paint)  # what was there before is not judged
        assert self.judged(pred).accepted

    def test_what_did_not_change_is_no_removal(self):
        assert self.judged(torch.zeros_like(self.mask), change=0.001).reasons == ("too little change",)

    @pytest.mark.parametrize("numbers", [{"covered": 1.0}, {"covered": -0.1}, {"reconstruction_error": -1.0}])
    def test_numbers(self, numbers):
        with pytest.raises(ValueError, match="covered must lie in"):
            NormalGate(**numbers)


def test_the_change_validator_sees_paint_and_refuses(spatial_dims):
    result = remover(spatial_dims, validator=ChangeValidator())(toy_image(spatial_dims), lesions(spatial_dims))
    assert not result.accepted
