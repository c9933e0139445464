"""What `generate` writes: the whole layout, every promise of the manifest, counts, labels, refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_diffaug.generation.order import sample_seed
from tests.runs import (
    AFFINE,
    REFUSING,
    bundle_copy,
    contents,
    frame,
    generate,
    lesion,
    manifest,
    pixels,
    same,
    write_frames,
    write_picture,
    write_volume,
)

KEYS = (
    "id, source, source_sha256, seed, accepted, image, mask, label, prompt, iou, attempts, abnormalities, "
    "weights, versions"
).split(", ")
VOLUME = "v.nii.gz"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of five samples from three frames, which tests only look at."""
    root = tmp_path_factory.mktemp("finished")
    write_frames(root / "in", "b.png", "sub/a.jpg", "c.png")
    assert generate(root / "in", root / "out", "--num", "5", "--seed", "3") == 0
    return root / "out"


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs whose every sample is refused, the second with --audit."""
    root = tmp_path_factory.mktemp("refused")
    bundle = bundle_copy(root / "bundle", **REFUSING)
    write_frames(root / "in", "a.png")
    assert generate(root / "in", root / "out", "--num", "2", bundle=bundle) == 3
    assert generate(root / "in", root / "audit", "--num", "2", "--audit", bundle=bundle) == 3
    return root


@pytest.mark.parametrize(("judged", "slow"), [(20, False), (2, True)])
def test_a_rate_is_compared_only_where_enough_was_made(
    tmp_path: Path, judged: int, slow: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_copy(tmp_path / "bundle")
    metadata = bundle / "configs" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "recorded_rate": 1e9}))
    monkeypatch.setattr("monai_diffaug.generation.offline.JUDGED", judged)
    assert generate(write_frames(tmp_path / "in", "a.png"), tmp_path / "out", "--num", "2", bundle=bundle) == 0
    assert ("far slower" in capsys.readouterr().out) is slow


class TestLayout:
    def test_files(self, finished: Path) -> None:
        ids = ["b__k00", "b__k01", "c__k00", "c__k01", "sub__a__k00"]
        assert [line["id"] for line in manifest(finished)] == ids
        folders = ("images", "masks", "labels", "predictions")
        files = {f"{folder}/{id_}.png" for folder in folders for id_ in ids}
        assert set(contents(finished)) == files | {"manifest.jsonl", "datalist.json", "run.json", "gallery.html"}

    def test_manifest_lines(self, finished: Path) -> None:
        for line in manifest(finished):
            assert set(KEYS) <= set(line)
            assert line["accepted"] is True and line["weights"] == {} and line["versions"]["torch"]
            case, k = line["id"].rsplit("__k", 1)
            assert line["seed"] == sample_seed(3, case, int(k))
            assert [line[kind] for kind in ("image", "mask", "label")] == [
                f"{kind}/{line['id']}.png" for kind in ("images", "masks", "labels")
            ]
            source = finished.parent / "in" / line["source"]
            assert line["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()

    def test_attempts_and_abnormalities(self, finished: Path) -> None:
        for line in manifest(finished):
            (lesion_,) = line["abnormalities"]
            assert {"class", "value", "prompt", "bbox", "extent", "iou", "attempts"} <= set(lesion_)
            assert (lesion_["class"], lesion_["value"]) == ("polyp", 1)
            assert (line["prompt"], line["iou"], line["attempts"]) == tuple(
                lesion_[key] for key in ("prompt", "iou", "attempts")
            )
            for attempt in line["attempts"]:
                assert set(attempt) == {"seed", "iou", "accepted", "reasons", "stopped_early"}
            assert [attempt["accepted"] for attempt in line["attempts"]] == [False] * (len(line["attempts"]) - 1) + [
                True
            ]
            rows, columns = np.nonzero(pixels(finished / line["mask"]))
            low, high = lesion_["bbox"]
            assert low == [rows.min(), columns.min()] and high == [rows.max() + 1, columns.max() + 1]
            assert lesion_["extent"] == max(np.subtract(high, low))

    def test_images_change_near_the_mask_alone(self, finished: Path) -> None:
        for line in manifest(finished):
            before, after = pixels(finished.parent / "in" / line["source"]), pixels(finished / line["image"])
            mask = pixels(finished / line["mask"])
            assert after.dtype == before.dtype and after.shape == before.shape
            assert set(np.unique(mask)) == {0, 255}
            changed = (before != after).any(-1)
            (low, high) = line["abnormalities"][0]["bbox"]
            margin = 2 + round(0.2 * line["abnormalities"][0]["extent"])
            changed[max(0, low[0] - margin) : high[0] + margin, max(0, low[1] - margin) : high[1] + margin] = False
            assert not changed.any() and (before != after)[mask > 0].any()
            assert (pixels(finished / line["label"]) == (mask > 0)).all()

    def test_datalist(self, finished: Path) -> None:
        listed = json.loads((finished / "datalist.json").read_text())
        assert listed == {"training": [{"image": one["image"], "label": one["label"]} for one in manifest(finished)]}
        assert all((finished / path).is_file() for entry in listed["training"] for path in entry.values())

    def test_run_file(self, finished: Path) -> None:
        run = json.loads((finished / "run.json").read_text())
        assert (run["bundle"], run["preset"], run["variant"], run["prompts"]) == (
            "texture_demo",
            "fast",
            None,
            "standard",
        )
        assert (run["weights"], run["dtype"], run["batch_size"], run["count"]) == ({}, "float32", 1, 5)
        assert "trained on no data" in run["data_terms"] and "not for diagnosis" in run["intended_use"]
        assert run["thresholds"]["iou"] == 0.7 and run["max_attempts"] == 4
        assert run["order"]["num"] == 5 and run["order"]["seed"] == 3
        assert set(run["environment"]) >= {"device", "cpu_capability", "threads", "python"}
        assert set(run["versions"]) >= {"monai_diffaug", "torch", "monai", "numpy", "scipy"}
        assert (finished / run["images_root"]).resolve() == (finished.parent / "in").resolve()
        assert run["bad_inputs"] == [] and len(run["inputs_sha256"]) == 64

    def test_no_path_is_absolute(self, finished: Path) -> None:
        for name in ("manifest.jsonl", "datalist.json", "run.json", "gallery.html"):
            assert str(finished.parent) not in (finished / name).read_text(), name

    def test_gallery_holds_every_sample(self, finished: Path) -> None:
        page = (finished / "gallery.html").read_text()
        assert all(line["id"] in page and line["prompt"] in page for line in manifest(finished))

    def test_volumes_keep_their_header(self, tmp_path: Path) -> None:
        """And the bundle's variant for volumes is found by itself, whatever the case of the suffix."""
        write_volume(tmp_path / "in" / VOLUME).rename(tmp_path / "in" / "v.NII.GZ")
        assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", "--seed", "1") == 0
        (line,) = manifest(tmp_path / "out")
        assert json.loads((tmp_path / "out" / "run.json").read_text())["variant"] == "volume"
        assert (line["image"], line["unit"]) == ("images/v__k00.nii.gz", "mm")
        for kind, dtype in (("image", np.int16), ("mask", np.uint8), ("label", np.uint8)):
            written = nibabel.load(tmp_path / "out" / line[kind])
            assert written.shape == (44, 48, 40) and written.get_data_dtype() == dtype
            assert (written.affine == AFFINE).all()
        mask = np.asanyarray(nibabel.load(tmp_path / "out" / line["mask"]).dataobj)
        sides = np.array([1.5, 1.0, 2.0]) * np.subtract(*line["abnormalities"][0]["bbox"][::-1])
        assert set(np.unique(mask)) == {0, 1} and line["abnormalities"][0]["extent"] == pytest.approx(max(sides))


