"""``init``, ``check``, every training, ``calibrate`` and ``generate`` on data of one's own, with no file edited."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_diffaug.bundle import load_synthesizer, shipped_bundles
from monai_diffaug.cli import main
from monai_diffaug.synthesis import SynthesisRequest
from tests.runs import generate, manifest, write_picture, write_volume
from tests.tiny_bundle import SMALL, shrink, train
from tests.tiny_training import STAGES
from tests.toys import ball, toy_image

CLASSES = {"cyst": 1, "solid nodule": 2}
PROTECTED = 5
RADII = {2: 6, 3: 4}
GREY = {**SMALL["common"], "least_pixels": 12, "windows::sizes": [32]}
VOLUMES = {
    **{name: value for name, value in GREY.items() if "::1::" not in name},
    "training_samplers::0::sizes": [16],
    "samplers_in_use::0::sizes": [16],
    "samplers_in_use::0::max_reduction": 4.0,
    "patch": {"size": 16, "sides": [16, 24]},
    "windows::sizes": [16],
    "windows::max_reduction": 4.0,
    "network_def::denoiser::build::channels": [8, 16],
    "network_def::autoencoder::channels": [4, 4, 4],
}
FEW = {"train::counts": [{"lesion": 4, "cut": 2, "normal": 2, "frame": 2, "bare": 2}]}


def case(spatial_dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (*spatial) and its label: a lesion of each class, and something protected along one side."""
    image = toy_image(spatial_dims, seed=seed)[0]
    label = np.zeros(image.shape, np.uint8)
    for value, place in zip(CLASSES.values(), (0.3, 0.72), strict=True):
        centre = [round(place * n) + (seed % 3) for n in image.shape]
        label[ball(spatial_dims, RADII[spatial_dims], centre=centre)] = value
    label[..., :2] = PROTECTED
    return image.astype(np.uint8), label


def write_data(folder: Path, spatial_dims: int, count: int = 4) -> Path:
    """Write a set without splits."""
    write, suffix = ((write_picture, ".png"), (write_volume, ".nii.gz"))[spatial_dims - 2]
    for seed in range(count):
        for kind, array in zip(("images", "labels"), case(spatial_dims, seed), strict=True):
            write(folder / kind / f"c{seed}{suffix}", array)
    return folder


def init(folder: Path, spatial_dims: int, *more: str) -> int:
    lesions = [part for name, value in CLASSES.items() for part in ("--lesion", f"{name}={value}")]
    head = ["init", str(folder), "--spatial-dims", str(spatial_dims), "--intensity-range", "0", "255"]
    return main([*head, "--channels", "1", "--organ", "neck", *lesions, "--protect", str(PROTECTED), *more])


