"""Labels and several lesions: what is there stays, what is new is merged, and neighbours leave each other alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from monai_diffaug.synthesis import (
    Abnormality,
    ChangeValidator,
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
from tests.toys import GRIDS, SHAPES, assert_untouched_outside, ball, toy_planner, toy_synthesizer


@pytest.mark.parametrize("channel", [False, True])
def test_the_label_keeps_its_shape_and_dtype(spatial_dims, synthesizer, toy_image, channel):
    label = np.zeros(SHAPES[spatial_dims], np.int32)
    label = label[None] if channel else label
    result = synthesizer(toy_image, label, seed=1)
    assert result.label.shape == label.shape and result.label.dtype == label.dtype
    assert synthesizer(toy_image, seed=1).label.shape == (1, *SHAPES[spatial_dims])


def test_existing_lesions_stay_and_keep_their_gap(spatial_dims, toy_image):
    radius = 16 if spatial_dims == 2 else 9
    label = ball(spatial_dims, radius, centre=[radius] * spatial_dims).astype(np.uint8)
    gap = int(np.ceil(0.05 * (2 * radius + 1)))
    distance = ndimage.distance_transform_edt(label == 0)
    accepted = 0
    for seed in range(6):
        result = toy_synthesizer(spatial_dims)(toy_image, label, seed=seed)
        changed = (result.image != toy_image).any(0)
        accepted += result.record.accepted
        assert not (changed & (distance <= gap)).any() and not (result.mask[0].astype(bool) & (distance <= gap)).any()
        assert (result.label[label > 0] == 1).all()
        assert ((result.label > 0) == ((label > 0) | (result.mask[0] > 0))).all()
    assert accepted


def test_binary_labels_of_255_stay_binary(spatial_dims, synthesizer, toy_image):
    label = ball(spatial_dims, 3, centre=[5] * spatial_dims).astype(np.uint8) * 255
    result = synthesizer(toy_image, label, mask=ball(spatial_dims, 6), seed=1)
    assert result.record.accepted
    assert set(np.unique(result.label)) == {0, 255} and (result.label[result.mask[0] > 0] == 255).all()
    assert result.record.abnormalities[0].value == 255


def test_classes_and_protected_values(spatial_dims, toy_image):
    """Organ 3 holds the abnormality; vessel 9, inside of it, is never overwritten."""
    label = np.full(SHAPES[spatial_dims], 3, np.int16)
    label[:, : label.shape[1] // 5] = 0
    label[(slice(None), slice(-6, None))] = 9
    planner = toy_planner(
        spatial_dims,
        regions=Regions(organ=(3,), protected=(9,)),
        abnormalities=[Abnormality("polyp", 4), Abnormality("ulcer", 6)],
    )
    synthesizer = toy_synthesizer(spatial_dims, planner=planner)
    values = set()
    for seed in range(8):
        result = synthesizer(toy_image, label, seed=seed)
        new = result.mask[0] > 0
        assert (label[new] == 3).all() and ((result.label == 9) == (label == 9)).all()
        assert (result.label[~new] == label[~new]).all()
        values |= set(np.unique(result.label[new]).tolist())
    assert values == {4, 6}
    named = synthesizer(toy_image, label, seed=0, abnormality="ulcer").record.abnormalities[0]
    assert (named.name, named.value) == ("ulcer", 6)


def test_several_lesions_are_all_in_the_result(spatial_dims, toy_image):
    planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.2, 0.3))
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, gate=QualityGate(iou=0.4))
    both = 0
    for seed in range(6):
        request = SynthesisRequest(toy_image, seed)
        result, plans = synthesizer.batch([request])[0], synthesizer.plan(request)
        accepted = [plan for plan, one in zip(plans, result.record.abnormalities, strict=True) if one.accepted]
        union = sum((plan.mask for plan in accepted), np.zeros(SHAPES[spatial_dims], int))
        assert (result.mask[0] == union).all() and union.max() <= 1
        both += len(accepted) == 2
    assert both >= 3


def test_neighbours_do_not_erase_each_other(spatial_dims, toy_image):
    """Oblique lesions lie in each other's bounding boxes; each keeps the very pixels that it has alone."""
    planner = Planner(
        Regions(),
        RandomMask(FormulaShapes(elongation=(3.0, 3.0), lobes=0.0), RelativeSize(0.4, 0.6)),
        PromptBank(["{name}"]),
        WindowSampler(GRIDS[spatial_dims]),
        abnormalities=[Abnormality("polyp")],
        counts=(0, 0, 0, 1),
    )
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, gate=QualityGate(iou=0.2, offset=9.0, before=2.0))
    crossing = 0
    for seed in range(6):
        request = SynthesisRequest(toy_image, seed)
        result, plans = synthesizer.batch([request])[0], synthesizer.plan(request)
        assert sum(plan.paint.astype(int) for plan in plans).max() == 1
        pairs = list(zip(plans, result.record.abnormalities, strict=True))
        boxes = [tuple(slice(*side) for side in zip(*one.bbox, strict=True)) for _, one in pairs]
        crossing += any(a is not b and a.paint[box].any() for a in plans for b, box in zip(plans, boxes, strict=True))
        for plan, one in pairs:
            if one.accepted:
                record = dataclasses.replace(result.record, abnormalities=(one,))
                alone = synthesizer.replay(SynthesisRequest(toy_image, seed, mask=plan.mask), record)
                assert (result.image[:, plan.paint] == alone.image[:, plan.paint]).all()
    assert crossing


def test_a_refused_lesion_is_not_painted_beside_an_accepted_one(spatial_dims, toy_image):
    class Blind(ChangeValidator):
        """Sees nothing in the left half of the image: bright there by construction."""

        def __call__(self, latent, source, size):
            return super().__call__(latent, source, size) * (source.mean() < 0.4)

    image = toy_image // 2
    image[:, : image.shape[1] // 2] += 128
    planner = toy_planner(spatial_dims, counts=(0, 1), size=(0.15, 0.25))
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, validator=Blind(), gate=QualityGate(iou=0.3))
    mixed = 0
    for seed in range(20):
        request = SynthesisRequest(image, seed)
        result = synthesizer.batch([request])[0]
        plans = synthesizer.plan(request)
        assert_untouched_outside(result, plans, image)
        flags = [one.accepted for one in result.record.abnormalities]
        if sorted(flags) == [False, True]:
            mixed += 1
            assert result.record.accepted
            assert (result.mask[0] > 0).tolist() == plans[flags.index(True)].mask.tolist()
    assert mixed


def test_a_label_that_cannot_hold_the_class_is_refused_before_painting(spatial_dims, toy_image):
    class NeverAsked(ChangeValidator):
        def __call__(self, latent, source, size):
            raise AssertionError("the networks ran for nothing")

    planner = toy_planner(spatial_dims, abnormalities=[Abnormality("polyp", 200)])
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, validator=NeverAsked())
    with pytest.raises(ValueError, match="does not fit"):
        synthesizer(toy_image, np.zeros(SHAPES[spatial_dims], np.int8), seed=0)
