"""``generate --shapes-from``: outlines and sizes from a user's own labels, through both doors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import run as run_bundle

from tests.runs import BUNDLE, contents, frame, generate, manifest, same, write_frames, write_picture


def bars(folder: Path, length: int) -> Path:
    """Write two labelled frames with a bar 10 high each."""
    label = np.zeros((96, 112), np.uint8)
    label[10:20, 12 : 12 + length] = 255
    for seed, name in enumerate("ab"):
        write_picture(folder / "images" / f"{name}.png", frame(seed))
        write_picture(folder / "labels" / f"{name}.png", label)
    return folder


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return write_frames(tmp_path / "normal", *(f"{name}.png" for name in "cdef"))


def longest(output: Path) -> np.ndarray:
    boxes = [np.array(one["bbox"]) for line in manifest(output) for one in line["abnormalities"]]
    return np.array([(box[1] - box[0]).max() for box in boxes])


def test_lesions_have_the_sizes_of_the_labels(frames: Path, tmp_path: Path) -> None:
    data = bars(tmp_path / "data", 40)
    assert generate(frames, tmp_path / "out", "--num", "8", "--shapes-from", str(data)) in (0, 3)
    assert np.all((longest(tmp_path / "out") > 30) & (longest(tmp_path / "out") < 50))
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["shapes"]["lesions"] == {"polyp": 2}


def test_a_run_is_not_resumed_with_other_shapes(
    frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = bars(tmp_path / "small", 20), bars(tmp_path / "large", 40)
    words = ("--num", "3", "--shapes-from")
    assert generate(frames, tmp_path / "out", *words, str(small)) in (0, 3)
    capsys.readouterr()
    assert generate(frames, tmp_path / "out", *words, str(large), "--resume") == 2
    assert "made by another run: shapes differ" in capsys.readouterr().err


def test_the_bundle_config_draws_the_same_shapes(frames: Path, tmp_path: Path) -> None:
    data = bars(tmp_path / "data", 40)
    generate(frames, tmp_path / "cli", "--num", "3", "--shapes-from", str(data))
    run_bundle(
        config_file=[str(BUNDLE / "configs" / name) for name in ("common.json", "inference.json")],
        bundle_root=str(BUNDLE),
        dataset_dir=str(frames),
        output_dir=str(tmp_path / "monai"),
        num=3,
        shapes_from=str(data),
    )
    one, other = contents(tmp_path / "cli"), contents(tmp_path / "monai")
    pictures = [{name: files[name] for name in files if name.endswith(".png")} for files in (one, other)]
    assert pictures[0] and same(*pictures)
