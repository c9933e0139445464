"""The gate: every reason can be reached, alone; raising its threshold never accepts more; nothing empty passes."""

from __future__ import annotations

import pickle

import pytest
import torch

from monai_diffaug.synthesis import NearCopies, QualityGate, Verdict
from monai_diffaug.synthesis.gate import LESION_BEFORE, LOW_IOU, NO_CHANGE, OFF_CENTRE, SPILL, outside_known, overlap

SIDE = 24


def box(spatial_dims, low=6, high=18, shift=0):
    """Return a cube, 0 or 1, (1, *size), moved by ``shift`` along the first axis."""
    mask = torch.zeros(1, *[SIDE] * spatial_dims)
    mask[(0, slice(low + shift, high + shift), *[slice(low, high)] * (spatial_dims - 1))] = 1
    return mask


def judge(mask, pred, *, paint=None, change=0.5, gate=None, before=()):
    paint = torch.ones_like(mask) if paint is None else paint
    return (gate or QualityGate()).judge(mask, pred, paint, change=change, before=before)


def test_a_perfect_paint_is_accepted(spatial_dims):
    mask = box(spatial_dims)
    assert judge(mask, mask, paint=mask) == Verdict(True, 1.0, ())


@pytest.mark.parametrize("spoilt", ["nothing", "everything"])
def test_an_empty_or_full_prediction_is_never_accepted(spatial_dims, spoilt):
    mask = box(spatial_dims)
    pred = torch.zeros_like(mask) if spoilt == "nothing" else torch.ones_like(mask)
    for gate in (QualityGate(), QualityGate(iou_alone=True), QualityGate(iou=0.0)):
        verdict = judge(mask, pred, paint=mask, gate=gate, change=0.0)
        if spoilt == "nothing":
            assert not verdict.accepted and verdict.iou == 0 and LOW_IOU in verdict.reasons
        elif gate.iou:
            assert not verdict.accepted and LOW_IOU in verdict.reasons


def test_overlap_of_two_empty_masks_is_zero(spatial_dims):
    empty = torch.zeros(1, *[SIDE] * spatial_dims)
    assert overlap(empty, empty) == 0
    assert not judge(empty, empty, gate=QualityGate(iou=0.0), change=1.0).accepted


def test_overlap_is_intersection_over_union(spatial_dims):
    assert overlap(box(spatial_dims), box(spatial_dims, shift=6)) == pytest.approx(6 / 18)
    assert overlap(box(spatial_dims), box(spatial_dims, shift=3)) == overlap(
        box(spatial_dims, shift=3), box(spatial_dims)
    )


def test_iou_must_be_above_the_threshold_not_at_it(spatial_dims):
    mask, pred = box(spatial_dims), box(spatial_dims, shift=1)
    iou = overlap(mask, pred)
    assert not judge(mask, pred, gate=QualityGate(iou=iou)).accepted
    assert judge(mask, pred, gate=QualityGate(iou=iou - 1e-6)).accepted


def test_monotone_in_its_threshold(spatial_dims):
    mask = box(spatial_dims)
    preds = [box(spatial_dims, shift=shift) for shift in range(6)]
    preds += [box(spatial_dims, low, high) for low in (3, 6, 8) for high in (14, 18, 22)]
    thresholds = [0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0]
    counts = []
    for iou in thresholds:
        gate = QualityGate(iou=iou, offset=1.0, spill=1.1)
        accepted = {k for k, pred in enumerate(preds) if judge(mask, pred, gate=gate).accepted}
        assert all(accepted <= earlier for earlier in counts)
        counts.append(accepted)
    assert len(counts[0]) == len(preds) and not counts[-1]


@pytest.mark.parametrize(
    ("name", "loose", "strict"),
    [("offset", 0.5, 0.05), ("spill", 0.5, 0.01), ("reconstruction_error", 0.01, 0.5)],
)
def test_monotone_in_every_other_threshold(spatial_dims, name, loose, strict):
    mask, pred = box(spatial_dims), box(spatial_dims, shift=2)
    assert judge(
        mask, pred, paint=mask, gate=QualityGate(**{"iou": 0.1, "offset": 9, "spill": 9, name: loose})
    ).accepted
    gate = QualityGate(**{"iou": 0.1, "offset": 9, "spill": 9, name: strict})
    assert not judge(mask, pred, paint=mask, gate=gate).accepted


