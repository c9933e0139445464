"""A bundle run by MONAI: true provenance, one clear sentence at the end, and the command line's exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, run

from monai_diffaug import load_synthesizer
from monai_diffaug.bundle import describe, open_bundle
from monai_diffaug.generation import door
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.generation.offline import OfflineGenerator
from monai_diffaug.generation.order import Order
from tests.runs import BUNDLE, REFUSING, bundle_copy, contents, write_frames


def configs(*names: str, bundle: Path = BUNDLE) -> list[str]:
    return [str(bundle / "configs" / f"{name}.json") for name in names]


def parsed(*names: str) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(configs(*names))
    parser.update({"bundle_root": str(BUNDLE)})
    return parser


@pytest.mark.parametrize(
    ("names", "preset", "variant"),
    [((), "fast", None), (("paper",), "paper", None), (("volume", "paper"), "paper", "volume")],
)
def test_what_is_told_is_what_was_merged(names: tuple[str, ...], preset: str, variant: str | None) -> None:
    about = parsed("common", *names, "inference").get_parsed_content("about")
    assert about == describe(open_bundle(BUNDLE), preset=preset, variant=variant, prompts="standard")


@pytest.mark.parametrize(
    ("names", "override"),
    [
        ((), {"preset": "paper"}),
        ((), {"variant": "volume"}),
        (("paper",), {"preset": "fast"}),
        (("volume",), {"variant": None}),
    ],
)
def test_a_name_without_its_file_is_refused(names: tuple[str, ...], override: dict[str, str]) -> None:
    parser = parsed("common", *names, "inference")
    parser.update(override)
    with pytest.raises(RuntimeError) as caught:
        parser.get_parsed_content("about")
    assert "but the override files merged are " in str(caught.value.__cause__)


@pytest.mark.parametrize("available", [False, True])
def test_device_auto(available: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    parser = parsed("common")
    parser.update({"device": "auto"})
    parser["renderer"]["_target_"] = "builtins.dict"  # no CUDA here to put a renderer on
    assert parser.get_parsed_content("renderer")["device"] == torch.device("cuda" if available else "cpu")


def test_default_output_lies_outside_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = contents(BUNDLE)
    images = write_frames(tmp_path / "in", "a.png")
    run(config_file=configs("common", "inference"), bundle_root=str(BUNDLE), dataset_dir=str(images), num=1)
    assert (tmp_path / "output" / "gallery.html").is_file() and contents(BUNDLE).keys() == before.keys()


def test_too_few_accepted_is_exit_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = bundle_copy(tmp_path / "bundle", **REFUSING)
    given = {"bundle_root": str(bundle), "dataset_dir": str(write_frames(tmp_path / "in", "a.png")), "num": 1}
    with pytest.raises(SystemExit) as caught:
        run(config_file=configs("common", "inference", bundle=bundle), output_dir=str(tmp_path / "out"), **given)
    assert caught.value.code == 3 and "0 of 1 samples accepted" in capsys.readouterr().out


@pytest.mark.parametrize("place", ["in", "in/new"])
def test_output_inside_the_images_is_refused_at_every_door(tmp_path: Path, place: str) -> None:
    found = find_cases(write_frames(tmp_path / "in", "a.png"))
    about = describe(open_bundle("texture_demo"), preset="fast", variant=None, prompts="standard")
    generator = OfflineGenerator(load_synthesizer("texture_demo"), Order(num=1), about, progress=False)
    with pytest.raises(ValueError, match="lies inside the images"):
        generator(found, tmp_path / place)
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.png"]


def test_output_beside_a_datalist_is_fine(tmp_path: Path) -> None:
    write_frames(tmp_path / "in", "a.png")
    (tmp_path / "list.json").write_text('{"training": ["in/a.png"]}')
    assert not find_cases(tmp_path / "list.json").searched


class TestLastWords:
    @pytest.fixture
    def hook(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
        door.end_with_one_sentence()
        return sys.excepthook

    def test_a_wrapped_sentence_comes_alone(self, hook, capsys: pytest.CaptureFixture[str]) -> None:
        parser = parsed("common", "inference")
        parser.update({"dataset_dir": "nowhere"})
        with pytest.raises(RuntimeError) as caught:
            parser.get_parsed_content("run")
        hook(type(caught.value), caught.value, caught.value.__traceback__)
        expected = "monai_diffaug: nowhere does not exist; give a folder of images or a MONAI datalist\n"
        assert capsys.readouterr().err == expected

    @pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("y"), ValueError("of somebody else")])
    def test_faults_keep_their_traceback(self, hook, error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
        hook(type(error), error, None)
        assert "monai_diffaug: " not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--dataset_dir", "nowhere"], "nowhere does not exist"),
        (["--num", "-1"], "num must be positive, got -1"),
        (["--preset", "paper"], "preset 'paper' and variant None are named"),
        (["--output_dir", "full"], "is not empty"),
    ],
)
def test_bad_input_ends_with_its_sentence(tmp_path: Path, more: list[str], sentence: str) -> None:
    write_frames(tmp_path / "full", "a.png")
    names = ",".join(f"'{path}'" for path in configs("common", "inference"))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"[{names}]", "--bundle_root", str(BUNDLE)]
    env = {**os.environ, "PYTHONWARNINGS": "", "PYTHONPATH": str(Path(door.__file__).parents[2])}
    done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 1
    assert sentence in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "output").exists()
