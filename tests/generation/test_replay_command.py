"""`replay` makes recorded samples again, compares decoded pixels and says what differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_diffaug.cli import main
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of every kind below ``in``, and what was made of them in ``out``."""
    root = tmp_path_factory.mktemp("made")
    write_frames(root / "in", "a.png", "b.jpg", "c.png")
    for name, label in (("a", lesion()), ("b", 0 * lesion()), ("c", lesion())):
        write_picture(root / "labels" / f"{name}.png", label)
    more = ("--labels", str(root / "labels"), "--num", "4", "--seed", "2")
    assert generate(root / "in", root / "out", *more) == 0
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def replay(output: Path, destination: Path, *more: str) -> int:
    return main(["replay", str(output / "manifest.jsonl"), "--output", str(destination), *more])


def edit_run(output: Path, **changes: object) -> None:
    run = json.loads((output / "run.json").read_text())
    (output / "run.json").write_text(json.dumps({**run, **changes}))


def test_all_samples_come_back_byte_for_byte(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images, masks and labels, binary ones where the given label was empty too."""
    assert replay(made / "out", tmp_path / "again") == 0
    assert capsys.readouterr().out.strip() == "4 samples replayed, 4 compared, 0 differ"
    kinds = ("images/", "masks/", "labels/")
    made_files = {name: data for name, data in contents(made / "out").items() if name.startswith(kinds)}
    assert same(contents(tmp_path / "again"), made_files)


def test_one_sample(made: Path, tmp_path: Path) -> None:
    assert replay(made / "out", tmp_path / "again", "--id", "b__k00") == 0
    assert set(contents(tmp_path / "again")) == {f"{kind}/b__k00.png" for kind in ("images", "masks", "labels")}


def test_volume(tmp_path: Path) -> None:
    write_volume(tmp_path / "in" / "v.nii.gz")
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", "--batch-size", "2") == 0
    assert replay(tmp_path / "out", tmp_path / "again") == 0
    again = contents(tmp_path / "again")
    assert again == {name: data for name, data in contents(tmp_path / "out").items() if name in again}


def test_scaled_volume_whose_values_reach_the_range(tmp_path: Path) -> None:
    """What is stored is coarser than what was painted: it is compared as stored, and never found out of range."""
    voxels = np.random.default_rng(3).integers(95, 112, (44, 48, 40)).astype(np.uint8)
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.header["scl_slope"], image.header["scl_inter"] = 7.0, -350.0
    (tmp_path / "in").mkdir()
    raw = bytearray(image.to_bytes())
    head = nibabel.Nifti1Header(bytes(raw[:348]))
    head["scl_slope"], head["scl_inter"] = 7.0, -350.0
    (tmp_path / "in" / "v.nii").write_bytes(head.binaryblock + bytes(raw[348:]))
    more = ("--num", "3", "--prompts", "brighter lesion", "--intensity-range", "311", "432")
    assert generate(tmp_path / "in", tmp_path / "out", *more) in (0, 3)
    assert any(line["accepted"] for line in manifest(tmp_path / "out"))
    assert replay(tmp_path / "out", tmp_path / "again") == 0
    for path in (tmp_path / "again" / "images").iterdir():
        values = np.asarray(nibabel.load(path).dataobj)
        assert values.min() >= 311 and values.max() <= 432


def test_refused_ones_are_left_out_and_retries_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recorded attempt is rendered, whichever it was, and never judged again."""
    windows = {"_target_": "monai_diffaug.synthesis.WindowSampler", "sizes": [64]}
    bundle = bundle_copy(tmp_path / "bundle", gate={**REFUSING["gate"], "iou": 0.82}, windows=windows)
    images = write_frames(tmp_path / "in", "a.png", "b.png", "c.png")
    generate(images, tmp_path / "out", "--num", "9", bundle=bundle)
    accepted = [line for line in manifest(tmp_path / "out") if line["accepted"]]
    assert 0 < len(accepted) < 9 and max(len(line["attempts"]) for line in accepted) > 1
    (bundle / "configs" / "common.json").write_text(
        (bundle / "configs" / "common.json").read_text().replace('"iou": 0.82', '"iou": 0.9999')
    )
    assert replay(tmp_path / "out", tmp_path / "again", "--bundle", str(bundle)) == 0
    assert f"{len(accepted)} samples replayed, {len(accepted)} compared, 0 differ" in capsys.readouterr().out


class TestDifferent:
    def test_a_flipped_pixel_is_found(self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        image = pixels(root / "out" / "images" / "b__k00.png").copy()
        image[5, 7, 1] += 9
        write_picture(root / "out" / "images" / "b__k00.png", image)
        assert replay(root / "out", tmp_path / "again") == 4
        said = capsys.readouterr().out
        assert "4 samples replayed, 4 compared, 1 differ" in said
        assert "largest difference: 9 in b__k00" in said
        assert "nothing in the recorded environment differs" in said

    def test_what_differs_in_the_environment_is_named(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = json.loads((root / "out" / "run.json").read_text())
        then = {"environment": {**run["environment"], "threads": 99}, "versions": {**run["versions"], "torch": "1.0"}}
        edit_run(root / "out", **then)
        write_picture(root / "out" / "images" / "a__k00.png", frame(5))
        assert replay(root / "out", tmp_path / "again", "--id", "a__k00") == 4
        said = capsys.readouterr().out.splitlines()
        assert sum(line.startswith("  ") for line in said) == 2
        assert any(line.startswith("  threads: recorded 99, here ") for line in said)
        assert any(line.startswith("  torch: recorded 1.0, here ") for line in said)

    def test_another_environment_alone_is_no_difference(self, root: Path, tmp_path: Path) -> None:
        edit_run(root / "out", versions={"torch": "1.0"})
        assert replay(root / "out", tmp_path / "again") == 0

    def test_without_the_image_nothing_is_compared(
        self, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        expected = (root / "out" / "images" / "a__k00.png").read_bytes()
        (root / "out" / "images" / "a__k00.png").unlink()
        assert replay(root / "out", tmp_path / "again", "--id", "a__k00") == 0
        assert "1 samples replayed, 0 compared, 0 differ" in capsys.readouterr().out
        assert (tmp_path / "again" / "images" / "a__k00.png").read_bytes() == expected


class TestMoved:
    def test_folders_may_move_together(self, root: Path, tmp_path: Path) -> None:
        root.rename(tmp_path / "elsewhere")
        assert replay(tmp_path / "elsewhere" / "out", tmp_path / "again") == 0

    def test_images_and_bundle_may_lie_elsewhere(self, root: Path, tmp_path: Path) -> None:
        (root / "in").rename(tmp_path / "images")
        edit_run(root / "out", bundle="gone", bundle_root="../gone")
        more = ("--images", str(tmp_path / "images"), "--bundle", str(bundle_copy(tmp_path / "copy")))
        assert replay(root / "out", tmp_path / "again", *more) == 0

    def test_a_shipped_bundle_is_found_by_name(self, root: Path, tmp_path: Path) -> None:
        edit_run(root / "out", bundle_root="../gone")
        assert replay(root / "out", tmp_path / "again") == 0


class TestTrust:
    """A bundle's configs execute code: what only a run's files name is not opened."""

    @pytest.fixture
    def evil(self, tmp_path: Path) -> Path:
        return bundle_copy(tmp_path / "texture_demo", batch_size=f"$open({str(tmp_path / 'executed')!r}, 'w') and 1")

    @pytest.mark.parametrize("name", ["texture_demo", "mine"])
    def test_a_recorded_folder_is_not_opened(
        self, root: Path, tmp_path: Path, evil: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit_run(root / "out", bundle=name, bundle_root="../../texture_demo")
        assert replay(root / "out", tmp_path / "again") == 2
        assert f"was made with the bundle at {evil}; give --bundle {evil} if you trust it" in capsys.readouterr().err
        assert not (tmp_path / "executed").exists() and not (tmp_path / "again").exists()

    @pytest.mark.parametrize("name", ["../../texture_demo", "gone"])
    def test_nor_is_a_name_that_is_not_shipped(
        self, root: Path, tmp_path: Path, evil: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        edit_run(root / "out", bundle=name, bundle_root="../nowhere")
        assert replay(root / "out", tmp_path / "again") == 2
        assert "if you trust it" in capsys.readouterr().err and not (tmp_path / "executed").exists()

    def test_no_file_is_written_outside_the_output(self, root: Path, tmp_path: Path) -> None:
        path = root / "out" / "manifest.jsonl"
        path.write_text(path.read_text().replace('"images/a__k00.png"', '"../escaped.png"'))
        assert replay(root / "out", tmp_path / "again") == 2
        assert not (tmp_path / "escaped.png").exists() and not (tmp_path / "again").exists()


def spoil_nothing(root: Path) -> None:
    pass


def break_line(root: Path) -> None:
    path = root / "out" / "manifest.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:99] + "\n" + "".join(lines[2:]))


def drop_window(root: Path) -> None:
    path = root / "out" / "manifest.jsonl"
    path.write_text(path.read_text().replace('"window"', '"windou"'))


def refuse_one(root: Path) -> None:
    path = root / "out" / "manifest.jsonl"
    path.write_text(path.read_text().replace('"accepted": true', '"accepted": false'))


def shrink_image(root: Path) -> None:
    write_picture(root / "out" / "images" / "a__k00.png", frame()[:90])


def empty_mask(root: Path) -> None:
    write_picture(root / "out" / "masks" / "a__k00.png", np.zeros((96, 112), np.uint8))


BAD = [
    ("no manifest", lambda root: (root / "out" / "manifest.jsonl").unlink(), [], 2, "manifest.jsonl is missing; give"),
    ("broken line", break_line, [], 2, "manifest.jsonl, line 2 is no valid JSON"),
    ("no line", lambda root: (root / "out" / "manifest.jsonl").write_text(""), [], 2, "holds no accepted sample"),
    ("incomplete line", drop_window, ["--id", "a__k00"], 1, "a__k00: its line in the manifest is broken"),
    ("refused id", refuse_one, ["--id", "a__k00"], 2, "sample a__k00 was refused, so there is nothing to replay"),
    ("unknown id", spoil_nothing, ["--id", "zz"], 2, "no sample 'zz'; its first ids are a__k00, a__k01, b__k00"),
    ("no run.json", lambda root: (root / "out" / "run.json").unlink(), [], 2, "run.json is missing; give a folder"),
    ("broken run.json", lambda root: (root / "out" / "run.json").write_text("{"), [], 2, "run.json is no valid JSON"),
    ("missing source", lambda root: (root / "in" / "a.png").unlink(), [], 1, "is missing; give the image root"),
    ("changed source", lambda root: write_picture(root / "in" / "a.png", frame(8)), [], 1, "is not the recorded file"),
    ("other root", spoil_nothing, ["--images", "nowhere"], 1, "source nowhere/a.png is missing"),
    (
        "missing mask",
        lambda root: (root / "out" / "masks" / "a__k00.png").unlink(),
        [],
        1,
        "masks/a__k00.png: it cannot",
    ),
    ("empty mask", empty_mask, ["--id", "a__k00"], 1, "mask"),
    ("other image", shrink_image, ["--id", "a__k00"], 1, "has shape (3, 90, 112), not its source's (3, 96, 112)"),
    ("unknown bundle", spoil_nothing, ["--bundle", "polyps"], 2, "bundle 'polyps' is unknown"),
    ("no cuda", spoil_nothing, ["--device", "cuda"], 2, "no CUDA device is available"),
]


@pytest.mark.parametrize(("what", "spoil", "more", "code", "message"), BAD, ids=[one[0] for one in BAD])
def test_bad_inputs(
    root: Path,
    tmp_path: Path,
    what: str,
    spoil,
    more: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    spoil(root)
    before = contents(root)
    assert replay(root / "out", tmp_path / "again", *more) == code
    said = capsys.readouterr()
    sentences = [line for line in said.err.splitlines() if line]
    assert len(sentences) == (2 if what in ("missing source", "changed source") else 4 if what == "other root" else 1)
    assert message in sentences[0] and "Traceback" not in said.out + said.err
    assert same(contents(root), before)
    if code == 2:
        assert not (tmp_path / "again").exists()


def test_a_bad_source_does_not_stop_the_others(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "in" / "a.png").unlink()
    assert replay(root / "out", tmp_path / "again") == 1
    assert "2 samples replayed, 2 compared, 0 differ" in capsys.readouterr().out
    assert len(list((tmp_path / "again" / "images").iterdir())) == 2


def test_other_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_copy(tmp_path / "bundle")
    (bundle / "models").mkdir()
    (bundle / "models" / "model.pt").write_bytes(b"weights of the first training")
    write_frames(tmp_path / "in", "a.png")
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", bundle=bundle) == 0
    digest = manifest(tmp_path / "out")[0]["weights"]["model.pt"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["weights"] == {"model.pt": digest}
    assert replay(tmp_path / "out", tmp_path / "again", "--bundle", str(bundle)) == 0
    (bundle / "models" / "model.pt").write_bytes(b"weights of the second training")
    assert replay(tmp_path / "out", tmp_path / "third", "--bundle", str(bundle)) == 2
    said = capsys.readouterr().err
    assert "weights are not the recorded ones" in said and digest in said
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("there", ["a folder with something in it", "a file"])
def test_the_destination_must_be_new(
    made: Path, tmp_path: Path, there: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "again"
    if there == "a file":
        target.write_text("mine")
    else:
        (target / "mine").mkdir(parents=True)
    assert replay(made / "out", target) == 2
    assert "is not an empty folder; give a new one" in capsys.readouterr().err