class TestCounts:
    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            (["--num", "5"], {"a": 2, "b": 2, "c": 1}),
            (["--num", "2"], {"a": 1, "b": 1}),
            (["--ratio", "0.5"], {"a": 1, "b": 1}),
            (["--ratio", "1.7"], {"a": 2, "b": 2, "c": 1}),
            (["--num", "3", "--per-image", "2"], {"a": 2, "b": 1}),
        ],
    )
    def test_spread(self, tmp_path: Path, arguments: list[str], expected: dict[str, int]) -> None:
        """A bad image counts for nothing: a ratio is of the usable ones."""
        write_frames(tmp_path / "in", "c.png", "a.png", "b.png")
        (tmp_path / "in" / "bad.png").write_bytes(b"")
        assert generate(tmp_path / "in", tmp_path / "out", *arguments) == 1
        cases = [line["id"].split("__")[0] for line in manifest(tmp_path / "out")]
        assert {name: cases.count(name) for name in cases} == expected and cases == sorted(cases)

    def test_at_most_four_attempts(self, tmp_path: Path) -> None:
        bundle = bundle_copy(tmp_path / "bundle", **REFUSING)
        assert generate(write_frames(tmp_path / "in", "a.png"), tmp_path / "out", "--num", "2", bundle=bundle) == 3
        assert [len(line["attempts"]) for line in manifest(tmp_path / "out")] == [4, 4]


