"""The command line: arguments, notes, dry runs, exit codes and how quickly it answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_diffaug.cli import build_parser, main
from tests.runs import (
    BUNDLE,
    bundle_copy,
    contents,
    generate,
    lesion,
    manifest,
    pixels,
    same,
    write_frames,
    write_picture,
    write_volume,
)

COMMANDS = ([], ["generate"], ["replay"], ["gallery"], ["train"])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("images") / "in", "a.png", "b.png", "c.png")


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_help_names_every_option(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "not for diagnosis" in " ".join(text.split())
    expected = {
        (): "generate replay gallery train",
        ("generate",): "--bundle --images --labels --regions --output --num --ratio --per-image --seed --preset "
        "--abnormality --prompts --on-existing --batch-size --device --audit --resume --dry-run",
        ("replay",): "OUT/manifest.jsonl --id --output --images --bundle --device",
        ("gallery",): "OUT",
        ("train",): "autoencoder inpainter validator --bundle --data --output --resume --max-steps --batch-size "
        "--workers --device --features",
    }[tuple(command)]
    assert [word for word in expected.split() if word not in text] == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["generate"],
        ["generate", "--bundle", "x", "--images", "x", "--output", "x"],
        ["generate", "--bundle", "x", "--images", "x", "--output", "x", "--num", "1", "--ratio", "1"],
        ["generate", "--bundle", "x", "--images", "x", "--output", "x", "--num", "many"],
        ["generate", "--bundle", "x", "--images", "x", "--output", "x", "--num", "1.5"],
        ["generate", "--bundle", "x", "--images", "x", "--output", "x", "--num", "1", "--on-existing", "over"],
        ["generate", "--bundle", "x", "--images", "x", "--output", "x", "--num", "1", "--colour", "red"],
        ["replay", "manifest.jsonl"],
        ["gallery"],
        ["train", "--bundle", "x", "--data", "x"],
        ["train", "gate", "--bundle", "x", "--data", "x"],
        ["train", "validator", "--bundle", "x", "--data", "x", "--max-steps", "many"],
    ],
    ids=" ".join,
)
def test_what_argparse_refuses_is_exit_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: monai-diffaug" in capsys.readouterr().err


def test_defaults() -> None:
    args = build_parser().parse_args(["generate", "--bundle", "b", "--images", "i", "--output", "o", "--num", "1"])
    assert (args.seed, args.preset, args.prompts, args.on_existing) == (0, "fast", "standard", "beside")
    assert (args.batch_size, args.device, args.audit, args.resume, args.dry_run) == (1, "auto", False, False, False)


class TestDryRun:
    def test_writes_nothing_and_says_what_would_be_made(
        self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = contents(images)
        assert generate(images, tmp_path / "out", "--num", "7", "--dry-run") == 0
        said = capsys.readouterr().out
        assert "3 usable images, 7 samples would be made, nothing was written" in said
        assert "a__k00 from a.png, seed " in said
        assert list(tmp_path.iterdir()) == [] and same(contents(images), before)

    def test_tells_the_seeds_of_the_run(self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate(images, tmp_path / "out", "--num", "2", "--seed", "9", "--dry-run") == 0
        said = capsys.readouterr().out
        assert generate(images, tmp_path / "out", "--num", "2", "--seed", "9") == 0
        assert all(
            f"{line['id']} from {line['source']}, seed {line['seed']}" in said for line in manifest(tmp_path / "out")
        )

    def test_lists_bad_inputs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_frames(tmp_path / "in", "a.png")
        (tmp_path / "in" / "b.png").write_bytes(b"")
        assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", "--dry-run") == 1
        assert "bad input: image in/b.png: it is empty" in capsys.readouterr().out
        assert not (tmp_path / "out").exists()

    def test_refuses_what_the_run_would(self, images: Path, tmp_path: Path) -> None:
        assert generate(images, tmp_path / "out", "--num", "7", "--per-image", "2", "--dry-run") == 2


class TestPrompts:
    @pytest.mark.parametrize(
        ("bank", "commas", "words"),
        [("minimal", 0, {"polyp"}), ("standard", 2, {"smooth", "rough"}), ("extended", 3, {"smooth", "rough"})],
    )
    def test_banks(self, images: Path, tmp_path: Path, bank: str, commas: int, words: set[str]) -> None:
        assert generate(images, tmp_path / "out", "--num", "3", "--prompts", bank) == 0
        for line in manifest(tmp_path / "out"):
            assert line["prompt"].count(",") == commas
            assert words & set(line["prompt"].replace(",", "").split())
        assert json.loads((tmp_path / "out" / "run.json").read_text())["prompts"] == bank

    @pytest.mark.parametrize("size", ["small", "large"])
    def test_own_text_is_used_and_its_size_obeyed(self, images: Path, tmp_path: Path, size: str) -> None:
        assert generate(images, tmp_path / "out", "--num", "3", "--prompts", f"{size} redder polyp") == 0
        for line in manifest(tmp_path / "out"):
            assert line["prompt"] == f"{size} redder polyp"
            extent = line["abnormalities"][0]["extent"] / 96
            assert extent <= 0.12 if size == "small" else extent > 0.25
        assert json.loads((tmp_path / "out" / "run.json").read_text())["order"]["prompt"] == f"{size} redder polyp"

    @pytest.mark.parametrize("action", ["error", "ignore", "default"])
    def test_unknown_words_are_noted_once(
        self, images: Path, tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Whatever Python's own warning filters are; and they are left as they were."""
        with warnings.catch_warnings():
            warnings.simplefilter(action)  # type: ignore[arg-type]
            shown, filters = warnings.showwarning, list(warnings.filters)
            assert generate(images, tmp_path / "out", "--num", "3", "--prompts", "a gleaming rough polyp") == 0
            assert warnings.showwarning is shown and warnings.filters == filters
        notes = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
        assert len(notes) == 1 and "unknown words without effect: gleaming" in notes[0]

    def test_known_words_give_no_note(self, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert generate(images, tmp_path / "out", "--num", "1", "--prompts", "A rough polyp") == 0
        assert "note: " not in capsys.readouterr().err


class TestAbnormality:
    def test_the_named_one_is_painted(self, images: Path, tmp_path: Path) -> None:
        target = "monai_diffaug.synthesis.Abnormality"
        two = [{"_target_": target, "name": name, "value": n} for n, name in enumerate(("polyp", "ulcer"), start=1)]
        bundle = bundle_copy(tmp_path / "bundle", abnormalities=two)
        arguments = ("--num", "3", "--abnormality", "ulcer")
        assert generate(images, tmp_path / "out", *arguments, bundle=bundle) == 0
        for line in manifest(tmp_path / "out"):
            assert [(one["class"], one["value"]) for one in line["abnormalities"]] == [("ulcer", 2)]
            assert "ulcer" in line["prompt"]
            assert set(np.unique(pixels(tmp_path / "out" / line["label"]))) == {0, 2}


class TestExisting:
    @pytest.fixture
    def labels(self, images: Path, tmp_path: Path) -> Path:
        for name, label in (("a", lesion()), ("b", 0 * lesion()), ("c", 0 * lesion())):
            write_picture(tmp_path / "labels" / f"{name}.png", label)
        return tmp_path / "labels"

    @pytest.mark.parametrize(("choice", "sources"), [("beside", "abc"), ("skip", "bc")])
    def test_beside_or_skip(
        self, images: Path, tmp_path: Path, labels: Path, choice: str, sources: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        more = ("--labels", str(labels), "--ratio", "1", "--on-existing", choice)
        assert generate(images, tmp_path / "out", *more) == 0
        assert [line["source"] for line in manifest(tmp_path / "out")] == [f"{name}.png" for name in sources]
        noted = "note: has a lesion already, left out as asked: a.png" in capsys.readouterr().out
        assert noted is (choice == "skip")


class TestVariant:
    def test_is_chosen_by_the_images(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "in" / "v.nii")
        assert generate(tmp_path / "in", tmp_path / "out", "--num", "1") == 0
        run = json.loads((tmp_path / "out" / "run.json").read_text())
        assert (run["variant"], run["intensity_range"]) == ("volume", [0, 1000])
        assert manifest(tmp_path / "out")[0]["abnormalities"][0]["class"] == "lesion"

    def test_may_be_given(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_frames(tmp_path / "in", "a.png")
        assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", "--variant", "volume") == 1
        assert "but this bundle takes 3D images" in capsys.readouterr().out

    def test_mixed_folders_list_the_other_kind(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        write_frames(tmp_path / "in", "a.png")
        write_volume(tmp_path / "in" / "v.nii.gz")
        assert generate(tmp_path / "in", tmp_path / "out", "--num", "1") == 1
        assert "bad input: image in/v.nii.gz: image has shape (1, 44, 48, 40) but this bundle takes 2D" in (
            capsys.readouterr().out
        )
        assert [line["source"] for line in manifest(tmp_path / "out")] == ["a.png"]


def test_preset_paper_lets_the_overlap_alone_decide(images: Path, tmp_path: Path) -> None:
    assert generate(images, tmp_path / "out", "--num", "1", "--preset", "paper") == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["preset"] == "paper" and run["thresholds"]["iou_alone"] is True


def test_a_bundle_folder_is_as_good_as_a_name(images: Path, tmp_path: Path) -> None:
    assert generate(images, tmp_path / "name", "--num", "1") == 0
    assert generate(images, tmp_path / "folder", "--num", "1", bundle=BUNDLE) == 0
    assert same(contents(tmp_path / "name"), contents(tmp_path / "folder"))


def test_opaque_alpha_is_dropped_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rgb = write_frames(tmp_path / "in", "a.png") / "a.png"
    write_picture(rgb, np.concatenate([pixels(rgb), np.full((96, 112, 1), 255, np.uint8)], -1))
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1") == 0
    assert "note: fully opaque alpha channel dropped: a.png" in capsys.readouterr().out
    assert pixels(tmp_path / "out" / "images" / "a__k00.png").shape == (96, 112, 3)
    notes = json.loads((tmp_path / "out" / "run.json").read_text())["notes"]
    assert notes == [["a.png", "fully opaque alpha channel dropped"]]


def raising(error: BaseException) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


class TestStops:
    @pytest.mark.parametrize(
        ("error", "code", "sentence"),
        [
            (KeyboardInterrupt(), 130, "stopped"),
            (RuntimeError("CUDA out of memory.\nSee the manual"), 1, "monai-diffaug generate: CUDA out of memory."),
            (
                ImportError("diffusers is missing; install monai_diffaug[sdxl]"),
                1,
                "monai-diffaug generate: diffusers is",
            ),
            (
                ModuleNotFoundError("No module named 'pynetdicom'", name="pynetdicom"),
                1,
                "monai-diffaug generate: pynetdicom is not installed; run: pip install 'monai_diffaug[pacs]'",
            ),
        ],
        ids=["Ctrl-C", "memory", "extra", "package"],
    )
    def test_generate_says_how_to_go_on(
        self,
        images: Path,
        tmp_path: Path,
        error: BaseException,
        code: int,
        sentence: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("monai_diffaug.generation.offline.OfflineGenerator.__call__", raising(error))
        assert generate(images, tmp_path / "out", "--num", "1") == code
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1 and said[0].startswith(sentence) and said[0].endswith("--resume goes on")

    @pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("no memory"), 1)])
    def test_the_others_cannot_go_on(
        self, tmp_path: Path, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys
    ) -> None:
        monkeypatch.setattr("monai_diffaug.generation.gallery.write_gallery", raising(error))
        assert main(["gallery", str(tmp_path)]) == code
        assert "resume" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recorded", "given", "device"),
    [
        ("cpu", [], "cpu"),
        ("NVIDIA H200", [], "cuda"),
        ("NVIDIA H200", ["--device", "cpu"], "cpu"),
        ("cpu", ["--device", "auto"], "auto"),
    ],
)
def test_replay_runs_where_the_run_did(
    images: Path, tmp_path: Path, recorded: str, given: list[str], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate(images, tmp_path / "out", "--num", "1") == 0
    path = tmp_path / "out" / "run.json"
    path.write_text(path.read_text().replace('"device": "cpu"', f'"device": "{recorded}"'))
    asked: list[str] = []

    def load(*_: object, **options: Any) -> None:
        asked.append(options["device"])
        raise ValueError("far enough")

    monkeypatch.setattr("monai_diffaug.bundle.load_synthesizer", load)
    assert main(["replay", str(tmp_path / "out" / "manifest.jsonl"), "--output", str(tmp_path / "x"), *given]) == 2
    assert asked == [device]


def test_weights_are_digested_once(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_diffaug import bundle

    opened: list[Any] = []
    real = bundle.open_bundle
    monkeypatch.setattr(bundle, "open_bundle", lambda name: opened.append(name) or real(name))
    assert generate(images, tmp_path / "out", "--num", "1") == 0
    assert opened == ["texture_demo"]


def test_gallery_is_written_again(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(images, tmp_path / "out", "--num", "2") == 0
    page = tmp_path / "out" / "gallery.html"
    before = page.read_bytes()
    page.unlink()
    capsys.readouterr()
    assert main(["gallery", str(tmp_path / "out")]) == 0
    assert page.read_bytes() == before
    assert capsys.readouterr().out.strip() == f"wrote {page}"


def test_the_end_is_told(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(images, tmp_path / "out", "--num", "2") == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 of 2 samples accepted")
    assert f"wrote {tmp_path / 'out' / 'gallery.html'}" in said.out and "not for diagnosis" in said.out
    assert "synthesizing" in said.err and "100 % accepted" in said.err


@pytest.mark.parametrize("code", ["import monai_diffaug", "from monai_diffaug.cli import main; main(['--help'])"])
def test_neither_import_nor_help_wakes_torch(code: str) -> None:
    ask = "; import sys; print([name for name in ('torch', 'monai', 'numpy', 'PIL') if name in sys.modules])"
    code = f"try:\n {code}\nexcept SystemExit:\n pass\n{ask[2:]}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [
        *((["-m", "monai_diffaug", *command, "--help"], 1.0) for command in COMMANDS),
        (["-c", "import monai_diffaug"], 2.0),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_answers_quickly(arguments: list[str], seconds: float) -> None:
    def once() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(once() for _ in range(3)) < seconds
