"""``reader-study make | score``: what is written, what is refused, and that nothing readers get tells the kinds."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_diffaug.cli import main
from monai_diffaug.evaluation.reader_study.selection import CALIPER
from tests.reader_studies import disc, key_of, make, write_answers, write_real, write_run
from tests.runs import contents, generate, same, write_picture, write_volume


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run, real images and a study of both."""
    folder = tmp_path_factory.mktemp("reader_study")
    write_run(folder)
    write_real(folder)
    assert make(folder, "--num", "6", "--repeat", "0.34") == 0
    return folder


def chunks(data: bytes) -> list[bytes]:
    """Return the kinds of a PNG's chunks, in order."""
    found, place = [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        found.append(data[place + 4 : place + 8])
        place += length + 12
    return found


def page_data(study: Path) -> dict:
    text = (study / "index.html").read_text("utf-8")
    return json.loads(text.partition('<script type="application/json" id="study">')[2].partition("</script>")[0])


class TestMake:
    def test_writes_a_folder_and_beside_it_the_key(self, made):
        key = key_of(made)
        pictures = key["pictures"]
        kinds = [one["kind"] for one in pictures.values() if one["repeats"] is None]
        assert kinds.count("real") == kinds.count("synthetic") == 6
        repeated = [one["kind"] for one in pictures.values() if one["repeats"] is not None]
        assert sorted(repeated) == ["real"] * 2 + ["synthetic"] * 2
        assert sorted(contents(made / "study")) == sorted(["index.html", *(f"images/{code}.png" for code in pictures)])
        assert all(pictures[one["repeats"]]["repeats"] is None for one in pictures.values() if one["repeats"])

    def test_pairs_are_alike_in_size(self, made):
        sizes: dict[int, list[float]] = {}
        for one in key_of(made)["pictures"].values():
            if one["repeats"] is None:
                sizes.setdefault(one["pair"], []).append(one["size"])
        assert all(len(pair) == 2 and max(pair) / min(pair) <= CALIPER + 1e-3 for pair in sizes.values())
        assert abs(key_of(made)["matching"]["auc_of_size_alone"] - 0.5) < 0.2

    def test_repeats_come_in_the_last_part_and_their_firsts_in_the_first(self, made):
        first, second, last = ([one["code"] for one in part] for part in page_data(made / "study")["parts"])
        for code, one in key_of(made)["pictures"].items():
            if one["repeats"]:
                assert code in last and one["repeats"] in first
        assert len(second) >= 4

    def test_same_seed_same_bytes(self, made, tmp_path):
        for name in ("run", "real", "labels"):
            (tmp_path / name).symlink_to(made / name)
        assert make(tmp_path, "--num", "6", "--repeat", "0.34") == 0
        assert same(contents(tmp_path / "study"), contents(made / "study"))
        assert make(tmp_path, "--num", "6", "--repeat", "0.34", "--seed", "1", output="other") == 0
        assert set(key_of(tmp_path, "other")["pictures"]).isdisjoint(key_of(made)["pictures"])

    def test_sources_of_the_run_are_no_real_images(self, made, tmp_path, capsys):
        write_real(tmp_path)
        (tmp_path / "run").symlink_to(made / "run")
        source = made / "frames" / "normal_00.png"
        (tmp_path / "real" / "x.png").write_bytes(source.read_bytes())
        write_picture(tmp_path / "labels" / "x.png", disc(12, (96, 112)))
        write_picture(tmp_path / "real" / "y.png", np.full((96, 112, 3), 120, np.uint8))
        write_picture(tmp_path / "labels" / "y.png", np.zeros((96, 112), np.uint8))
        assert make(tmp_path, "--num", "6") == 0
        told = capsys.readouterr().out
        assert "left out 1 real images that the synthetic ones were made from" in told
        assert "left out 1 real images without lesion" in told
        assert all(one.get("source") != "x.png" for one in key_of(tmp_path)["pictures"].values())

    @pytest.mark.slow
    def test_volumes_show_three_planes(self, tmp_path):
        for seed in range(4):
            voxels = np.random.default_rng(seed).integers(440, 461, (44, 48, 40)).astype(np.int16)
            write_volume(tmp_path / "normal" / f"n{seed}.nii.gz", voxels)
            label = np.zeros(voxels.shape, np.uint8)
            label[12 : 20 + seed, 12 : 24 + seed, 12 : 18 + seed] = 2
            write_volume(tmp_path / "real" / f"p{seed}.nii.gz", voxels + 30 * label)
            write_volume(tmp_path / "labels" / f"p{seed}.nii.gz", label)
        assert generate(tmp_path / "normal", tmp_path / "run", "--num", "12") in (0, 3)
        assert make(tmp_path, "--num", "2", "--value", "2") == 0
        for path in (tmp_path / "study" / "images").iterdir():
            with Image.open(path) as picture:
                assert picture.mode == "L" and picture.width == 3 * picture.height
        assert all(len(one["rings"]) == 3 for part in page_data(tmp_path / "study")["parts"] for one in part)


class TestBlinding:
    """Readers get a folder that says nothing of the kinds but by what is seen in the pictures."""

    def test_pictures_are_alike_in_all_but_their_pixels(self, made):
        files = sorted((made / "study" / "images").iterdir())
        data = [path.read_bytes() for path in files]
        assert len({len(one) for one in data}) == 1
        assert {tuple(dict.fromkeys(chunks(one))) for one in data} == {(b"IHDR", b"IDAT", b"IEND")}
        assert len({one[8:33] for one in data}) == 1  # size, depth, colour type
        assert len({(path.stat().st_mtime_ns, path.stat().st_mode) for path in files}) == 1

    def test_no_name_or_word_tells(self, made):
        told = b"".join(contents(made / "study").values()) + " ".join(contents(made / "study")).encode()
        for one in key_of(made)["pictures"].values():
            for key in ("source", "id", "image_sha256", "mask_sha256", "prompt"):
                assert not one.get(key) or str(one[key]).encode() not in told
        page = (made / "study" / "index.html").read_text("utf-8")
        other = page.replace(json.dumps(page_data(made / "study"), separators=(",", ":")), "")
        assert not any(code in other for code in key_of(made)["pictures"])
        assert {key for part in page_data(made / "study")["parts"] for one in part for key in one} == {"code", "rings"}

    def test_the_order_is_that_of_random_codes(self, made):
        for part in page_data(made / "study")["parts"]:
            codes = [one["code"] for one in part]
            assert codes == sorted(codes)

    def test_the_page_asks_for_nothing_else(self, made):
        page = (made / "study" / "index.html").read_text("utf-8")
        assert "://" not in page.replace("http://www.w3.org/2000/svg", "") and "default-src 'none'" in page


class TestRefused:
    def test_an_output_that_is_there(self, made, capsys):
        before = contents(made / "study")
        assert make(made) == 2
        assert "study is there already and not empty" in capsys.readouterr().err
        (made / "lone.key.json").write_text("{}")
        assert make(made, output="lone") == 2
        assert "the key of another study" in capsys.readouterr().err
        assert same(before, contents(made / "study")) and not (made / "lone").exists()

    @pytest.mark.parametrize(
        ("more", "sentence"),
        [
            (("--num", "1"), "--num must be 2 or more, got 1"),
            (("--seed", "-1"), "--seed must be an integer from 0, got -1"),
            (("--repeat", "0.7"), "--repeat must be between 0 and 0.5, got 0.7"),
            (("--real", "/nowhere"), "/nowhere does not exist"),
            (("--synthetic", "/nowhere"), "manifest.jsonl is missing"),
            (("--value", "7"), "0 pairs of 0 real and"),
        ],
    )
    def test_what_makes_no_study(self, made, capsys, more, sentence):
        assert make(made, *more, output="refused") == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
        assert not [path for path in made.iterdir() if "refused" in path.name]

    def test_real_images_without_labels(self, made, capsys):
        given = ["--synthetic", str(made / "run"), "--real", str(made / "real"), "--output", str(made / "refused")]
        assert main(["reader-study", "make", *given]) == 2
        assert "has no label; give --labels DIR" in capsys.readouterr().err

    def test_a_broken_picture_leaves_nothing_behind(self, made, tmp_path, capsys):
        write_real(tmp_path)
        (tmp_path / "run").symlink_to(made / "run")
        for path in (tmp_path / "real").iterdir():
            path.write_bytes(b"nonsense" + path.name.encode())
        assert make(tmp_path) == 2
        assert "real image patient_" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "real", "run"]


