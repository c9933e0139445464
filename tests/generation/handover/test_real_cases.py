"""Real cases are found in folders and datalists, with ids that no two share."""

from __future__ import annotations

import json

import pytest

from monai_diffaug.generation.handover.groups import read_groups
from monai_diffaug.generation.handover.real import find_real


def write(folder, *names, labels="labels"):
    for kind in ("images", labels):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / kind / name).touch()


def test_one_folder_is_for_training(tmp_path):
    write(tmp_path, "b.png", "a.png", labels="masks")
    assert [(case.id, case.split) for case in find_real(tmp_path)] == [("a", "training"), ("b", "training")]


def test_splits_that_share_a_name_have_it_before_their_ids(tmp_path):
    write(tmp_path / "train", "a.nii.gz")
    write(tmp_path / "val", "a.nii.gz", "b.nii.gz")
    cases = find_real(tmp_path, read_groups("."))
    assert [case.id for case in cases] == ["training__a", "validation__a", "validation__b"]
    assert [(case.name, case.group) for case in cases] == [("a", "a"), ("a", "a"), ("b", "b")]


def test_a_test_case_of_a_datalist_needs_no_label(tmp_path):
    write(tmp_path, "a.png", "b.png")
    lists = {"training": [{"image": "images/a.png", "label": "labels/a.png"}], "test": ["images/b.png"]}
    (tmp_path / "list.json").write_text(json.dumps(lists))
    assert [(case.split, case.label is None) for case in find_real(tmp_path / "list.json")] == [
        ("training", False),
        ("test", True),
    ]
    (tmp_path / "list.json").write_text(json.dumps({"training": ["images/b.png"]}))
    with pytest.raises(ValueError, match="b.png has no label; each real case needs one"):
        find_real(tmp_path / "list.json")


def test_bad_folders(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match="needs the folders images and labels or masks"):
        find_real(tmp_path)
    write(tmp_path, "a.png")
    (tmp_path / "labels" / "a.png").unlink()
    with pytest.raises(ValueError, match="1 real cases cannot be used, the first is a.png: it has no label"):
        find_real(tmp_path)


@pytest.mark.parametrize("text", ["id,group\na,\n", "case,patient\na,b\n", "id,group\n"])
def test_a_table_of_groups_is_complete(tmp_path, text):
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(ValueError, match="needs the columns id and group, filled in every row"):
        read_groups(str(tmp_path / "groups.csv"))
