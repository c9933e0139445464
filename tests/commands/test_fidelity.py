"""``monai-diffaug fidelity`` on a run of the weight-free bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_diffaug.cli import main
from monai_diffaug.evaluation.fidelity import diversity, kernel_distance, resampling
from tests.runs import frame, generate, lesion, write_frames, write_picture, write_volume

pytest.importorskip("efficientnet_lite_pytorch")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six samples, six training frames and five others with a square lesion each."""
    folder = tmp_path_factory.mktemp("fidelity")
    for first, kind, count in ((0, "train", 6), (50, "held", 5)):
        for seed in range(first, first + count):
            bright = frame(seed)
            bright[lesion() > 0] += np.uint8(60)
            write_picture(folder / kind / "images" / f"{seed}.png", bright)
            write_picture(folder / kind / "labels" / f"{seed}.png", lesion())
    normal = write_frames(folder / "normal", *(f"{name}.png" for name in "abcdef"))
    assert generate(normal, folder / "run", "--num", "6", "--audit") in (0, 3)
    return folder


def fidelity(data: Path, output: Path, *more: str, held: str = "held") -> int:
    given = [
        *("--synthetic", data / "run", "--real", data / "train" / "images", "--labels", data / "train" / "labels"),
        *("--held-out", data / held / "images", "--held-out-labels", data / held / "labels", "--output", output),
    ]
    return main(["fidelity", *map(str, given), *more])


def test_a_report_is_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "DRAWS", 20)
    monkeypatch.setattr(kernel_distance, "SUBSETS", 4)
    monkeypatch.setattr(diversity, "PAIRS", 4)
    assert fidelity(data, tmp_path / "report", "--cache", str(tmp_path / "cache")) == 0
    told = capsys.readouterr().out
    assert "EfficientNet-Lite0" in told and "| KID, all lesions |" in told
    body = json.loads((tmp_path / "report" / "fidelity.json").read_text("utf-8"))
    assert body["settings"]["run"]["bundle"] == "texture_demo" and len(body["settings"]["manifest_sha256"]) == 64
    assert {one["set"] for one in body["samples"]} == {"synthetic", "training", "held_out"}
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3
    assert fidelity(data, tmp_path / "report") == 2 and "is there already" in capsys.readouterr().err
    assert fidelity(data, tmp_path / "again", "--cache", str(tmp_path / "cache")) == 0
    again, first = ((tmp_path / name / "fidelity.json").read_bytes() for name in ("again", "report"))
    assert again == first


def test_training_images_are_no_yardstick(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fidelity(data, tmp_path / "report", held="train") == 2
    assert "6 held-out images are training images too" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_volumes_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volume(tmp_path / "volumes" / "a.nii.gz")
    named = ["--real", str(tmp_path / "volumes"), "--held-out", str(tmp_path / "volumes")]
    assert main(["fidelity", "--synthetic", str(data / "run"), *named, "--output", str(tmp_path / "r")]) == 2
    assert "holds volumes, and fidelity measures pictures alone" in capsys.readouterr().err


def test_a_folder_that_is_no_run(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--real", str(data / "train" / "images"), "--held-out", str(data / "held" / "images")]
    assert main(["fidelity", "--synthetic", str(data / "normal"), *named, "--output", str(tmp_path / "r")]) == 2
    assert "give a folder that generate has written" in capsys.readouterr().err
