"""``dicom generate``: a folder of DICOM in, marked series with SEG out, by the bytes of every other door."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from monai_diffaug.cli import main
from monai_diffaug.dicom import read_series
from tests.dicom import phantoms
from tests.runs import contents, manifest, same

RANGE = ("--intensity-range", "-1024", "1024")


def volume(folder: Path) -> Path:
    """Write an oblique CT of smooth tissue into a folder and return it."""
    first, second = phantoms.ct_series(), phantoms.ct_series()
    steps = [np.array(one.ImagePositionPatient, float) for one in first]
    for number, one in enumerate(second):  # the series goes on
        one.ImagePositionPatient = [round(x, 6) for x in steps[number] + 12 * (steps[1] - steps[0])]
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{one.SOPInstanceUID}.2"
    slices = first + second
    noise = np.random.default_rng(0).integers(-3, 4, (64, 48, len(slices)))
    for index, one in enumerate(slices):
        one.PixelData = (1024 + 40 + noise[..., index]).astype(np.uint16).tobytes()
    phantoms.write(slices, folder)
    return folder


def frames(folder: Path, count: int = 3) -> Path:
    """Write frames of smooth tissue as VL Endoscopic images into a folder and return it."""
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = (np.array([150, 100, 90]) + rng.integers(-3, 4, (96, 112, 3))).astype(np.uint8)
        one = phantoms.endoscopy(instance=number + 1)
        one.Rows, one.Columns, one.PixelData = 96, 112, pixels.tobytes()
        phantoms.write(one, folder, stem=f"f{number}")
    return folder


def run(source: Path, output: Path, *more: str) -> int:
    secret = ("--site-secret", str(output.parent / "secret"))
    places = ("--input", str(source), "--output", str(output))
    return main(["dicom", "generate", "--bundle", "texture_demo", *places, "--num", "3", *secret, *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over three frames."""
    folder = tmp_path_factory.mktemp("dicom")
    assert run(frames(folder / "in"), folder / "out") in (0, 3)
    return folder


def exported(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "generated" / "exported.jsonl").read_text("utf-8").splitlines()]


def test_every_accepted_sample_is_there_with_its_seg(made: Path) -> None:
    lines = [line for line in manifest(made / "out" / "generated") if line["accepted"]]
    assert lines and [one["id"] for one in exported(made / "out")] == [line["id"] for line in lines]
    for one in exported(made / "out"):
        paths = [made / "out" / "dicom" / name for name in one["files"]]
        image, seg = (pydicom.dcmread(path) for path in paths)
        assert image.SyntheticData == seg.SyntheticData == "YES" and seg.Modality == "SEG"


def test_pixels_are_those_of_the_run(made: Path) -> None:
    from PIL import Image

    for line in manifest(made / "out" / "generated"):
        if line["accepted"]:
            image = pydicom.dcmread(made / "out" / "dicom" / line["id"] / "IM00001.dcm")
            with Image.open(made / "out" / "generated" / line["image"]) as picture:
                assert (image.pixel_array == np.asarray(picture)).all()


def test_each_step_by_hand_gives_the_same(made: Path, tmp_path: Path) -> None:
    source, secret = made / "in", ("--site-secret", str(made / "secret"))
    assert main(["dicom", "import", "--input", str(source), "--output", str(tmp_path / "imported")]) == 0
    images = ("--images", str(tmp_path / "imported" / "datalist.json"), "--num", "3")
    command = ["generate", "--bundle", "texture_demo", *images, "--output", str(tmp_path / "generated")]
    assert main(command) in (0, 3)
    places = ("--imported", str(tmp_path / "imported"), "--generated", str(tmp_path / "generated"))
    command = ["dicom", "export", "--input", str(source), *places, "--output", str(tmp_path / "dicom"), *secret]
    assert main(command) == 0
    for name in {line["image"] for line in manifest(tmp_path / "generated")} - {None}:
        assert (tmp_path / "generated" / name).read_bytes() == (made / "out" / "generated" / name).read_bytes()
    for path in (tmp_path / "dicom").rglob("*.dcm"):
        one, two = pydicom.dcmread(path), pydicom.dcmread(made / "out" / "dicom" / path.relative_to(tmp_path / "dicom"))
        assert one.SOPInstanceUID == two.SOPInstanceUID and one.PixelData == two.PixelData


def test_volumes_go_the_same_way(tmp_path: Path) -> None:
    source = volume(tmp_path / "in")
    assert run(source, tmp_path / "out", *RANGE) in (0, 3)
    before = read_series(source)[0]
    accepted = [line for line in manifest(tmp_path / "out" / "generated") if line["accepted"]]
    assert accepted
    for line in accepted:
        files = sorted((tmp_path / "out" / "dicom" / line["id"]).glob("IM*.dcm"))
        after = read_series(files, synthetic=True)[0]
        np.testing.assert_allclose(after.affine, before.affine, atol=1e-6)
        low, high = np.array(line["abnormalities"][0]["bbox"])
        changed = np.argwhere((after.stored != before.stored)[0])
        assert len(changed) and (changed.min(0) >= low - 12).all() and (changed.max(0) < high + 12).all()


