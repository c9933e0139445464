"""Tables come from the results alone, and say what these hold."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from monai_diffaug.evaluation.diagnoses import diagnoses
from monai_diffaug.evaluation.figures import draw_figures
from monai_diffaug.evaluation.report import Block, write_tables

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence"
LESIONS = [
    {"case": 0, "name": "lesion", "area": 0.01, "diameter": None, "contrast": 0.05},
    {"case": 1, "name": "lesion", "area": 0.03, "diameter": None, "contrast": 0.20},
    {"case": 2, "name": "lesion", "area": 0.20, "diameter": None, "contrast": 0.30},
]


def cell(arm, seed, *, dice=0.5, recalls=(0.0, 0.9, 0.9), synthetic=None, samples=()):
    images = {"dice": [dice] * 3, "iou": [dice / 2] * 3, "hd95": [9.0] * 3, "false_positives": [1] * 3}
    return {
        "arm": arm,
        "num": 50,
        "seed": seed,
        "ratio": 3.0 if synthetic else None,
        "budget": {"steps": 10, "batch_size": 2, "size": 32},
        "synthetic": synthetic,
        "samples": list(samples),
        "real_extents": [20.0, 40.0, 60.0],
        "tests": [{"test": "toy", "images": images, "recalls": list(recalls)}],
    }


@pytest.fixture
def results():
    made = {"planned": 150, "attempts": 180, "accepted": 140, "used": 140}
    samples = [{"extent": 50.0, "accepted": n % 4 > 0, "attempts": 1, "iou": 0.85, "auditor": 0.9} for n in range(40)]
    cells = [cell("standard", seed) for seed in (0, 1)]
    cells += [cell("gated", seed, dice=0.6, synthetic=made, samples=samples) for seed in (0, 1)]
    return {
        "about": {"bundle": "toy", "bundle_version": "0.1.0", "intended_use": "research only, not for diagnosis"},
        "tests": [{"name": "toy", "cases": ["a", "b", "c"], "groups": ["a", "b", "c"], "lesions": LESIONS}],
        "cells": cells,
    }


def test_differences_are_paired_and_bins_hold_the_right_lesions(results):
    block = Block(results, 50)
    test = block.tests[0]
    assert block.against("dice", "gated", "standard", test).value == pytest.approx(0.1)
    assert {name: int(held.sum()) for name, held in test.bins().items()} == {
        "< 2 %": 1,
        "2 % to 5 %": 1,
        "> 5 %": 1,
        "< 5 %": 2,
        "flat": 1,
        "all": 3,
    }
    assert block.estimate("< 2 %", "gated", test).value == 1
    assert block.estimate("> 5 %", "gated", test).value == 0
    assert block.estimate("< 5 %", "gated", test).value == 0.5


def test_only_trainings_that_both_arms_have_are_compared(results):
    results["cells"].append(cell("gated", 2, dice=1.0, synthetic=results["cells"][2]["synthetic"]))
    block = Block(results, 50)
    assert block.against("dice", "gated", "standard", block.tests[0]).value == pytest.approx(0.1)
    assert block.estimate("dice", "gated", block.tests[0]).value == pytest.approx((0.6 + 0.6 + 1.0) / 3)


def test_the_text_holds_the_figures_and_the_warning(results):
    text = write_tables(results)
    assert "| gated | 2 | 60.0 (60.0 to 60.0) |" in text
    assert "+10.0 (+10.0 to +10.0)" in text
    assert "not for diagnosis" in text
    assert "| gated | 300 | 360 | 280 | 280 |" in text


def test_misses_of_several_test_sets_are_averaged(results):
    """Half and none of two small lesions are missed with synthetic images, all of them without."""
    results["tests"].append({**results["tests"][0], "name": "other"})
    for one in results["cells"]:
        recalls = (0.0, 0.0, 0.9) if one["arm"] == "standard" else (0.9, 0.9, 0.9)
        one["tests"][0]["recalls"] = list((0.0, 0.0, 0.9) if one["arm"] == "standard" else (0.0, 0.9, 0.9))
        one["tests"].append({**one["tests"][0], "test": "other", "recalls": list(recalls)})
    rows = [line for line in write_tables(results).split("mean of all test sets")[1].splitlines() if "| gated" in line]
    assert rows[0].startswith("| gated | 25.0 (") and "| -75 (" in rows[0]


def test_a_picture_is_drawn_for_each_number_of_images(results):
    pictures = draw_figures(results)
    assert list(pictures) == ["arms_n50.png"]
    with Image.open(io.BytesIO(pictures["arms_n50.png"])) as picture:
        assert min(picture.size) > 100


def test_ratios_become_rows_of_their_own(results):
    more = copy.deepcopy(results["cells"][2])
    more["ratio"] = 5.0
    results["cells"].append(more)
    assert {"standard", "gated 3x", "gated 5x"} <= set(Block(results, 50).arms)


def test_an_arm_at_a_ratio_of_its_own_tells_it(results):
    """Else a reader takes it for one at the others' ratio."""
    assert "gated" in Block(results, 50).arms
    more = {**copy.deepcopy(results["cells"][2]), "arm": "backgrounds", "ratio": 10.0}
    results["cells"].append(more)
    assert {"gated 3x", "backgrounds 10x"} <= set(Block(results, 50).arms)


def test_accepted_as_usual_but_misses_as_before_is_diagnosed(results):
    text = diagnoses(results)
    assert "gated, 50 images" in text
    assert "most are easy for it" in text
    assert "planned: 50" in text


def test_rarer_misses_need_no_diagnosis(results):
    for one in results["cells"][2:]:
        one["tests"][0]["recalls"] = [0.9, 0.9, 0.9]
    results["tests"][0]["lesions"] = [{**one, "area": 0.01} for one in LESIONS]
    for one in results["cells"][:2]:
        one["tests"][0]["recalls"] = [0.0, 0.0, 0.0]
    assert diagnoses(results) == ""


@pytest.mark.parametrize("path", sorted(EVIDENCE.glob("*.json")), ids=lambda path: path.stem)
def test_the_published_reports_are_those_of_the_published_results(path):
    published = json.loads(path.read_text("utf-8"))
    assert path.with_suffix(".md").read_text("utf-8") == write_tables(published) + diagnoses(published)


def test_results_are_published():
    assert {path.stem for path in EVIDENCE.glob("*.json")} >= {"transfer", "strict_n100"}


def test_volumes_are_binned_by_diameter(results):
    test = results["tests"][0]
    test["lesions"] = [{**one, "diameter": size} for one, size in zip(LESIONS, (3.0, 7.0, 20.0), strict=True)]
    assert list(Block(results, 50).tests[0].bins()) == ["< 5 mm", "5 mm to 10 mm", "> 10 mm", "< 10 mm", "flat", "all"]
