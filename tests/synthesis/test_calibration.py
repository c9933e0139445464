"""Calibrated thresholds survive JSON, never leave their bounds, and say nothing where nothing was measured."""

from __future__ import annotations

import json

import pytest

from monai_diffaug.synthesis import Calibration
from monai_diffaug.synthesis.calibration import HIGHEST, LOWEST

EXAMPLE = Calibration((40.0, 60.0), {"polyp": (0.62, 0.7, None), "ulcer": (None, 0.5, 0.85)})


def test_json_round_trip():
    body = json.loads(json.dumps(EXAMPLE.to_json()))
    assert Calibration.from_json(body) == EXAMPLE
    assert Calibration.from_json({**body, "data": "polyps", "measured": {}}) == EXAMPLE


def test_every_extent_has_one_bin():
    bins = [EXAMPLE.bin_of(extent) for extent in (0, 39.9, 40, 59.9, 60, 1e9)]
    assert bins == [0, 0, 1, 1, 2, 2]
    assert [EXAMPLE("ulcer", extent) for extent in (1, 50, 100)] == [None, 0.5, 0.85]


def test_a_class_that_was_not_measured_has_no_threshold():
    assert EXAMPLE("adenoma", 50) is None and Calibration((), {})("polyp", 5) is None


@pytest.mark.parametrize("edges", [(60.0, 40.0), (40.0, 40.0), (0.0, 40.0), (-1.0,)])
def test_edges_rise_from_above_0(edges):
    with pytest.raises(ValueError, match="edges must rise"):
        Calibration(edges, {})


@pytest.mark.parametrize("threshold", [0.0, LOWEST - 1e-6, HIGHEST + 1e-6, 1.0])
def test_no_calibration_turns_the_gate_off(threshold):
    with pytest.raises(ValueError, match=r"must lie in \[0.5, 0.85\]"):
        Calibration((), {"polyp": (threshold,)})


def test_every_bin_needs_a_threshold():
    with pytest.raises(ValueError, match="has 1 thresholds; 2 bins need one each"):
        Calibration((40.0,), {"polyp": (0.7,)})