class TestScore:
    def test_writes_and_prints_the_table(self, made, tmp_path, capsys):
        key = key_of(made)
        levels = {code: 4 if one["kind"] == "real" else 2 for code, one in key["pictures"].items()}
        files = [write_answers(tmp_path / f"{name}.csv", name, levels, study=key["study"]) for name in ("R1", "R2")]
        given = [str(made / "study.key.json"), *map(str, files), "--output", str(tmp_path / "out" / "report")]
        assert main(["reader-study", "score", *given, "--draws", "50"]) == 0
        printed = capsys.readouterr().out
        report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
        assert (tmp_path / "out" / "report.md").read_text("utf-8").strip() == printed.strip()
        assert report["pooled"]["auc"]["value"] == 1 and report["agreement"]["pairs"][0]["realism"]["value"] == 1

    def test_refuses_in_one_sentence_and_writes_nothing(self, made, tmp_path, capsys):
        answers = write_answers(tmp_path / "a.csv", "R1", {"zzzzz": 3}, study=key_of(made)["study"])
        given = [str(made / "study.key.json"), str(answers), "--output", str(tmp_path / "report")]
        assert main(["reader-study", "score", *given]) == 2
        error = capsys.readouterr().err
        assert "names picture 'zzzzz', which is not in the study" in error and error.count("\n") == 1
        assert not list(tmp_path.glob("report*"))
        assert main(["reader-study", "score", *given, "--draws", "0"]) == 2
