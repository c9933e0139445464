"""``remove``: normal images in the layout of the input, with resume, and one-sentence errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_diffaug.cli import main
from monai_diffaug.generation import removal
from tests.commands.test_calibrate import set_weights
from tests.runs import contents, manifest, pixels, same, write_picture
from tests.tiny_bundle import edit_config, tiny_bundle, tiny_case

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of tiny networks with random weights."""
    folder = tiny_bundle(tmp_path_factory.mktemp("remove") / "bundle")
    (folder / "configs" / "calibration.json").unlink(missing_ok=True)
    edit_config(folder, "common", {"windows::sizes": [32]})
    set_weights(folder, 0)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames with a lesion, one in a subfolder, and a normal one."""
    folder = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("a", "sub/b", "c")):
        frame, label = tiny_case(seed)
        write_picture(folder / "images" / f"{name}.png", frame)
        write_picture(folder / "labels" / f"{name}.png", label)
    frame, label = tiny_case(3)
    write_picture(folder / "images" / "normal.png", frame)
    write_picture(folder / "labels" / "normal.png", 0 * label)
    return folder


@pytest.fixture(autouse=True)
def sees(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the validator sees everywhere, as a list of one number; nothing unless a test says otherwise."""
    from monai_diffaug.synthesis import NetworkValidator

    value = [0.0]

    def told(self: Any, latent: torch.Tensor, source: torch.Tensor, size: Any) -> torch.Tensor:
        return torch.full((len(latent), 1, *size), value[0])

    monkeypatch.setattr(NetworkValidator, "__call__", told)
    return value


def remove(bundle: Path | str, data: Path, output: Path, *more: str) -> int:
    places = ["--images", str(data / "images"), "--labels", str(data / "labels"), "--output", str(output)]
    return main(["remove", "--bundle", str(bundle), *places, "--device", "cpu", *more])


def test_same_layout_and_empty_labels(bundle: Path, data: Path, tmp_path: Path) -> None:
    assert remove(bundle, data, tmp_path / "out") == 0
    there = {name for name in contents(tmp_path / "out") if name.startswith(("images", "labels"))}
    names = ("a.png", "c.png", "normal.png", "sub/b.png")
    assert there == {f"{kind}/{name}" for kind in ("images", "labels") for name in names}
    for name in names:
        before, after = (pixels(folder / "images" / name) for folder in (data, tmp_path / "out"))
        lesion = pixels(data / "labels" / name) > 0
        assert not pixels(tmp_path / "out" / "labels" / name).any()
        assert (pixels(tmp_path / "out" / "masks" / name) > 0).sum() == lesion.sum()
        assert (before == after).all() == (name == "normal.png")
        assert (before != after)[:4].sum() == 0  # far from any lesion


def test_the_manifest_and_the_run_tell_what_was_done(bundle: Path, data: Path, tmp_path: Path) -> None:
    assert remove(bundle, data, tmp_path / "out", "--seed", "4") == 0
    lines = {line["source"]: line for line in manifest(tmp_path / "out")}
    assert set(lines) == {"a.png", "c.png", "normal.png", "sub/b.png"}
    assert lines["sub/b.png"]["image"] == "images/sub/b.png" and lines["sub/b.png"]["attempts"]
    assert lines["normal.png"]["abnormalities"] == [] == lines["normal.png"]["attempts"]
    run = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert run["task"] == "removal" and run["order"]["seed"] == 4 and run["weights"] and run["data_terms"]
    assert run["thresholds"]["covered"] == 0.1 and run["margin"] == 0.25