@pytest.fixture(scope="module", params=[2, 3])
def made(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """Return a bundle that went all the way, its data, and their number of dimensions."""
    folder, dims = tmp_path_factory.mktemp("own"), request.param
    bundle, data = folder / "bundle", write_data(folder / "data", dims)
    assert init(bundle, dims) == 0
    small = {**SMALL, "common": (GREY, VOLUMES)[dims - 2]}
    if dims == 3:
        small["train_inpainter"] = {**SMALL["train_inpainter"], **FEW}
    shrink(bundle, small)
    if dims == 3:  # an overlay's keys are places
        path = bundle / "configs" / "train_validator.json"
        overlay = {**json.loads(path.read_text("utf-8")), "train::counts_in_use": [{"normal": 3, "bare": 2}]}
        path.write_text(json.dumps(overlay))
    assert [train(stage, bundle, data) for stage in STAGES] == [0] * len(STAGES)
    told = ["calibrate", "--bundle", str(bundle), "--data", str(data), "--device", "cpu", "--windows", "4"]
    assert main(told) == 0
    return bundle, data, dims


def test_the_data_were_looked_at_first(made: tuple[Path, Path, int]) -> None:
    bundle, data, dims = made
    facts = json.loads((bundle / "configs" / "data.json").read_text("utf-8"))
    assert facts["data"] == data.name and facts["lesions"] == {name: 3 for name in CLASSES}
    assert set(facts["extents"]) == set(facts["attribute_cuts"]) == set(CLASSES)


def test_the_validator_has_a_channel_for_each_class(made: tuple[Path, Path, int]) -> None:
    synthesizer = load_synthesizer(made[0])
    assert synthesizer.renderer.classes == tuple(CLASSES)
    latent = torch.zeros(1, 4, *(8,) * made[2])
    assert synthesizer.renderer.validator(latent, latent, (32,) * made[2]).shape[1] == len(CLASSES)


def test_calibrated_by_class(made: tuple[Path, Path, int]) -> None:
    told = json.loads((made[0] / "configs" / "calibration.json").read_text("utf-8"))
    assert set(told["measured"]) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_asked_for_by_its_name(made: tuple[Path, Path, int], tmp_path: Path, name: str) -> None:
    bundle, data, _ = made
    more = ("--labels", str(data / "labels"), "--num", "2", "--abnormality", name, "--device", "cpu", "--audit")
    assert generate(data / "images", tmp_path / "out", *more, bundle=bundle) in (0, 3)
    lines = manifest(tmp_path / "out")
    found = [one for line in lines for one in line["abnormalities"]]
    assert found and all(one["class"] == name and one["value"] == CLASSES[name] for one in found)
    assert all(name in one["prompt"] for one in found)


def test_protected_values_and_other_lesions_stay(made: tuple[Path, Path, int]) -> None:
    bundle, _, dims = made
    synthesizer = load_synthesizer(bundle)
    image, label = case(dims, 0)
    for seed in range(8):
        for plan in synthesizer.plan(SynthesisRequest(image[None], seed, label)):
            assert not (plan.paint & (label > 0)).any()


def test_data_with_a_strange_label_value_are_refused(
    made: tuple[Path, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _, dims = made
    data = write_data(tmp_path / "data", dims)
    write, suffix = ((write_picture, ".png"), (write_volume, ".nii.gz"))[dims - 2]
    write(data / "labels" / f"c1{suffix}", case(dims, 1)[1] + np.uint8(1))
    assert main(["check", "--bundle", str(bundle), "--data", str(data)]) == 2
    assert "the label of c1 holds the value 3" in capsys.readouterr().err


def test_the_report_tells_of_few_lesions_and_of_leaks(
    made: tuple[Path, Path, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, _, dims = made
    write_data(tmp_path / "train", dims, 3)
    write_data(tmp_path / "val", dims, 1)  # the first training case once more
    assert main(["check", "--bundle", str(bundle), "--data", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "cyst has 3 in train, 40 or more are needed" in told and "solid nodule: 3 in train, 1 in val" in told
    assert "images of train and val show nearly the same (1 pairs): c0 and c0 (1.00)" in told
    assert "share patients (1): c0" in told and "stays as it is: the inpainter was trained with it" in told


class TestFromAnotherBundle:
    def test_its_autoencoder_is_there_and_its_terms_are_told(self, tmp_path: Path) -> None:
        source, folder = shipped_bundles()["polyp_endoscopy"], tmp_path / "mine"
        words = ["--channels", "3", "--intensity-range", "0", "255", "--organ", "skin", "--lesion", "naevus=1"]
        assert main(["init", str(folder), "--spatial-dims", "2", *words, "--from", "polyp_endoscopy"]) == 0
        theirs, ours = (torch.load(root / "models" / "model.pt", weights_only=True) for root in (source, folder))
        same = {name.split(".")[0] for name in theirs if name in ours and torch.equal(theirs[name], ours[name])}
        assert {"autoencoder", "latent_mean", "latent_std", "denoiser", "validator"} <= same
        tokens = next(name for name in ours if name.endswith("token_embedding.weight"))
        assert torch.equal(ours[tokens][:3], theirs[tokens][:3])
        metadata = json.loads((folder / "configs" / "metadata.json").read_text("utf-8"))
        assert metadata["trained"] == ["autoencoder"]
        terms = (folder / "docs" / "data_license.txt").read_text("utf-8")
        assert "Kvasir-SEG" in terms and "sha256" in terms and "TO DO" in terms

    def test_its_autoencoder_alone_if_so_asked(self, tmp_path: Path) -> None:
        source, folder = shipped_bundles()["polyp_endoscopy"], tmp_path / "mine"
        words = ["--channels", "3", "--intensity-range", "0", "255", "--organ", "skin", "--lesion", "naevus=1"]
        words += ["--from", "polyp_endoscopy", "--autoencoder-only"]
        assert main(["init", str(folder), "--spatial-dims", "2", *words]) == 0
        theirs, ours = (torch.load(root / "models" / "model.pt", weights_only=True) for root in (source, folder))
        assert torch.equal(theirs["latent_mean"], ours["latent_mean"])
        drawn = [name for name in ours if name.startswith(("denoiser", "validator", "text")) and ours[name].ndim > 1]
        assert not any(name in theirs and torch.equal(theirs[name], ours[name]) for name in drawn)

    def test_a_bundle_for_other_images_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert init(tmp_path / "mine", 2, "--from", "polyp_endoscopy") == 2
        assert "has channels 3, but 1 was asked for" in capsys.readouterr().err
        assert not (tmp_path / "mine").exists()

    def test_a_bundle_without_weights_is_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert init(tmp_path / "first", 2) == 0
        assert init(tmp_path / "second", 2, "--from", str(tmp_path / "first")) == 2
        assert "has no weights to begin with" in capsys.readouterr().err
        assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--lesion", "cyst"], "'cyst' needs a name, = and a label value"),
        (["--lesion", "=3"], "'=3' needs a name, = and a label value"),
        (["--lesion", "cyst=4"], "'cyst' was given twice"),
        (["--patient", "("], "is no regular expression"),
        (["--protect", "2"], "must be different"),
    ],
)
def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], sentence: str) -> None:
    assert init(tmp_path / "mine", 2, *given) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "mine").exists()