def test_each_reason_alone(spatial_dims):
    mask = box(spatial_dims)
    loose = QualityGate(iou=0.5)
    assert judge(mask, box(spatial_dims, 8, 16), gate=QualityGate()).reasons == (LOW_IOU,)
    assert judge(mask, box(spatial_dims, shift=2), gate=loose).reasons == (OFF_CENTRE,)
    assert judge(mask, box(spatial_dims, 5, 19), paint=mask, gate=QualityGate(iou=0.3)).reasons == (SPILL,)
    assert judge(mask, mask, change=0.02).reasons == (NO_CHANGE,)
    assert judge(mask, mask, before=(LESION_BEFORE,)).reasons == (LESION_BEFORE,)


def test_all_failures_are_named_together(spatial_dims):
    verdict = judge(box(spatial_dims), box(spatial_dims, shift=6), paint=box(spatial_dims), change=0.0)
    assert set(verdict.reasons) == {LOW_IOU, OFF_CENTRE, SPILL, NO_CHANGE}
    assert not verdict.accepted


def test_one_cell_of_shift_is_always_allowed(spatial_dims):
    tiny = box(spatial_dims, 10, 14)
    verdict = judge(tiny, box(spatial_dims, 10, 14, shift=1), gate=QualityGate(iou=0.3, offset=0.01))
    assert verdict.accepted
    assert OFF_CENTRE in judge(tiny, box(spatial_dims, 10, 14, shift=2), gate=QualityGate(iou=0.1, offset=0.01)).reasons


def test_spill_counts_from_its_threshold_on(spatial_dims):
    """Outside the paint mask lies exactly 1/13 of the prediction."""
    mask, pred = box(spatial_dims), box(spatial_dims)
    pred[(0, 18, *[slice(6, 18)] * (spatial_dims - 1))] = 1
    assert judge(mask, pred, paint=mask, gate=QualityGate(spill=1 / 13 + 1e-6)).accepted
    assert judge(mask, pred, paint=mask, gate=QualityGate(spill=1 / 13 - 1e-6)).reasons == (SPILL,)


def test_iou_alone_records_the_rest(spatial_dims):
    mask, pred = box(spatial_dims), box(spatial_dims, shift=2)
    gate = QualityGate(iou=0.5, iou_alone=True)
    verdict = judge(mask, pred, paint=mask, change=0.0, gate=gate, before=(LESION_BEFORE,))
    assert verdict.accepted and set(verdict.reasons) == {OFF_CENTRE, SPILL, NO_CHANGE, LESION_BEFORE}
    assert not judge(mask, box(spatial_dims, shift=5), gate=gate).accepted


def test_nothing_before_painting_is_no_reason(spatial_dims):
    empty = torch.zeros(1, *[SIDE] * spatial_dims)
    assert QualityGate().inspect(box(spatial_dims), empty, empty) == ()


def test_a_lesion_under_the_mask_is_seen_before_painting(spatial_dims):
    mask, empty = box(spatial_dims), torch.zeros(1, *[SIDE] * spatial_dims)
    assert QualityGate().inspect(mask, box(spatial_dims, shift=8), empty) == (LESION_BEFORE,)
    # A speck in the mask is under a tenth of it.
    speck = torch.zeros_like(mask)
    speck[(0, *[10] * spatial_dims)] = 1
    assert QualityGate().inspect(mask, speck, empty) == ()
    assert QualityGate(before=float(1 / mask.sum())).inspect(mask, speck, empty) == (LESION_BEFORE,)


def test_a_lesion_beside_the_mask_is_seen_before_painting(spatial_dims):
    mask, other = box(spatial_dims, 2, 10), box(spatial_dims, 14, 22)
    assert QualityGate().inspect(mask, other, torch.zeros_like(mask)) == (LESION_BEFORE,)