class TestRefused:
    def test_lines_without_files(self, refused: Path) -> None:
        for line in manifest(refused / "out"):
            assert line["accepted"] is False and set(KEYS) <= set(line)
            assert line["image"] is line["mask"] is line["label"] is None
            assert all(attempt["reasons"] == ["overlap too low"] for attempt in line["attempts"])
            assert line["iou"] == max(attempt["iou"] for attempt in line["attempts"]) < 0.9999
        assert set(contents(refused / "out")) == {"manifest.jsonl", "datalist.json", "run.json", "gallery.html"}
        assert json.loads((refused / "out" / "datalist.json").read_text()) == {"training": []}

    def test_audit_keeps_them_apart(self, refused: Path) -> None:
        assert manifest(refused / "audit") == manifest(refused / "out")
        assert not (refused / "audit" / "images").exists()
        assert json.loads((refused / "audit" / "datalist.json").read_text()) == {"training": []}
        for line in manifest(refused / "audit"):
            folder, name = refused / "audit" / "rejected", f"{line['id']}.png"
            assert (pixels(folder / "images" / name) != frame()).any()
            assert set(np.unique(pixels(folder / "masks" / name))) == {0, 255}
            assert pixels(folder / "predictions" / name).shape == (96, 112)
        assert "rejected/" not in (refused / "audit" / "datalist.json").read_text()

    def test_audit_changes_no_accepted_byte(self, finished: Path, tmp_path: Path) -> None:
        assert generate(finished.parent / "in", tmp_path / "out", "--num", "5", "--seed", "3", "--audit") == 0
        plain, audit = contents(finished), contents(tmp_path / "out")
        assert json.loads(audit.pop("run.json"))["audit"] is True and plain.pop("run.json")
        audit.pop("gallery.html"), plain.pop("gallery.html")
        assert same(plain, audit)

    def test_reasons_and_remedy_are_printed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        bundle = bundle_copy(tmp_path / "bundle", **REFUSING)
        assert generate(write_frames(tmp_path / "in", "a.png"), tmp_path / "out", "--num", "1", bundle=bundle) == 3
        text = capsys.readouterr().out
        assert "0 of 1 samples accepted, in 4 attempts (100 % refused)" in text
        assert "4  overlap too low" in text and "more than 40 % refused" in text
        assert "refused by prompt" in text and "refused by size" in text

    def test_no_room_is_a_refusal(self, tmp_path: Path) -> None:
        """Of two images, one leaves eleven pixels; its sample is refused, the other's is not."""
        write_frames(tmp_path / "in", "a.png", "b.png")
        regions = np.zeros((96, 112), np.uint8)
        write_picture(tmp_path / "regions" / "b.png", regions + 255)
        regions[50, 50:61] = 255
        write_picture(tmp_path / "regions" / "a.png", regions)
        more = ("--regions", str(tmp_path / "regions"), "--num", "2")
        for output, batch in ((tmp_path / "one", "1"), (tmp_path / "two", "2")):
            assert generate(tmp_path / "in", output, *more, "--batch-size", batch) == 3
            nowhere, somewhere = manifest(output)
            assert set(nowhere) == set(somewhere) and somewhere["accepted"] and not nowhere["accepted"]
            assert nowhere["attempts"][0]["reasons"] == ["no room"] and nowhere["abnormalities"] == []
            assert nowhere["versions"] == somewhere["versions"] and nowhere["image"] is None