def test_resumed_is_as_if_never_stopped(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "copy")
    output = tmp_path / "copy" / "out"
    shutil.rmtree(output / "dicom" / exported(output)[-1]["id"])
    assert run(made / "in", output) == 2  # not empty
    assert run(tmp_path / "copy" / "in", output, "--resume") in (0, 3)
    left, right = contents(output / "generated" / "images"), contents(made / "out" / "generated" / "images")
    assert same(left, right)
    folders = [sorted(path.name for path in (one / "dicom").iterdir()) for one in (output, made / "out")]
    assert folders[0] == folders[1]


def export(folder: Path, *more: str) -> int:
    """Export the run below a folder again."""
    output = folder / "out"
    places = [f"--{name}={output / name}" for name in ("imported", "generated")]
    places += [f"--input={folder / 'in'}", f"--output={output / 'dicom'}", f"--site-secret={folder / 'secret'}"]
    return main(["dicom", "export", *places, *more])


@pytest.mark.parametrize("lost", ["line", "half a line", "folder", "all"])
def test_the_mapping_is_whole_wherever_an_export_was_killed(made: Path, tmp_path: Path, lost: str) -> None:
    shutil.copytree(made, tmp_path / "copy")
    output = tmp_path / "copy" / "out"
    path, before = output / "generated" / "exported.jsonl", exported(output)
    lines = path.read_bytes().splitlines(keepends=True)
    left = {"line": b"".join(lines[:-1]), "half a line": b"".join(lines)[:-9], "all": b"", "folder": b"".join(lines)}
    path.write_bytes(left[lost])
    if lost == "folder":
        shutil.rmtree(output / "dicom" / before[-1]["id"])
    assert export(tmp_path / "copy") == 0
    assert exported(output) == before and len(before) > 1


def test_pixels_changed_elsewhere_are_refused(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    shutil.copytree(made, tmp_path / "copy")
    output = tmp_path / "copy" / "out"
    shutil.rmtree(output / "dicom")
    line = next(one for one in manifest(output / "generated") if one["accepted"])
    origin, shape = (line["abnormalities"][0]["window"][key] for key in ("origin", "shape"))
    corner = [0 if o > 0 else n - 1 for o, n in zip(origin, (96, 112), strict=True)]
    if all(o <= c < o + s for o, c, s in zip(origin, corner, shape, strict=True)):
        pytest.skip("the window covers the frame")
    path = output / "generated" / line["image"]
    pixels = np.asarray(Image.open(path)).copy()
    pixels[tuple(corner)] ^= 1
    Image.fromarray(pixels).save(path)
    assert export(tmp_path / "copy") == 1
    assert "1 pixels differ from the source" in capsys.readouterr().err
    assert not (output / "dicom" / line["id"]).exists()


def test_images_with_writing_are_left_out_before_anything_is_painted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = frames(tmp_path / "in")
    path = sorted(source.iterdir())[0]
    dataset = pydicom.dcmread(path)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(path)
    assert run(source, tmp_path / "out") in (0, 3)
    assert capsys.readouterr().err.count("burned-in writing") == 1
    assert len({line["source"] for line in manifest(tmp_path / "out" / "generated")}) == 2


class TestOneSentence:
    def test_frames_and_volumes_at_once(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        frames(volume(tmp_path / "in"))
        assert run(tmp_path / "in", tmp_path / "out") == 2
        assert "choose with --series" in capsys.readouterr().err

    @pytest.mark.parametrize("more", [(), ("--burned-in-checked",)])
    def test_a_volume_that_cannot_be_exported(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
    ) -> None:
        slices = phantoms.ct_series()
        for one in slices:
            one.Modality = "PT"
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        phantoms.write(slices, tmp_path / "in")
        assert run(tmp_path / "in", tmp_path / "out", *RANGE, *more) == 2
        said = capsys.readouterr().err
        assert f"series {phantoms.ROOT}.1.1 is a volume" in said and "only CT and MR" in said
        assert not (tmp_path / "out" / "generated").exists()

    @pytest.mark.parametrize("pairs", ["out", "out/pairs", "."])
    def test_pairs_among_the_output(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], pairs: str) -> None:
        (tmp_path / "in").mkdir()
        assert run(tmp_path / "in", tmp_path / "out", "--pairs", str(tmp_path / pairs)) == 2
        places = [f"--{name}={tmp_path / name}" for name in ("imported", "generated", "input")]
        command = ["dicom", "export", *places, f"--output={tmp_path / 'out'}", f"--pairs={tmp_path / pairs}"]
        assert main(command) == 2
        assert capsys.readouterr().err.count("give --pairs a folder of its own") == 2
        assert not (tmp_path / "out").exists()

    def test_synthetic_on_synthetic(self, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(made / "out" / "dicom", tmp_path / "out") == 2
        assert "synthetic" in capsys.readouterr().err and not (tmp_path / "out" / "dicom").exists()

    def test_sources_that_changed(self, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        frames(tmp_path / "in", count=1)
        places = ["--imported", str(made / "out" / "imported"), "--generated", str(made / "out" / "generated")]
        command = ["dicom", "export", "--input", str(tmp_path / "in"), *places, "--output", str(tmp_path / "dicom")]
        assert main([*command, "--site-secret", str(tmp_path / "secret")]) == 1
        assert "import it again" in capsys.readouterr().err
