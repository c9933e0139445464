"""``calibrate`` sets a bundle's gate by real lesions, by both doors alike, for these weights alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, run

from monai_diffaug.bundle import load_synthesizer, open_bundle
from monai_diffaug.cli import main
from monai_diffaug.engines.gate_files import read_calibration, read_near_copies
from monai_diffaug.engines.weights import write_weights
from tests.runs import contents
from tests.tiny_bundle import edit_config, tiny_bundle, tiny_case, tiny_data
from tests.tiny_training import STAGES

FEW = ("--windows", "12")


def set_weights(bundle: Path, seed: int) -> None:
    """Give a bundle random weights, as a training would."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "common.json"))
    state = parser.get_parsed_content("network_def").state_dict()
    generator = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        if value.is_floating_point() and name not in ("latent_mean", "latent_std"):
            state[name] = 0.2 * torch.randn(value.shape, generator=generator)
    for stage in STAGES:
        write_weights(bundle, state, stage=stage)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """Return a calibrated bundle, and the data."""
    folder = tmp_path_factory.mktemp("calibrate")
    bundle, data = tiny_bundle(folder / "bundle"), tiny_data(folder / "data")
    (bundle / "configs" / "calibration.json").unlink(missing_ok=True)
    edit_config(bundle, "common", {"windows::sizes": [32]})
    set_weights(bundle, 0)
    assert calibrate(bundle, data) == 0
    return bundle, data


@pytest.fixture
def bundle(made, tmp_path) -> Path:
    return shutil.copytree(made[0], tmp_path / "bundle")


def calibrate(bundle: Path, data: Path, *more: str) -> int:
    return main(["calibrate", "--bundle", str(bundle), "--data", str(data), "--device", "cpu", *FEW, *more])


def told(bundle: Path) -> dict:
    return json.loads((bundle / "configs" / "calibration.json").read_text("utf-8"))


def test_what_is_written(made):
    bundle, data = made
    body, opened = told(bundle), open_bundle(bundle)
    assert body["data"] == data.name and body["split"] == "val" and body["rate"] == 0.8 and body["windows"] == 12
    assert body["weights"] == opened.weights["model.pt"]
    assert sum(row["windows"] for row in body["measured"]["polyp"]) == 12
    assert set(opened.metadata["weights_sha256"]) == {"model.pt", "near_copies.pt"} == set(opened.weights)
    assert not list(bundle.rglob("*.partial"))


def test_the_gate_has_it_and_the_run_says_so(made):
    bundle, _ = made
    gate = load_synthesizer(bundle).renderer.gate
    assert gate.calibration == read_calibration(bundle, open_bundle(bundle).weights)
    body = json.loads(json.dumps(gate.thresholds()))
    assert body["calibration"]["thresholds"] == told(bundle)["thresholds"]
    assert body["near_copy"] == told(bundle)["near_copies"]["threshold"]


def test_without_files_nothing_is_calibrated(bundle):
    (bundle / "configs" / "calibration.json").unlink()
    edit_config(bundle, "metadata", {"weights_sha256": {}})
    (bundle / "models" / "near_copies.pt").unlink()
    gate = load_synthesizer(bundle).renderer.gate
    assert gate.calibration is None and gate.near_copies is None and gate.thresholds()["near_copy"] is False


def test_descriptors_are_few_and_in_half_precision(made):
    body = torch.load(made[0] / "models" / "near_copies.pt", weights_only=True)
    assert body["descriptors"].shape == (6, 96) and body["descriptors"].dtype == torch.float16  # 3 lesions, twice
    copies = read_near_copies(made[0], open_bundle(made[0]).weights)
    assert copies is not None and copies.threshold == body["threshold"]


def test_by_monai_it_is_the_same(made, bundle):
    (bundle / "configs" / "calibration.json").unlink()
    configs = [str(bundle / "configs" / f"{name}.json") for name in ("common", "calibrate")]
    run(config_file=configs, bundle_root=str(bundle), dataset_dir=str(made[1]), count=12)
    assert told(bundle) == told(made[0])
    before, after = (read_near_copies(one, open_bundle(one).weights) for one in (made[0], bundle))
    assert torch.equal(before.descriptors, after.descriptors)


def test_new_weights_remove_what_is_stale(bundle):
    set_weights(bundle, 1)
    assert not (bundle / "configs" / "calibration.json").exists()
    assert set(open_bundle(bundle).weights) == {"model.pt"} == set(open_bundle(bundle).metadata["weights_sha256"])
    assert load_synthesizer(bundle).renderer.gate.calibration is None


@pytest.mark.parametrize("name", ["configs/calibration.json", "models/near_copies.pt"])
def test_a_calibration_of_other_weights_is_refused(made, bundle, name):
    set_weights(bundle, 1)
    shutil.copy(made[0] / name, bundle / name)
    with pytest.raises(ValueError, match="other weights than models/model.pt; run monai-diffaug calibrate again"):
        load_synthesizer(bundle)
    assert calibrate(bundle, made[1], "--train-split", "none") == 0
    assert load_synthesizer(bundle).renderer.gate.calibration is not None


def test_the_papers_preset_needs_none(made):
    gate = load_synthesizer(made[0], preset="paper").renderer.gate
    assert gate.iou_alone and gate.needed(torch.ones(1, 32, 32), "polyp") == 0.7


def test_without_a_training_split_nothing_is_described(made, bundle):
    kept = (bundle / "models" / "near_copies.pt").read_bytes()
    assert calibrate(bundle, made[1], "--train-split", "none", "--rate", "0.7") == 0 and told(bundle)["rate"] == 0.7
    assert (bundle / "models" / "near_copies.pt").read_bytes() == kept and "near_copies" not in told(bundle)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--rate", "1.0"), "the rate must lie between 0 and 1"),
        (("--windows", "0"), "the windows be 1 or more"),
        (("--split", "train"), "3 cases are held out and trained on"),
    ],
)
def test_one_sentence_and_nothing_changed(made, bundle, capsys, more, sentence):
    before = contents(bundle)
    assert calibrate(bundle, made[1], *more) == 2
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if sentence in line] == [line for line in error if line.startswith("monai-diffaug")]
    assert contents(bundle) == before


def test_a_bundle_without_the_config(capsys, made):
    assert main(["calibrate", "--bundle", "texture_demo", "--data", str(made[1])]) == 2
    assert "texture_demo cannot be calibrated: it has no configs/calibrate.json" in capsys.readouterr().err


def test_a_sample_of_a_calibrated_bundle_has_its_record(made):
    frame = np.moveaxis(tiny_case(9)[0], -1, 0)
    result = load_synthesizer(made[0])(frame, seed=1)
    assert set(result.record.weights) == {"model.pt", "near_copies.pt"}
