"""A calibrated gate asks for more of one class or size than of another; everything else is as without calibration."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from monai_diffaug.synthesis import Abnormality, Calibration, NearCopies, QualityGate
from monai_diffaug.synthesis.gate import LOW_IOU, overlap
from tests.synthesis.fakes import requests
from tests.synthesis.test_gate import box
from tests.synthesis.test_replay import assert_equal, replayed
from tests.toys import toy_planner, toy_synthesizer

SIZED = Calibration((10.0,), {"polyp": (0.5, 0.8), "ulcer": (0.6, None)})


def loose(**more) -> QualityGate:
    """Return a gate in which the overlap alone can fail."""
    return QualityGate(offset=9, spill=9, **more)


def judged(gate, mask, pred, name="polyp"):
    return gate.judge(mask, pred, torch.ones_like(mask), change=1.0, name=name)


def test_class_and_size_choose_the_threshold(spatial_dims):
    small, large = box(spatial_dims, 6, 14), box(spatial_dims, 6, 18)
    gate = QualityGate(iou=SIZED)
    asked = {(name, len(m)): gate.needed(m, name) for name in ("polyp", "ulcer", "") for m in (small,)}
    assert asked == {("polyp", 1): 0.5, ("ulcer", 1): 0.6, ("", 1): 0.7}
    assert [gate.needed(large, name) for name in ("polyp", "ulcer", "")] == [0.8, 0.7, 0.7]


def test_a_smaller_overlap_is_enough_where_real_lesions_have_no_more(spatial_dims):
    small = box(spatial_dims, 6, 14)
    pred = box(spatial_dims, 6, 14, shift=2)
    assert 0.5 < overlap(small, pred) < 0.7
    assert judged(loose(iou=SIZED), small, pred).accepted
    assert judged(loose(), small, pred).reasons == (LOW_IOU,)
    assert judged(loose(iou=SIZED), small, pred, "").reasons == (LOW_IOU,)


def test_monotone_in_every_calibrated_threshold(spatial_dims):
    masks = [box(spatial_dims, 6, 14), box(spatial_dims, 4, 20)]
    preds = [box(spatial_dims, low, high, shift) for low in (4, 6) for high in (14, 20) for shift in range(4)]
    before = None
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.85):
        gate = loose(iou=Calibration((10.0,), {"polyp": (threshold, threshold)}))
        accepted = {(i, j) for i, m in enumerate(masks) for j, p in enumerate(preds) if judged(gate, m, p).accepted}
        assert before is None or accepted <= before
        before = accepted
    assert before


def test_what_is_refused_early_would_be_refused_late(spatial_dims):
    gate, mask = QualityGate(iou=SIZED), box(spatial_dims)
    early = [gate.refuse_early(mask, box(spatial_dims, shift=shift), name="polyp") for shift in range(12)]
    for shift, verdict in enumerate(early):
        assert verdict is None or not judged(gate, mask, box(spatial_dims, shift=shift)).accepted
    # At a threshold of 0.8 more is hopeless than at 0.7.
    plain = [gate.refuse_early(mask, box(spatial_dims, shift=shift)) for shift in range(12)]
    assert sum(one is not None for one in early) >= sum(one is not None for one in plain) > 0


@pytest.mark.parametrize("threshold", [0.5, 0.85])
def test_in_the_papers_preset_the_plain_threshold_decides(spatial_dims, threshold):
    calibration = Calibration((), {"polyp": (threshold,)})
    mask = box(spatial_dims)
    for shift in range(5):
        pred = box(spatial_dims, shift=shift)
        alone = judged(QualityGate(iou_alone=True, iou=calibration), mask, pred)
        assert alone.accepted == (overlap(mask, pred) > 0.7)


def test_the_report_shows_all_that_decides():
    gate = QualityGate(iou=SIZED, near_copies=NearCopies(torch.ones(1, 4) / 2, threshold=0.87))
    told = json.loads(json.dumps(gate.thresholds()))
    assert Calibration.from_json(told["calibration"]) == SIZED and told["near_copy"] == 0.87 and told["iou"] == 0.7
    for gate in (QualityGate(), QualityGate(iou=Calibration((), {}))):
        assert gate.thresholds()["near_copy"] is False and "calibration" not in gate.thresholds()


def test_the_renderer_tells_the_gate_the_class(spatial_dims, monkeypatch):
    monkeypatch.setattr(QualityGate, "needed", lambda self, mask, name="": 0.1 if name == "polyp" else 0.999)
    request = requests(spatial_dims, 1)[0]
    for name, accepted in (("polyp", True), ("ulcer", False)):
        planner = toy_planner(spatial_dims, abnormalities=[Abnormality(name)])
        (result,) = toy_synthesizer(spatial_dims, planner=planner, gate=loose()).batch([request])
        assert result.record.accepted is accepted
        assert accepted or LOW_IOU in result.record.attempts[0].reasons


@pytest.mark.parametrize("batch_size", [1, 3])
def test_replay_with_a_calibrated_gate(spatial_dims, batch_size):
    gate = loose(iou=Calibration((12.0,), {"polyp": (0.55, 0.6)}))
    synthesizer = toy_synthesizer(spatial_dims, gate=gate, batch_size=batch_size)
    asked = requests(spatial_dims, 3)
    results = synthesizer.batch(asked)
    assert any(result.record.accepted for result in results)
    for request, result in zip(asked, results, strict=True):
        assert_equal(replayed(synthesizer, request, result), result)


def test_batch_mates_do_not_matter(spatial_dims):
    """At equal batch shape, with a calibration and descriptors: alone, in another order, among others."""
    asked = requests(spatial_dims, 4)
    copies = NearCopies(torch.nn.functional.normalize(torch.eye(4, 96)), threshold=0.3)
    gate = loose(iou=SIZED, near_copies=copies)
    synthesizer = toy_synthesizer(spatial_dims, gate=gate, batch_size=4)
    together = synthesizer.batch(asked)
    for request, result in zip(asked, together, strict=True):
        (alone,) = synthesizer.batch([request])
        assert alone.record == result.record and alone.image.tobytes() == result.image.tobytes()
    backwards = synthesizer.batch(asked[::-1])[::-1]
    assert [dataclasses.asdict(one.record) for one in backwards] == [dataclasses.asdict(one.record) for one in together]
