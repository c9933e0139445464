"""Thresholds from real lesions: the share asked for passes, within bounds, where enough was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from monai_diffaug.engines.calibration import LEAST, measure_thresholds, summary
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.engines.real_lesions import RealLesions, SeenLesion
from monai_diffaug.synthesis import (
    Abnormality,
    Calibration,
    ChangeValidator,
    NetworkValidator,
    QualityGate,
    TextureInpainter,
    WindowSampler,
)
from monai_diffaug.synthesis.calibration import HIGHEST, LOWEST
from monai_diffaug.synthesis.gate import overlap
from monai_diffaug.synthesis.window import bounding_box
from tests.tiny_networks import tiny_inpainter, tiny_validator_net
from tests.tiny_training import image_format, toy_cases
from tests.toys import GRIDS

POLYPS = (Abnormality("polyp"),)


def bar(length: int, *, share: float = 1.0) -> torch.Tensor:
    """Return a bar of a length, filled from one end up to a share of its pixels."""
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    filled = torch.arange(length * 10) < share * length * 10
    mask[0, :length, :10] = filled.reshape(length, 10)
    return mask


def seen(extent: int, iou: float, name: str = "polyp") -> SeenLesion:
    """Return a lesion of which the validator sees the share ``iou``, with nothing beside it."""
    mask, pred = bar(extent), bar(extent, share=iou)
    return SeenLesion(name, "a", mask, pred, torch.ones_like(mask), torch.zeros(1, 4, 4))


def many(extent: int, low: float, high: float, count: int = 50, name: str = "polyp") -> list[SeenLesion]:
    return [seen(extent, iou, name) for iou in np.linspace(low, high, count)]


@pytest.mark.parametrize("rate", [0.3, 0.5, 0.8, 0.9])
def test_the_share_asked_for_passes_in_every_bin(rate):
    lesions = many(100, 0.52, 0.84, 33) + many(120, 0.6, 0.8, 24) + many(60, 0.53, 0.75, 26)
    body = measure_thresholds(lesions, rate=rate)
    gate = QualityGate(iou=Calibration.from_json(body))
    for row in body["measured"]["polyp"]:
        assert row["windows"] == 0 or abs(row["passed"] - rate) <= 1 / row["windows"] + 1e-4
    passed = sum(overlap(one.mask.float(), one.pred.float()) > gate.needed(one.mask, "polyp") for one in lesions)
    assert abs(passed / len(lesions) - rate) <= 3 / len(lesions)


def test_size_bins_are_kept_apart():
    body = measure_thresholds(many(20, 0.5, 0.65) + many(120, 0.7, 0.85), rate=0.8)
    calibration = Calibration.from_json(body)
    small, large = calibration("polyp", 20), calibration("polyp", 120)
    assert small is not None and large is not None and LOWEST <= small < 0.6 < 0.7 < large <= HIGHEST


def test_classes_are_kept_apart():
    body = measure_thresholds(many(100, 0.5, 0.6, name="flat") + many(100, 0.7, 0.8, name="round"), rate=0.8)
    calibration = Calibration.from_json(body)
    assert set(body["thresholds"]) == {"flat", "round"}
    assert calibration("flat", 100) < 0.6 < 0.7 < calibration("round", 100)


@pytest.mark.parametrize(("iou", "expected"), [(0.0, LOWEST), (0.3, LOWEST), (0.97, HIGHEST), (1.0, HIGHEST)])
def test_thresholds_keep_their_bounds(iou, expected):
    body = measure_thresholds([seen(100, iou)] * 40, rate=0.8)
    assert Calibration.from_json(body)("polyp", 100) == expected


def test_where_too_little_was_measured_the_gates_own_threshold_holds():
    few = measure_thresholds(many(100, 0.5, 0.6, LEAST - 1), rate=0.8)
    gate = QualityGate(iou=Calibration.from_json(few))
    assert gate.needed(bar(100), "polyp") == 0.7 and "as it was" in summary(few)
    enough = measure_thresholds(many(100, 0.5, 0.6, LEAST), rate=0.8)
    assert QualityGate(iou=Calibration.from_json(enough)).needed(bar(100), "polyp") < 0.6


def test_more_shall_pass_less_is_asked():
    lesions = many(60, 0.5, 0.85) + many(100, 0.5, 0.85)
    asked = [measure_thresholds(lesions, rate=rate)["thresholds"]["polyp"][0] for rate in (0.2, 0.5, 0.8, 0.95)]
    assert asked == sorted(asked, reverse=True) and len(set(asked)) == 4


def test_it_is_json_and_can_be_told():
    body = measure_thresholds(many(30, 0.5, 0.7) + many(100, 0.6, 0.8), rate=0.8)
    assert json.loads(json.dumps(body)) == body
    assert len(summary(body).splitlines()) == len(body["edges"]) + 1


def looks(spatial_dims, *, real=True) -> RealLesions:
    windows = WindowSampler(GRIDS[spatial_dims])
    inpainter = tiny_inpainter(spatial_dims) if real else TextureInpainter()
    validator = NetworkValidator(tiny_validator_net(spatial_dims)) if real else ChangeValidator()
    return RealLesions(inpainter, validator, image_format(spatial_dims), windows, batch_size=2)


def polyps(cases, abnormalities=POLYPS) -> LabelledCases:
    return LabelledCases(cases, list(abnormalities))


def test_real_lesions_are_seen_through_the_bundles_parts(spatial_dims):
    cases, size = toy_cases(spatial_dims), (GRIDS[spatial_dims][0],) * spatial_dims
    found = list(looks(spatial_dims)(polyps(cases), count=3, seed=0))
    assert [one.case for one in found] == ["case0", "case1", "case0"]
    for one in found:
        assert one.mask.shape == one.pred.shape == one.paint.shape == (1, *size)
        assert one.mask.any() and (one.paint >= one.mask).all() and one.latent.shape[1:] == tuple(n // 4 for n in size)
    # The same lesion, another window; the same number, the same window.
    assert not torch.equal(found[0].mask, found[2].mask)
    again = list(looks(spatial_dims)(polyps(cases), count=3, seed=0))
    assert all(torch.equal(one.mask, other.mask) for one, other in zip(found, again, strict=True))
    assert all(torch.equal(one.pred, other.pred) for one, other in zip(found, again, strict=True))


def test_other_lesions_in_the_window_are_not_held_against_it(spatial_dims):
    class SeesAll:
        def __call__(self, latent, source, size):
            return torch.ones(len(latent), 1, *size)

    case, parts = toy_cases(spatial_dims)[0], looks(spatial_dims, real=False)
    low, _ = bounding_box(case["label"] > 0)
    case["label"][tuple(slice(max(one - 4, 0), one) for one in low)] = 1
    parts.validator = SeesAll()
    for one in parts(polyps([case]), count=8, seed=0):
        assert (one.pred >= one.mask).all()
    assert any(not one.pred.all() for one in parts(polyps([case]), count=8, seed=0))


def test_several_classes_each_by_its_value(spatial_dims):
    first, second = toy_cases(spatial_dims)
    second["label"] = second["label"] * 2
    classes = [Abnormality("polyp", 1), Abnormality("ulcer", 2), Abnormality("absent", 3)]
    found = list(looks(spatial_dims, real=False)(polyps([first, second], classes), count=2, seed=0))
    assert [(one.name, one.case) for one in found] == [("polyp", "case0")] * 2 + [("ulcer", "case1")] * 2


def test_a_single_class_takes_any_label(spatial_dims):
    case = toy_cases(spatial_dims)[0]
    case["label"] = case["label"] * 255
    assert len(list(looks(spatial_dims, real=False)(polyps([case]), count=2, seed=0))) == 2


def test_no_lesion_is_an_error(spatial_dims):
    case = toy_cases(spatial_dims)[0]
    case["label"] = 0 * case["label"]
    with pytest.raises(ValueError, match="none of 1 cases has a polyp"):
        list(looks(spatial_dims, real=False)(polyps([case]), count=2, seed=0))
