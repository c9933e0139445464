"""``monai-diffaug evaluate`` from data to report, at the smallest size."""

from __future__ import annotations

import json

import pytest

from monai_diffaug.cli import main
from tests.evaluation.lesion_sets import write_set
from tests.runs import write_frames

QUICK = ["--bundle", "texture_demo", "--patient", r"^(p\d)_", "--steps", "3", "--batch", "2", "--size", "32"]


@pytest.fixture
def data(tmp_path):
    write_set(tmp_path / "train", 8)
    write_set(tmp_path / "test", 3, first=20)
    write_frames(tmp_path / "normal", "a.png", "b.png")
    return tmp_path


def evaluate(data, *more, arms, seeds=1):
    argv = ["evaluate", *QUICK, "--train", str(data / "train"), "--test", f"toy={data / 'test'}"]
    argv += ["--normals", str(data / "normal"), "--output", str(data / "out"), "--num", "6", "--seeds", str(seeds)]
    return main([*argv, "--arms", *arms, *more])


def results(data):
    return json.loads((data / "out" / "results.json").read_text())


@pytest.mark.slow
def test_every_kind_of_arm_goes_from_data_to_report(data, capsys):
    arms = ["standard", "copy_paste", "carve_mix", "ungated", "gated", "targeted", "pretrained", "backgrounds"]
    arms += ["backgrounds_copy_paste", "theta_0.7", "prompts_minimal", "rolling", "bundle_shapes"]
    assert evaluate(data, "--ratios", "1", "--shifts", arms=arms) == 0
    made = results(data)
    assert {cell["arm"] for cell in made["cells"]} == set(arms)
    for cell in made["cells"]:
        assert len(cell["cohort"]) == 6
        assert len(cell["tests"][0]["images"]["dice"]) == len(cell["tests"][0]["recalls"]) == 3
    by_arm = {cell["arm"]: cell for cell in made["cells"]}
    ungated = by_arm["ungated"]["synthetic"]
    assert ungated["accepted"] == ungated["planned"] == ungated["attempts"] == 6
    assert by_arm["theta_0.7"]["synthetic"]["used"] <= 6
    opened = json.loads((data / "out" / "synthetic" / "n6_s0" / "ungated_x1" / "run.json").read_text())
    assert opened["thresholds"]["accepts_all"] is True
    assert all(row["auditor"] is not None for row in by_arm["gated"]["samples"] if row["accepted"])
    report = (data / "out" / "report.md").read_text()
    assert all(f"| {arm} " in report for arm in arms)
    assert "not for diagnosis" in report
    assert "wrote" in capsys.readouterr().out


@pytest.mark.slow
def test_finished_cells_stay_and_a_lost_one_comes_out_the_same(data):
    evaluate(data, arms=["standard", "gated"])
    first = results(data)
    kept = data / "out" / "cells" / "n6_standard_s0.json"
    lost = data / "out" / "cells" / "n6_gated_s0.json"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    evaluate(data, arms=["standard", "gated"])
    assert kept.stat().st_mtime_ns == before
    again = results(data)
    for one in (*first["cells"], *again["cells"]):
        one["training"].pop("seconds")
    assert again["cells"] == first["cells"]


@pytest.mark.slow
def test_relative_paths_and_other_settings(data, monkeypatch, capsys):
    monkeypatch.chdir(data)
    words = ["evaluate", *QUICK, "--train", "train", "--test", "toy=test", "--normals", "normal", "--output", "out"]
    words += ["--num", "6", "--seeds", "1", "--arms", "backgrounds"]
    assert main(words) == 0
    assert results(data)["cells"][0]["synthetic"]["used"] > 0
    capsys.readouterr()
    assert main([*words, "--steps", "4"]) == 2
    assert "holds an experiment with other budget; give a new folder" in capsys.readouterr().err


@pytest.mark.slow
def test_most_cells_stops_early_and_the_same_command_goes_on(data):
    evaluate(data, "--most-cells", "1", arms=["standard", "copy_paste"])
    assert [cell["arm"] for cell in results(data)["cells"]] == ["standard"]
    evaluate(data, arms=["standard", "copy_paste"])
    assert len(results(data)["cells"]) == 2


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--arms", "nonsense"], "there is no arm 'nonsense'"),
        (["--size", "50"], "size a multiple of 16"),
        (["--num", "9"], "9 training images were asked for"),
        (["--test", "toy"], "give NAME=DATA"),
        (["--seeds", "0"], "--seeds must be 1 or more"),
    ],
)
def test_bad_wishes_get_one_sentence(data, capsys, more, sentence):
    argv = ["evaluate", *QUICK, "--train", str(data / "train"), "--test", f"toy={data / 'test'}"]
    assert main([*argv, "--output", str(data / "out"), *more]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not (data / "out" / "results.json").exists()


@pytest.mark.slow
def test_a_segmenter_of_ones_own_is_trained_and_named(data, capsys):
    net = {"_target_": "SegResNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "init_filters": 8}
    (data / "net.json").write_text(json.dumps({"segmenter": net}))
    assert evaluate(data, "--segmenter", str(data / "net.json"), arms=["standard", "gated"]) == 0
    made = results(data)
    assert made["about"]["segmenter"] == "SegResNet"
    assert {cell["network"]["segmenter"]["init_filters"] for cell in made["cells"]} == {8}
    assert "2 segmenters (SegResNet)" in capsys.readouterr().out
    assert evaluate(data, arms=["copy_paste"]) != 0
    assert "holds an experiment with other network" in capsys.readouterr().err
    (data / "net.json").write_text(json.dumps({"segmenter": {**net, "in_channels": 7}}))
    assert evaluate(data, "--segmenter", str(data / "net.json"), arms=["standard"]) != 0
    assert "SegResNet does not work on images" in capsys.readouterr().err
