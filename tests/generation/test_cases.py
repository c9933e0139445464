"""Finding images with their labels and regions, in folders and in datalists."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from monai_diffaug.generation.cases import find_cases


def touch(root: Path, *names: str) -> Path:
    """Put files below a folder; nobody looks into them here."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0")
    return root


def datalist(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


class TestFolders:
    def test_ids_and_sources(self, tmp_path: Path) -> None:
        touch(tmp_path, "b.png", "a/x.v1.NII.GZ", "a/y.JPG", "c.nii", ".hidden.png", ".git/z.png", "notes.txt")
        found = find_cases(tmp_path)
        assert [(case.id, case.source) for case in found.cases] == [
            ("a__x.v1", "a/x.v1.NII.GZ"),
            ("a__y", "a/y.JPG"),
            ("b", "b.png"),
            ("c", "c.nii"),
        ]
        assert found.root == tmp_path
        assert (found.bad, found.passthrough) == ((), {})
        assert all(case.image == tmp_path / case.source and case.label is None for case in found.cases)

    @pytest.mark.parametrize(
        ("name", "remedy"), [("a.tif", "save it as PNG"), ("a.DCM", "convert it to NIfTI"), ("a.bmp", "save it as PNG")]
    )
    def test_unsupported_images_are_bad(self, tmp_path: Path, name: str, remedy: str) -> None:
        found = find_cases(touch(tmp_path, name, "b.png"))
        assert [case.id for case in found.cases] == ["b"]
        (source, sentence) = found.bad[0]
        assert source == name
        assert remedy in sentence

    def test_partners_pair_by_path_without_suffix(self, tmp_path: Path) -> None:
        images = touch(tmp_path / "images", "p/a.jpg", "b.png")
        labels = touch(tmp_path / "labels", "p/a.png", "b.PNG", "unused.png")
        regions = touch(tmp_path / "regions", "p/a.png", "b.png")
        found = find_cases(images, labels, regions)
        assert [case.id for case in found.cases] == ["b", "p__a"]
        assert found.cases[0].label == labels / "b.PNG"
        assert found.cases[1].label == labels / "p/a.png"
        assert found.cases[1].regions == regions / "p/a.png"

    def test_missing_and_ambiguous_partners_are_bad(self, tmp_path: Path) -> None:
        images = touch(tmp_path / "images", "a.png", "b.png", "c.png", "d.png")
        labels = touch(tmp_path / "labels", "a.png", "b.png", "b.nii", "d.tif", "sub/c.png")
        found = find_cases(images, labels)
        assert [case.id for case in found.cases] == ["a"]
        sentences = dict(found.bad)
        assert "2 files could be its label: b.nii, b.png; keep one" in sentences["b.png"]
        assert "no label: labels/c with one of .png, .jpg" in sentences["c.png"]
        assert "no label" in sentences["d.png"]

    def test_labels_inside_the_image_folder_are_no_images(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "labels/a.png", "regions/a.png")
        found = find_cases(tmp_path, tmp_path / "labels", tmp_path / "regions")
        assert [case.id for case in found.cases] == ["a"]

    def test_one_folder_for_both_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="both for images and for labels"):
            find_cases(touch(tmp_path, "a.png"), tmp_path)

    @pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("a/b.png", "a__b.png"), ("a.nii", "a.nii.gz")])
    def test_equal_ids_are_refused(self, tmp_path: Path, names: tuple[str, str]) -> None:
        with pytest.raises(ValueError) as error:
            find_cases(touch(tmp_path, *names))
        assert all(name in str(error.value) for name in names)

    def test_links(self, tmp_path: Path) -> None:
        images = touch(tmp_path / "images", "a/x.png")
        elsewhere = touch(tmp_path / "elsewhere", "y.png")
        (images / "a" / "loop").symlink_to(images)
        (images / "self").symlink_to(images / "self")
        (images / "linked").symlink_to(elsewhere)
        (elsewhere / "back").symlink_to(images / "a")
        (images / "broken.png").symlink_to(tmp_path / "gone.png")
        ids = [case.id for case in find_cases(images).cases]
        assert ids == ["a__x", "broken", "linked__back__x", "linked__y"]

    @pytest.mark.parametrize(
        "name", ["a\nb.png", "a\x1b[2J.png", "a\\b.png", os.fsdecode(b"a\xff.png"), "x" * 220 + ".png"]
    )
    def test_names_that_cannot_be_ids_are_bad(self, tmp_path: Path, name: str) -> None:
        found = find_cases(touch(tmp_path, name, "b.png"))
        assert [case.id for case in found.cases] == ["b"]
        (source, sentence) = found.bad[0]
        assert source.isprintable()
        assert "rename it" in sentence or "shorten it" in sentence
        json.dumps(found.bad, ensure_ascii=False).encode()

    def test_order_does_not_depend_on_the_disk(self, tmp_path: Path) -> None:
        names = ["z.png", "a/b.png", "B.png", "a.b.png", "ä.png"]
        one, other = touch(tmp_path / "one", *names), touch(tmp_path / "other", *reversed(names))
        ids = [case.id for case in find_cases(one).cases]
        assert ids == sorted(ids) == [case.id for case in find_cases(other).cases]

    def test_what_cannot_be_searched(self, tmp_path: Path) -> None:
        images = touch(tmp_path / "images", "a.png")
        with pytest.raises(ValueError, match="gone does not exist; give a folder"):
            find_cases(tmp_path / "gone")
        with pytest.raises(ValueError, match="neither a folder nor a .json datalist"):
            find_cases(images / "a.png")
        with pytest.raises(ValueError, match="folder of label .*none does not exist"):
            find_cases(images, tmp_path / "none")
        with pytest.raises(ValueError, match="holds no image"):
            find_cases(touch(tmp_path / "empty", "notes.txt"))