class TestLabels:
    def run(self, root: Path, *labels: np.ndarray, more: tuple[str, ...] = ()) -> list[tuple[dict, np.ndarray]]:
        """Generate one sample for each label; return the lines with their merged labels."""
        names = [f"{'abc'[index]}.png" for index in range(len(labels))]
        write_frames(root / "in", *names)
        for name, label in zip(names, labels, strict=True):
            write_picture(root / "labels" / name, label)
        arguments = ("--labels", str(root / "labels"), "--num", str(len(labels)), *more)
        assert generate(root / "in", root / "out", *arguments) == 0
        return [(line, pixels(root / "out" / line["label"])) for line in manifest(root / "out")]

    def test_binary_stays_binary_also_where_it_is_empty(self, tmp_path: Path) -> None:
        labels = (lesion(), 0 * lesion())
        for (line, merged), label in zip(self.run(tmp_path, *labels), labels, strict=True):
            mask = pixels(tmp_path / "out" / line["mask"])
            assert (merged == np.where(mask > 0, 255, label)).all() and (mask > 0).any()
            assert line["abnormalities"][0]["value"] == 255

    def test_integer_maps_stay_integer_maps(self, tmp_path: Path) -> None:
        """Also beside binary ones: a label is judged by its own values, only an empty one by its set."""
        labels = (lesion(value=3), lesion(), 0 * lesion())
        for (line, merged), label, value in zip(self.run(tmp_path, *labels), labels, (1, 255, 255), strict=True):
            mask = pixels(tmp_path / "out" / line["mask"])
            assert (merged == np.where(mask > 0, value, label)).all()
            assert line["abnormalities"][0]["value"] == value

    def test_empty_labels_alone_are_integer_maps(self, tmp_path: Path) -> None:
        ((line, merged),) = self.run(tmp_path, 0 * lesion())
        assert set(np.unique(merged)) == {0, 1} and line["abnormalities"][0]["value"] == 1

    def test_skipping_lesions_does_not_change_the_values(self, tmp_path: Path) -> None:
        write_frames(tmp_path / "in", "a.png", "b.png")
        write_picture(tmp_path / "labels" / "a.png", lesion())
        write_picture(tmp_path / "labels" / "b.png", 0 * lesion())
        more = ("--labels", str(tmp_path / "labels"), "--num", "1", "--on-existing", "skip")
        assert generate(tmp_path / "in", tmp_path / "out", *more) == 0
        (line,) = manifest(tmp_path / "out")
        assert line["source"] == "b.png"
        assert set(np.unique(pixels(tmp_path / "out" / line["label"]))) == {0, 255}

    def test_sixteen_bit_and_volume_labels_keep_their_dtype(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "in" / VOLUME)
        label = np.zeros((44, 48, 40), np.int32)
        label[2:6, 3:7, 4:8] = 1000
        write_volume(tmp_path / "labels" / "v.nii", label)
        more = ("--labels", str(tmp_path / "labels"), "--num", "1", "--seed", "1")
        assert generate(tmp_path / "in", tmp_path / "out", *more) == 0
        (line,) = manifest(tmp_path / "out")
        written = nibabel.load(tmp_path / "out" / line["label"])
        assert line["label"] == "labels/v__k00.nii" and written.get_data_dtype() == np.int32
        mask = np.asanyarray(nibabel.load(tmp_path / "out" / line["mask"]).dataobj)
        assert (np.asanyarray(written.dataobj) == np.where(mask > 0, 1, label)).all()

    def test_nothing_lands_on_or_near_a_lesion(self, tmp_path: Path) -> None:
        """Half of the picture is a lesion: its surroundings, 5 % of its extent, stay free too."""
        label = np.zeros((96, 112), np.uint8)
        label[:, :50] = 255
        for line, _ in self.run(tmp_path, label, more=("--num", "6")):
            after = pixels(tmp_path / "out" / line["image"])
            changed = (after != pixels(tmp_path / "in" / line["source"])).any(-1)
            assert not changed[:, : 50 + round(0.05 * 96)].any()