def test_what_is_seen_is_not_written(
    bundle: Path, data: Path, tmp_path: Path, sees: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    sees[0] = 1.0
    assert remove(bundle, data, tmp_path / "out") == 3
    assert {name for name in contents(tmp_path / "out") if name.startswith("images")} == {"images/normal.png"}
    assert "1 of 4 samples accepted" in (told := capsys.readouterr().out) and "lesion still seen" in told
    assert json.loads((tmp_path / "out" / "datalist.json").read_text())["training"] == [
        {"image": "images/normal.png", "label": "labels/normal.png"}
    ]


def test_stopped_and_resumed_is_as_if_never_stopped(
    bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert remove(bundle, data, tmp_path / "whole") == 0
    append, left = removal.manifest.append, [2]

    def stopping(*arguments: Any) -> None:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        append(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(removal.manifest, "append", stopping)
        assert remove(bundle, data, tmp_path / "parts") == 130
    assert remove(bundle, data, tmp_path / "parts") == 2  # not empty
    assert remove(bundle, data, tmp_path / "parts", "--resume") == 0
    assert same(contents(tmp_path / "whole"), contents(tmp_path / "parts"))


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(bundle: Path, data: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    places = ["--images", str(data / "images"), "--labels", str(data / "labels"), "--device", "cpu"]
    torchrun = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "--")
    for name, start in (("one", ()), ("two", torchrun)):
        command = [sys.executable, "-m", *start, "monai_diffaug", "remove", "--bundle", str(bundle), *places]
        command += ["--output", str(tmp_path / name)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.stdout.count("of 4 samples accepted") == 1, done.stderr[-2000:]
    assert same(contents(tmp_path / "one"), contents(tmp_path / "two"))


def test_generate_takes_what_was_written(bundle: Path, data: Path, tmp_path: Path) -> None:
    assert remove(bundle, data, tmp_path / "normal") == 0
    places = ["--images", str(tmp_path / "normal" / "images"), "--labels", str(tmp_path / "normal" / "labels")]
    command = ["generate", "--bundle", "texture_demo", *places, "--num", "4", "--output", str(tmp_path / "out")]
    assert main(command) in (0, 3)
    assert len(manifest(tmp_path / "out")) == 4


def test_labels_of_255_stay_so_when_lesions_are_painted_anew(bundle: Path, data: Path, tmp_path: Path) -> None:
    """An empty map of 8 bits does not tell whether its lesions would be 1 or 255: it is written with one bit."""
    assert remove(bundle, data, tmp_path / "normal") == 0
    places = ["--images", str(tmp_path / "normal" / "images"), "--labels", str(tmp_path / "normal" / "labels")]
    command = ["generate", "--bundle", "texture_demo", *places, "--num", "8", "--output", str(tmp_path / "out")]
    assert main(command) in (0, 3)
    written = [pixels(tmp_path / "out" / line["label"]) for line in manifest(tmp_path / "out") if line["accepted"]]
    assert written and all(set(np.unique(one * (255 if one.dtype == bool else 1))) == {0, 255} for one in written)


class TestOneSentence:
    def test_a_bundle_without_networks(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert remove("texture_demo", data, tmp_path / "out") == 2
        assert "has no networks that know normal tissue" in capsys.readouterr().err

    def test_images_without_labels(
        self, bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(data, tmp_path / "data")
        (tmp_path / "data" / "labels" / "a.png").unlink()
        assert remove(bundle, tmp_path / "data", tmp_path / "out") == 1
        assert "a.png: it has no label" in capsys.readouterr().out
        assert not (tmp_path / "out" / "images" / "a.png").exists()

    def test_no_labels_at_all(
        self, bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = ["remove", "--bundle", str(bundle), "--images", str(data / "images"), "--device", "cpu"]
        assert main([*command, "--output", str(tmp_path / "out")]) == 1
        assert "removal needs one for each image" in capsys.readouterr().out
        assert not (tmp_path / "out").exists()

    def test_output_inside_the_images(
        self, bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert remove(bundle, data, data / "images" / "out") == 2
        assert "lies inside the images" in capsys.readouterr().err

    def test_seed(self, bundle: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert remove(bundle, data, tmp_path / "out", "--seed", "-1") == 2
        assert "--seed must be an integer from 0" in capsys.readouterr().err