class TestDatalists:
    def test_decathlon(self, tmp_path: Path) -> None:
        touch(tmp_path, "imagesTr/a.nii.gz", "imagesTr/b.nii.gz", "labelsTr/a.nii.gz", "regions/a.nii.gz")
        validation = [{"image": "./imagesTr/v.nii.gz", "label": "x", "fold": 0}]
        content = {
            "name": "Task02",
            "labels": {"0": "background"},
            "training": [
                {"image": "./imagesTr/b.nii.gz"},
                {"image": "imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz", "regions": "regions/a.nii.gz"},
            ],
            "validation": validation,
            "test": ["./imagesTs/t.nii.gz"],
            "numbers": [1, 2],
        }
        found = find_cases(datalist(tmp_path / "dataset.json", content))
        a, b = found.cases
        assert (a.id, a.source) == ("imagesTr__a", "imagesTr/a.nii.gz")
        assert a.label == tmp_path / "labelsTr/a.nii.gz"
        assert a.regions == tmp_path / "regions/a.nii.gz"
        assert (b.label, b.regions) == (None, None)
        assert found.root == tmp_path
        assert found.passthrough == {"validation": validation, "test": ["./imagesTs/t.nii.gz"]}

    def test_bare_list_and_text_entries(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png")
        found = find_cases(datalist(tmp_path / "list.json", ["a.png", {"image": "b.png", "label": None}]))
        assert [case.id for case in found.cases] == ["a", "b"]

    def test_the_root_moves_up_for_images_elsewhere(self, tmp_path: Path) -> None:
        touch(tmp_path, "data/one/a.png", "data/two/a.png", "data/two/l.png")
        entries = ["../data/one/a.png", {"image": str(tmp_path / "data/two/a.png"), "label": "../data/two/l.png"}]
        found = find_cases(datalist(tmp_path / "lists/list.json", {"training": entries}))
        assert found.root == tmp_path / "data"
        assert [(case.id, case.source) for case in found.cases] == [("one__a", "one/a.png"), ("two__a", "two/a.png")]
        assert found.cases[1].label == tmp_path / "data/two/l.png"

    def test_a_relative_path_to_the_datalist(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path, "a.png")
        datalist(tmp_path / "list.json", ["a.png"])
        monkeypatch.chdir(tmp_path)
        assert [case.source for case in find_cases(Path("list.json")).cases] == ["a.png"]

    def test_own_labels_come_before_the_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png", "own/a.png", "labels/a.png", "labels/b.png")
        path = datalist(tmp_path / "list.json", [{"image": "a.png", "label": "own/a.png"}, "b.png"])
        a, b = find_cases(path, tmp_path / "labels").cases
        assert a.label == tmp_path / "own/a.png"
        assert b.label == tmp_path / "labels/b.png"

    def test_bad_entries_are_listed_and_the_others_stay(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.png", "c.tif", "d.png")
        entries = [
            "a.png",
            7,
            {"image": ["b.png", "d.png"]},
            {"label": "a.png"},
            {"image": "gone.png"},
            {"image": "b.png", "label": "gone_label.png"},
            {"image": "c.tif"},
            {"image": "d.png", "label": ["x.png"]},
            {"image": "nul\u0000.png"},
        ]
        found = find_cases(datalist(tmp_path / "list.json", {"training": entries}))
        assert [case.id for case in found.cases] == ["a"]
        sentences = dict(found.bad)
        assert len(sentences) == len(entries) - 1
        for number in (2, 3, 4):
            assert "one file per entry" in sentences[f"list.json, entry {number}"]
        assert sentences["gone.png"].startswith("gone.png does not exist")
        assert sentences["b.png"].startswith("gone_label.png does not exist")
        assert "save it as PNG" in sentences["c.tif"]
        assert '"label" is no path' in sentences["d.png"]

    def test_an_image_named_twice_is_refused(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        with pytest.raises(ValueError, match="a.png and a.png would both have the id a"):
            find_cases(datalist(tmp_path / "list.json", ["a.png", "./a.png"]))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "no valid JSON"),
            ("", "no valid JSON"),
            ("[" * 100_000, "no valid JSON"),
            ({"validation": []}, 'holds no list "training"'),
            ({"training": {"image": "a.png"}}, 'holds no list "training"'),
            ("3", 'holds no list "training"'),
            ([], "holds no image"),
        ],
    )
    def test_no_datalist(self, tmp_path: Path, content: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            find_cases(datalist(tmp_path / "list.json", content))