def test_regions_bound_the_mask(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", "a.png")
    allowed = np.zeros((96, 112), np.uint8)
    allowed[50:90, 60:105] = 7
    write_picture(tmp_path / "regions" / "a.png", allowed)
    assert generate(tmp_path / "in", tmp_path / "out", "--regions", str(tmp_path / "regions"), "--num", "6") == 0
    for line in manifest(tmp_path / "out"):
        assert not pixels(tmp_path / "out" / line["mask"])[allowed == 0].any()


def test_a_datalist_gives_its_other_splits_untouched(tmp_path: Path) -> None:
    write_frames(tmp_path / "data", "imagesTr/a.png", "imagesTr/b.png", "imagesTs/v.png")
    write_picture(tmp_path / "data" / "labelsTr" / "a.png", lesion())
    others = {"validation": [{"image": "./imagesTs/v.png", "label": "nowhere.png", "patient": 7}], "test": ["x.png"]}
    training = [{"image": "imagesTr/a.png", "label": "labelsTr/a.png"}, {"image": "./imagesTr/b.png"}]
    (tmp_path / "data" / "dataset.json").write_text(json.dumps({"name": "x", "training": training, **others}))
    assert generate(tmp_path / "data" / "dataset.json", tmp_path / "out", "--num", "2") == 0
    listed = json.loads((tmp_path / "out" / "datalist.json").read_text())
    assert {key: listed[key] for key in others} == others
    assert [entry["image"] for entry in listed["training"]] == [
        f"images/imagesTr__{one}__k00.png" for one in ("a", "b")
    ]
    assert [line["source"] for line in manifest(tmp_path / "out")] == ["imagesTr/a.png", "imagesTr/b.png"]
    assert (pixels(tmp_path / "out" / listed["training"][0]["label"])[lesion() > 0] == 255).all()


def test_jpeg_comes_out_as_png_with_the_decoded_pixels(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", "a.jpeg")
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1") == 0
    (line,) = manifest(tmp_path / "out")
    with Image.open(tmp_path / "out" / line["image"]) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
    mask = pixels(tmp_path / "out" / line["mask"]) > 0
    unchanged = (pixels(tmp_path / "out" / line["image"]) == pixels(tmp_path / "in" / "a.jpeg")).all(-1)
    assert unchanged.mean() > 0.5 and not unchanged[mask].all()


def test_order_of_work_does_not_matter(finished: Path, tmp_path: Path) -> None:
    """More images and more samples leave each sample's bytes as they were."""
    write_frames(tmp_path / "in", "b.png", "sub/a.jpg", "c.png", "0.png", "z.png")
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "10", "--seed", "3") == 0
    few, many = contents(finished), contents(tmp_path / "out")
    for name in few:
        if name.startswith(("images/", "masks/", "labels/", "predictions/")):
            assert few[name] == many[name], name
    assert all(line in manifest(tmp_path / "out") for line in manifest(finished))
