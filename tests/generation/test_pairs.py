"""Labelled images for training: folders with and without splits, datalists, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_diffaug.generation.pairs import read_pairs
from monai_diffaug.synthesis import ImageFormat
from tests.runs import frame, lesion, write_picture, write_volume

FRAMES = ImageFormat(2, 3, (0, 255))


def write_split(folder: Path, *names: str, labels: str = "labels") -> Path:
    for seed, name in enumerate(names):
        write_picture(folder / "images" / f"{name}.png", frame(seed))
        write_picture(folder / labels / f"{name}.png", lesion())
    return folder


@pytest.mark.parametrize("labels", ["labels", "masks"])
def test_a_folder_of_images_and_labels(tmp_path: Path, labels: str) -> None:
    pairs = read_pairs(write_split(tmp_path, "a", "b", labels=labels), FRAMES)
    assert [pair["name"] for pair in pairs] == ["a", "b"]
    for seed, pair in enumerate(pairs):
        assert np.array_equal(pair["image"], np.moveaxis(frame(seed), -1, 0))
        assert np.array_equal(pair["label"] != 0, lesion() != 0)


def test_a_split_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    write_split(tmp_path / "train", "a", "b")
    write_split(tmp_path / "val", "c")
    assert [pair["name"] for pair in read_pairs(tmp_path, FRAMES)] == ["a", "b"]
    assert [pair["name"] for pair in read_pairs(tmp_path, FRAMES, split="val")] == ["c"]


def test_volumes_have_their_spacing(tmp_path: Path) -> None:
    write_volume(tmp_path / "images" / "v.nii.gz")
    write_volume(tmp_path / "labels" / "v.nii.gz", np.zeros((44, 48, 40), np.uint8))
    (pair,) = read_pairs(tmp_path, ImageFormat(3, 1, (0, 1000)))
    assert pair["image"].shape == (1, 44, 48, 40) and pair["label"].shape == (44, 48, 40)
    assert sorted(pair["spacing"]) == pytest.approx([1, 1.5, 2])


def test_a_datalist(tmp_path: Path) -> None:
    write_split(tmp_path, "a", "b")
    entries = [{"image": f"images/{name}.png", "label": f"labels/{name}.png"} for name in "ab"]
    (tmp_path / "data.json").write_text(json.dumps({"training": entries}))
    assert len(read_pairs(tmp_path / "data.json", FRAMES)) == 2


@pytest.mark.parametrize("there", ["", "images", "labels"])
def test_missing_folders_are_named(tmp_path: Path, there: str) -> None:
    if there:
        (tmp_path / there).mkdir()
    with pytest.raises(ValueError, match="needs the folders images and labels or masks; give such a folder"):
        read_pairs(tmp_path, FRAMES)


def test_every_image_needs_a_label(tmp_path: Path) -> None:
    write_split(tmp_path, "a")
    write_picture(tmp_path / "images" / "b.png", frame(1))
    with pytest.raises(ValueError, match="b.*label"):
        read_pairs(tmp_path, FRAMES)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_split(tmp_path, "a", "b")
    (tmp_path / "images" / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match="b.png"):
        read_pairs(tmp_path, FRAMES)