def test_a_speck_beside_the_mask_is_no_lesion(spatial_dims):
    """What is far smaller than the mask is within the validator's own error; measured by the gate's ``before``."""
    mask, speck = box(spatial_dims, 2, 14), box(spatial_dims, 18, 22)
    share = float(speck.sum() / mask.sum())
    empty = torch.zeros_like(mask)
    assert QualityGate(before=1.01 * share).inspect(mask, speck, empty) == ()
    assert QualityGate(before=0.99 * share).inspect(mask, speck, empty) == (LESION_BEFORE,)


def test_less_than_four_cells_across_is_no_lesion(spatial_dims):
    mask, speck = box(spatial_dims, 2, 6), box(spatial_dims, 18, 21)
    assert QualityGate().inspect(mask, speck, torch.zeros_like(mask)) == ()


def test_known_lesions_are_no_reason(spatial_dims):
    mask, other = box(spatial_dims, 2, 10), box(spatial_dims, 14, 22)
    assert QualityGate().inspect(mask, other, other) == ()


def test_early_refusal_is_for_the_hopeless_only(spatial_dims):
    mask, gate = box(spatial_dims), QualityGate(iou=0.7)
    for shift, hopeless in ((0, False), (3, False), (8, True)):
        pred = box(spatial_dims, low=3, high=15, shift=shift) if shift else mask
        iou = overlap(mask, pred)
        assert (iou < 0.35) == hopeless or spatial_dims == 3
        verdict = gate.refuse_early(mask, pred)
        assert (verdict is not None) == (iou < 0.35)
        if verdict is not None:
            assert verdict == Verdict(False, iou, (LOW_IOU,))


def test_what_is_refused_early_would_be_refused_late(spatial_dims):
    mask, gate = box(spatial_dims), QualityGate()
    for shift in range(7):
        pred = box(spatial_dims, shift=shift)
        if gate.refuse_early(mask, pred) is not None:
            assert not judge(mask, pred, gate=gate).accepted


@pytest.mark.parametrize("iou", [-0.1, 1.1])
def test_iou_lies_in_the_unit_interval(iou):
    with pytest.raises(ValueError, match="iou"):
        QualityGate(iou=iou)


def test_thresholds_are_plain_and_complete():
    thresholds = QualityGate(iou=0.6, offset=0.2, reconstruction_error=0.02).thresholds()
    assert all(isinstance(value, (float, bool, int)) for value in thresholds.values())
    assert thresholds["iou"] == 0.6 and thresholds["offset"] == 0.2 and thresholds["min_change"] == pytest.approx(0.06)
    assert {"spill", "before", "early_level", "iou_alone"} <= set(thresholds)


def test_thresholds_tell_when_a_copy_is_near():
    """It decides too, so a run's report must hold it."""
    gate = QualityGate(near_copies=NearCopies(torch.ones(1, 4) / 2, threshold=0.87))
    assert 0.87 in gate.thresholds().values()


def test_it_can_be_pickled():
    gate = pickle.loads(pickle.dumps(QualityGate(iou=0.6)))
    assert gate.thresholds() == QualityGate(iou=0.6).thresholds()


def test_the_rim_of_a_known_lesion_is_no_lesion_of_its_own(spatial_dims):
    """A network's outline of a known lesion is never quite the label's."""

    def box(low, high):
        mask = torch.zeros(1, *(32,) * spatial_dims)
        mask[(slice(None), *(slice(low, high),) * spatial_dims)] = 1
        return mask

    known, mask, apart = box(2, 8), box(14, 20), box(24, 30)
    overshot = torch.maximum(box(1, 10), apart)
    assert torch.equal(outside_known(overshot, known, mask), apart)
    reaching = torch.maximum(box(1, 15), apart)
    assert torch.equal(outside_known(reaching, known, mask), reaching * (1 - known))
    assert torch.equal(outside_known(overshot, torch.zeros_like(known), mask), overshot)
    assert not QualityGate().inspect(mask, outside_known(box(1, 10), known, mask), known)
