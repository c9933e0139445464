"""``export`` hands a set over whole or not at all; what shows a held-out case never trains, in 2D and 3D."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.data import load_decathlon_datalist

from monai_diffaug.cli import main
from tests.handover_sets import CLASSES, Sets, export, make_sets
from tests.runs import REFUSING, bundle_copy, contents, generate, lesion, manifest, pixels, write_frames, write_picture

NNUNET = "Dataset501_Toy"


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def sets(request, tmp_path_factory) -> Sets:
    return make_sets(tmp_path_factory.mktemp("handover"), request.param)


@pytest.fixture(scope="module")
def coco(sets, tmp_path_factory) -> Path:
    if sets.suffix != ".png":
        pytest.skip("COCO describes pictures")
    output = tmp_path_factory.mktemp("coco") / "c"
    assert export("coco", sets.out, output, "--real", str(sets.real)) == 0
    return output


@pytest.fixture(scope="module")
def binary(tmp_path_factory) -> Path:
    """Frames with masks of 0 and 255 below ``real``, and two samples painted into each."""
    root = tmp_path_factory.mktemp("binary")
    write_frames(root / "real" / "images", "a.png", "b.jpg")
    for name in "ab":
        write_picture(root / "real" / "masks" / f"{name}.png", lesion() if name == "a" else 0 * lesion())
    images, labels = root / "real" / "images", root / "real" / "masks"
    assert generate(images, root / "out", "--labels", str(labels), "--num", "4") == 0
    return root


def sources(out: Path) -> dict[str, str]:
    """Return accepted samples: id -> name of the image it was painted into."""
    return {line["id"]: line["source"].split(".")[0] for line in manifest(out) if line["accepted"]}


def array(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj) if path.name.endswith(".nii.gz") else pixels(path)


def nnunet(sets: Sets, output: Path, *more: str) -> int:
    return export("nnunet", sets.out, output, "--real", str(sets.real), *more)


class TestMonai:
    def test_held_out_cases_are_real_and_shown_by_nothing(self, sets, tmp_path):
        assert export("monai", sets.out, tmp_path / "m", "--real", str(sets.real)) == 0
        lists = {
            key: load_decathlon_datalist(tmp_path / "m" / "datalist.json", data_list_key=key)
            for key in ("training", "validation", "test")
        }
        made = {one["image"] for one in lists["training"] if one["synthetic"]}
        wanted = {id_ for id_, source in sources(sets.out).items() if source in "xbn"}
        assert {Path(one).name for one in made} == {f"{id_}{sets.suffix}" for id_ in wanted}
        assert [len(lists[key]) for key in ("training", "validation", "test")] == [2 + len(wanted), 1, 1]
        assert not any(one["synthetic"] for key in ("validation", "test") for one in lists[key])
        for one in (one for entries in lists.values() for one in entries):
            assert array(Path(one["image"])).shape[: array(Path(one["label"])).ndim] == array(Path(one["label"])).shape
            assert set(np.unique(array(Path(one["label"])))) <= {0, *CLASSES.values()}

    def test_files_are_the_same_bytes_or_values(self, sets, tmp_path):
        assert export("monai", sets.out, tmp_path / "m") == 0
        for line in (one for one in manifest(sets.out) if one["accepted"]):
            image, label = (tmp_path / "m" / line[kind] for kind in ("image", "label"))
            assert image.read_bytes() == (sets.out / line["image"]).read_bytes()
            assert (array(label) == array(sets.out / line["label"])).all()

    def test_a_linked_image_takes_no_room(self, sets, tmp_path):
        assert export("monai", sets.out, tmp_path / "m", "--link") == 0
        line = next(one for one in manifest(sets.out) if one["accepted"])
        assert (tmp_path / "m" / line["image"]).samefile(sets.out / line["image"])
        assert not (tmp_path / "m" / line["label"]).samefile(sets.out / line["label"])

    def test_a_datalist_of_real_cases_gives_the_same(self, sets, tmp_path):
        entries = {"train": "training", "val": "validation", "test": "test"}
        lists: dict[str, list] = {name: [] for name in entries.values()}
        for folder, name in entries.items():
            for image in sorted((sets.real / folder / "images").iterdir()):
                label = sets.real / folder / "labels" / image.name
                lists[name].append({"image": str(image), "label": str(label)})
        (tmp_path / "real.json").write_text(json.dumps(lists))
        for name, real in (("one", sets.real), ("other", tmp_path / "real.json")):
            assert export("monai", sets.out, tmp_path / name, "--real", str(real)) == 0
        one, other = contents(tmp_path / "one"), contents(tmp_path / "other")
        assert {key for key in one if one[key] != other.get(key)} == set()


class TestNnunet:
    def test_no_fold_trains_on_what_shows_its_validation_cases(self, sets, tmp_path, capsys):
        assert nnunet(sets, tmp_path / NNUNET, "--folds", "3") == 0
        told = capsys.readouterr().out
        assert "copies it to $nnUNet_preprocessed/Dataset501_Toy/" in told and "1 real test cases" in told
        folds = json.loads((tmp_path / NNUNET / "splits_final.json").read_text())
        usable = {id_: {"x": "a"}.get(name, name) for id_, name in sources(sets.out).items() if name != "d"}
        assert sorted(id_ for fold in folds for id_ in fold["val"]) == ["a", "b", "c"]
        for fold in folds:
            wanted = {id_ for id_, name in usable.items() if name not in fold["val"]}
            assert set(fold["train"]) == {"a", "b", "c"} - set(fold["val"]) | wanted

    def test_own_split(self, sets, tmp_path):
        assert nnunet(sets, tmp_path / NNUNET, "--folds", "own") == 0
        (fold,) = json.loads((tmp_path / NNUNET / "splits_final.json").read_text())
        assert fold["val"] == ["c"] and {sources(sets.out).get(id_, id_) for id_ in fold["train"]} == set("abxn")

    def test_patients_stay_together(self, sets, tmp_path):
        (tmp_path / "groups.csv").write_text("id,group\na,p1\nb,p2\nc,p1\nd,p3\nn,p2\n")
        assert nnunet(sets, tmp_path / NNUNET, "--folds", "2", "--groups", str(tmp_path / "groups.csv")) == 0
        folds = json.loads((tmp_path / NNUNET / "splits_final.json").read_text())
        by_validation = {
            tuple(fold["val"]): {sources(sets.out).get(id_, id_) for id_ in fold["train"]} for fold in folds
        }
        assert by_validation == {("a", "c"): {"b", "n"}, ("b",): {"a", "x", "c"}}

    def test_the_dataset(self, sets, tmp_path):
        assert nnunet(sets, tmp_path / NNUNET, "--folds", "3") == 0
        root = tmp_path / NNUNET
        body = json.loads((root / "dataset.json").read_text())
        assert body["labels"] == {"background": 0, "tumour": 1, "cyst": 2} and body["file_ending"] == sets.suffix
        assert list(body["channel_names"].values()) == (["R", "G", "B"] if sets.suffix == ".png" else ["image"])
        images = sorted(path.name.replace("_0000", "") for path in (root / "imagesTr").iterdir())
        assert images == sorted(path.name for path in (root / "labelsTr").iterdir())
        assert body["numTraining"] == len(images)
        for id_ in body["synthetic"]:
            line = next(one for one in manifest(sets.out) if one["id"] == id_)
            before, after = array(sets.out / line["label"]), array(root / "labelsTr" / f"{id_}{sets.suffix}")
            assert (np.select([before == 2, before == 5], [1, 2]) == after).all()
        assert "SYNTHETIC" in (root / "SYNTHETIC.txt").read_text()

    def test_same_seed_same_bytes(self, sets, tmp_path):
        for name, seed in (("one", "0"), ("two", "0"), ("three", "1")):
            assert nnunet(sets, tmp_path / name / NNUNET, "--folds", "3", "--seed", seed) == 0
        one, two, three = (contents(tmp_path / name) for name in ("one", "two", "three"))
        assert one == two
        assert {name for name in one if one[name] != three[name]} <= {f"{NNUNET}/splits_final.json"}

    @pytest.mark.slow
    @pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="needs pip install nnunetv2")
    def test_nnunet_finds_nothing_wrong(self, sets, tmp_path):
        assert nnunet(sets, tmp_path / NNUNET, "--folds", "3") == 0
        code = (
            "from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity\n"
            f"if __name__ == '__main__': verify_dataset_integrity({str(tmp_path / NNUNET)!r}, 1)"
        )
        (tmp_path / "verify.py").write_text(code)  # it starts processes, which read their script again
        done = subprocess.run([sys.executable, str(tmp_path / "verify.py")], capture_output=True, text=True)
        assert done.returncode == 0 and "Warning" not in done.stdout, done.stdout + done.stderr


class TestCoco:
    def test_volumes_are_refused(self, sets, tmp_path, capsys):
        if sets.suffix != ".png":
            assert export("coco", sets.out, tmp_path / "c") == 2
            assert "is a volume; COCO describes pictures: use monai or nnunet" in capsys.readouterr().err
            assert not list(tmp_path.iterdir())

    def test_each_painted_lesion_has_its_record(self, sets, coco):
        body = json.loads((coco / "annotations" / "instances_train.json").read_text())
        names = {one["id"]: one["name"] for one in body["categories"]}
        assert {name: id_ for id_, name in names.items()} == CLASSES
        for image in (one for one in body["images"] if one["synthetic"]):
            line = next(one for one in manifest(sets.out) if f"{one['id']}.png" == image["file_name"])
            lesions = [one for one in body["annotations"] if one["image_id"] == image["id"]]
            accepted = [one for one in line["abnormalities"] if one["attempts"][-1]["accepted"]]
            assert sorted((names[one["category_id"]], one["prompt"]) for one in lesions if one["synthetic"]) == sorted(
                (one["class"], one["prompt"]) for one in accepted
            )
            assert len(lesions) == len(accepted) + 1  # and the one that was there

    def test_masks_are_exact(self, sets, coco):
        for path in sorted((coco / "annotations").iterdir()):
            body = json.loads(path.read_text())
            for image in body["images"]:
                id_ = image["file_name"].removesuffix(".png")
                folder = next((one for one in sets.real.rglob("labels/*.png") if one.stem == id_), None)
                label, drawn = pixels(folder or sets.out / "labels" / f"{id_}.png"), 0
                for one in (one for one in body["annotations"] if one["image_id"] == image["id"]):
                    mask = decoded(one["segmentation"])
                    x, y, width, height = one["bbox"]
                    assert mask.sum() == one["area"] == mask[y : y + height, x : x + width].sum()
                    drawn = drawn + one["category_id"] * mask.astype(int)
                assert (drawn == label).all()

    def test_pycocotools_reads_them(self, coco, capsys):
        module = pytest.importorskip("pycocotools.coco", reason="needs pip install pycocotools")
        from pycocotools import mask as masks

        api = module.COCO(str(coco / "annotations" / "instances_train.json"))
        for one in api.loadAnns(api.getAnnIds()):
            assert (api.annToMask(one) == decoded(one["segmentation"])).all()
            rle = api.annToRLE(one)
            assert masks.area(rle) == one["area"] and masks.toBbox(rle).tolist() == one["bbox"]


def decoded(segmentation: dict) -> np.ndarray:
    counts = segmentation["counts"]
    values = np.repeat(np.arange(len(counts)) % 2, counts)
    return values.reshape(segmentation["size"], order="F").astype(bool)


def test_the_table_has_a_row_for_each_lesion(sets, tmp_path):
    assert export("csv", sets.out, tmp_path / "t") == 0
    data = (tmp_path / "t" / "provenance.csv").read_bytes()
    assert data.count(b"\r\n") == data.count(b"\n")
    rows = list(csv.DictReader(data.decode("utf-8").splitlines()))
    lesions = [(line, one) for line in manifest(sets.out) for one in line["abnormalities"]]
    assert len(rows) == len(lesions)
    for row, (line, one) in zip(rows, lesions, strict=True):
        assert (row["sample"], row["class"], row["prompt"]) == (line["id"], one["class"], one["prompt"])
        assert (
            row["accepted"] == str(one["attempts"][-1]["accepted"]).lower() and json.loads(row["bbox"]) == one["bbox"]
        )
        assert bool(row["image_sha256"]) == line["accepted"]


def test_refused_samples_are_in_the_table_alone(tmp_path, capsys):
    images, bundle = write_frames(tmp_path / "in", "a.png", "b.png"), bundle_copy(tmp_path / "bundle", **REFUSING)
    assert generate(images, tmp_path / "out", "--num", "2", bundle=bundle) == 3
    lines = manifest(tmp_path / "out")
    nowhere = {"abnormalities": [], "attempts": [{"accepted": False, "reasons": ["no room"]}]}
    text = "".join(json.dumps(line) + "\n" for line in (lines[0], {**lines[1], **nowhere}))
    (tmp_path / "out" / "manifest.jsonl").write_text(text)
    assert export("csv", tmp_path / "out", tmp_path / "t") == 0
    with (tmp_path / "t" / "provenance.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = [(row["sample"], row["lesion"], row["accepted"], row["reasons"], row["image"]) for row in rows]
    assert told == [("a__k00", "1", "false", "overlap too low", ""), ("b__k00", "", "false", "no room", "")]
    assert export("monai", tmp_path / "out", tmp_path / "m") == 2
    assert "holds no accepted sample, so there is nothing to hand over" in capsys.readouterr().err


def test_a_file_that_is_gone(binary, tmp_path, capsys):
    shutil.copytree(binary / "out", tmp_path / "out")
    (tmp_path / "out" / "labels" / "a__k00.png").unlink()
    assert export("coco", tmp_path / "out", tmp_path / "c") == 2
    assert "a__k00: its label labels/a__k00.png is missing" in capsys.readouterr().err


class TestBinaryLabels:
    def test_they_become_zero_and_one(self, binary, tmp_path):
        root, real = tmp_path / NNUNET, ("--real", str(binary / "real"))
        assert export("nnunet", binary / "out", root, *real, "--folds", "2") == 0
        values = {path.stem: set(np.unique(pixels(path)).tolist()) for path in (root / "labelsTr").iterdir()}
        assert values.pop("b") == {0} and set(map(frozenset, values.values())) == {frozenset({0, 1})}
        assert json.loads((root / "dataset.json").read_text())["labels"] == {"background": 0, "polyp": 1}

    def test_a_jpeg_becomes_a_png_of_the_same_pixels(self, binary, tmp_path):
        root = tmp_path / NNUNET
        assert export("nnunet", binary / "out", root, "--real", str(binary / "real"), "--folds", "2") == 0
        assert (pixels(root / "imagesTr" / "b_0000.png") == pixels(binary / "real" / "images" / "b.jpg")).all()

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            (("--folds", "3"), "3 folds need as many groups of real cases, 2 at least; there are 2"),
            (("--folds", "own"), "no train and val of their own; give a number of --folds"),
            (("--folds", "few"), "--folds must be a number or own"),
            (("--folds", "2", "--groups", "("), "is no regular expression"),
            (("--folds", "2", "--groups", "^(p)"), "2 real cases are in no group, the first is a"),
            (("--folds", "2", "--groups", "none.csv"), "none.csv cannot be opened"),
            (("--folds", "2", "--class", "cyst"), "--class must be NAME=VALUE"),
            (("--folds", "2", "--class", "cyst=1"), "classes need values from 1, each its own"),
            (("--folds", "2", "--class", "cyst=2"), "0 and 255 cannot tell the classes polyp, cyst apart"),
            (("--folds", "2", "--channels", "CT"), "the images have 3 channels, but 1 were named"),
        ],
    )
    def test_one_sentence_and_nothing_written(self, binary, tmp_path, capsys, more, sentence):
        root, real = tmp_path / NNUNET, ("--real", str(binary / "real"))
        assert export("nnunet", binary / "out", root, *real, *more) == 2
        error = capsys.readouterr().err
        assert sentence in error and len(error.splitlines()) == 1
        assert not list(tmp_path.iterdir())

    def test_a_value_that_no_class_names(self, binary, tmp_path, capsys):
        write_picture(tmp_path / "real" / "images" / "z.png", pixels(binary / "real" / "images" / "a.png"))
        write_picture(tmp_path / "real" / "labels" / "z.png", lesion(value=7))
        more = ("--real", str(tmp_path / "real"))
        assert export("monai", binary / "out", tmp_path / "m", *more) == 2
        assert "no class has the value 7; known are polyp=1; name it with --class" in capsys.readouterr().err
        assert not (tmp_path / "m").exists() and not list(tmp_path.glob(".*"))

    def test_equal_ids(self, binary, tmp_path, capsys):
        write_picture(tmp_path / "real" / "images" / "a__k00.png", pixels(binary / "real" / "images" / "a.png"))
        write_picture(tmp_path / "real" / "labels" / "a__k00.png", lesion())
        assert export("monai", binary / "out", tmp_path / "m", "--real", str(tmp_path / "real")) == 2
        assert "a real and a synthetic case are both called a__k00" in capsys.readouterr().err

    def test_pictures_and_volumes_do_not_mix(self, binary, sets, tmp_path, capsys):
        if sets.suffix == ".nii.gz":
            assert export("monai", binary / "out", tmp_path / "m", "--real", str(sets.real)) == 2
            assert "hand over sets of one kind" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["monai", "nnunet", "coco", "csv"])
class TestFolders:
    def args(self, kind: str, sets: Sets) -> tuple[str, ...]:
        return ("--real", str(sets.real), "--folds", "3") if kind == "nnunet" else ()

    def test_a_folder_that_is_not_empty(self, kind, sets, tmp_path, capsys):
        (tmp_path / NNUNET).mkdir()
        (tmp_path / NNUNET / "mine.txt").touch()
        assert export(kind, sets.out, tmp_path / NNUNET, *self.args(kind, sets)) == 2
        assert "is not an empty folder; give a new one" in capsys.readouterr().err
        assert [path.name for path in tmp_path.rglob("*")] == [NNUNET, "mine.txt"]

    def test_no_generated_folder(self, kind, sets, tmp_path, capsys):
        assert export(kind, tmp_path, tmp_path / NNUNET, *self.args(kind, sets)) == 2
        assert "manifest.jsonl is missing; give the manifest.jsonl of a generated folder" in capsys.readouterr().err

    def test_inside_what_is_read(self, kind, sets, capsys):
        assert export(kind, sets.out, sets.out / NNUNET, *self.args(kind, sets)) == 2
        assert "which is read; give a folder outside of it" in capsys.readouterr().err
        assert not (sets.out / NNUNET).exists()


def test_nnunet_needs_real_cases_and_a_name(sets, tmp_path, capsys):
    assert export("nnunet", sets.out, tmp_path / NNUNET) == 2
    assert "which must be real ones: give --real DATA" in capsys.readouterr().err
    assert nnunet(sets, tmp_path / "Polyps", "--folds", "3") == 2
    assert "wants a folder called DatasetNNN_Name" in capsys.readouterr().err


def test_help_names_every_format(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in ("monai", "nnunet", "coco", "csv"))
