"""Labelled images for training: folders with and without splits, datalists, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monai_diffaug.generation.pairs import read_pairs, read_splits
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
    write_split(tmp_path / "train", "a", "b", labels=labels)
    pairs = read_pairs(tmp_path, FRAMES)
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
    (tmp_path / "data.json").write_text(json.dumps({"training": entries[:1], "validation": entries[1:]}))
    for split, name in (("train", "images__a"), ("val", "images__b")):
        assert [pair["name"] for pair in read_pairs(tmp_path / "data.json", FRAMES, split=split)] == [name]


def test_a_datalist_without_test_cases_has_none(tmp_path: Path) -> None:
    write_split(tmp_path, "a", "b")
    entries = [{"image": f"images/{name}.png", "label": f"labels/{name}.png"} for name in "ab"]
    (tmp_path / "data.json").write_text(json.dumps({"training": entries[:1], "validation": entries[1:]}))
    assert set(read_splits(tmp_path / "data.json", FRAMES)) == {"train", "val"}
    with pytest.raises(ValueError, match="no cases under test or testing"):
        read_pairs(tmp_path / "data.json", FRAMES, split="test")


def test_cases_of_a_datalist_elsewhere_have_names_of_their_own(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        write_split(tmp_path / "store" / patient, "flair")
    entries = [
        {kind: f"../store/{patient}/{kind}s/flair.png" for kind in ("image", "label")} for patient in ("p1", "p2")
    ]
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists" / "data.json"
    listed.write_text(json.dumps({"training": entries[:1], "validation": entries[1:]}))
    names = {split: [one["name"] for one in pairs] for split, pairs in read_splits(listed, FRAMES).items()}
    assert names == {"train": ["p1__images__flair"], "val": ["p2__images__flair"]}


def test_a_set_without_splits_is_divided_the_same_way_everywhere(tmp_path: Path) -> None:
    names = [f"n{number}" for number in range(12)]
    write_split(tmp_path, *names)
    entries = [{"image": f"images/{name}.png", "label": f"labels/{name}.png"} for name in names]
    (tmp_path / "data.json").write_text(json.dumps({"training": entries}))
    parts = {split: [one["name"] for one in pairs] for split, pairs in read_splits(tmp_path, FRAMES).items()}
    assert {split: len(part) for split, part in parts.items()} == {"train": 10, "val": 1, "test": 1}
    assert sorted(sum(parts.values(), [])) == sorted(names)
    listed = read_splits(tmp_path / "data.json", FRAMES)
    assert sum(len(pairs) for pairs in listed.values()) == 12 and len(listed["val"]) == 1


def test_no_patient_is_in_two_splits(tmp_path: Path) -> None:
    write_split(tmp_path, *(f"{patient}_{frame}" for patient in "pqrs" for frame in range(5)))
    parts = read_splits(tmp_path, FRAMES, patient="^(.)_")
    patients = [{one["name"][0] for one in pairs} for pairs in parts.values()]
    assert len(patients) == 3 and sum(map(len, patients)) == 4


def test_too_few_images_for_a_split_are_an_error(tmp_path: Path) -> None:
    write_split(tmp_path, "a")
    with pytest.raises(ValueError, match="too few to have a split val"):
        read_pairs(tmp_path, FRAMES, split="val")


@pytest.mark.parametrize("there", ["", "images", "labels"])
def test_missing_folders_are_named(tmp_path: Path, there: str) -> None:
    if there:
        (tmp_path / there).mkdir()
    with pytest.raises(ValueError, match="needs the folders images and labels or masks; give such a folder"):
        read_pairs(tmp_path, FRAMES)


def test_every_image_needs_a_label(tmp_path: Path) -> None:
    write_split(tmp_path / "train", "a")
    write_picture(tmp_path / "train" / "images" / "b.png", frame(1))
    with pytest.raises(ValueError, match="b.*label"):
        read_pairs(tmp_path, FRAMES)


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_split(tmp_path / "train", "a", "b", "c")
    for name in "bc":
        (tmp_path / "train" / "images" / f"{name}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="2 files cannot be used.*b.png.*c.png"):
        read_pairs(tmp_path, FRAMES)
