"""An interrupted run goes on to the same bytes; a run that is not the same is refused."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_diffaug.cli import main
from monai_diffaug.generation import manifest as manifest_module
from monai_diffaug.generation import offline
from tests.runs import (
    REFUSING,
    bundle_copy,
    contents,
    frame,
    generate,
    lesion,
    manifest,
    same,
    stopping_append,
    write_frames,
    write_picture,
)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("images") / "in", "a.png", "b.png", "c.png")


@pytest.fixture(scope="module")
def undisturbed(images: Path) -> dict[str, bytes]:
    """What a run of seven samples writes."""
    assert generate(images, images.parent / "undisturbed", "--num", "7") == 0
    return contents(images.parent / "undisturbed")


@pytest.fixture
def output(images: Path, tmp_path: Path) -> Path:
    """A new output folder beside the undisturbed one, since paths to the images are part of the bytes."""
    return images.parent / tmp_path.name


@pytest.mark.parametrize("after", [0, 1, 4, 6])
def test_resume_gives_the_same_bytes(
    images: Path, output: Path, undisturbed: dict[str, bytes], after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopping_append(patch, after)
        assert generate(images, output, "--num", "7") == 130
    assert not (output / "datalist.json").exists()
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)


@pytest.mark.parametrize("kind", ["images", "masks", "labels", "predictions"])
def test_a_lost_file_is_made_again(images: Path, output: Path, undisturbed: dict[str, bytes], kind: str) -> None:
    assert generate(images, output, "--num", "7") == 0
    (output / kind / "b__k01.png").unlink()
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)


def test_a_moved_output_goes_on(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stopping_append(patch, 2)
        assert generate(images, tmp_path / "out", "--num", "3") == 130
    (tmp_path / "deep" / "down").mkdir(parents=True)
    moved = (tmp_path / "out").rename(tmp_path / "deep" / "down" / "out")
    assert generate(images, moved, "--num", "3", "--resume") == 0
    assert main(["replay", str(moved / "manifest.jsonl"), "--output", str(tmp_path / "again")]) == 0


def test_other_threads_are_refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(images, tmp_path / "out", "--num", "1") == 0
    path = tmp_path / "out" / "run.json"
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 64'))
    assert generate(images, tmp_path / "out", "--num", "1", "--resume") == 2
    assert "threads was 64, now 1; resume under the same ones (threads: OMP_NUM_THREADS=64)" in capsys.readouterr().err


def test_resume_on_a_new_folder_just_starts(images: Path, output: Path, undisturbed: dict[str, bytes]) -> None:
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)


def test_resume_of_a_finished_run_makes_nothing(
    images: Path, output: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate(images, output, "--num", "7") == 0
    times = {path: path.stat().st_mtime_ns for path in (output / "images").iterdir()}
    monkeypatch.setattr(manifest_module, "append", lambda *_: pytest.fail("a sample was made again"))
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)
    assert times == {path: path.stat().st_mtime_ns for path in (output / "images").iterdir()}


def test_a_half_written_line_and_left_over_parts_go(images: Path, output: Path, undisturbed: dict[str, bytes]) -> None:
    """The state of a folder after a kill in the midst of a line, of an image and of the page."""
    assert generate(images, output, "--num", "7") == 0
    lines = (output / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (output / "manifest.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:50])
    for name in ("datalist.json", "gallery.html", "images/b__k01.png"):
        (output / name).unlink()
    for name in ("images/.b__k01.png.part", ".gallery.html.77.part", ".manifest.jsonl.part"):
        (output / name).write_bytes(b"half")
    (output / "masks" / "b__k01.png").write_bytes(b"of a version that never was committed")
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)


@pytest.mark.parametrize("step", ["finish", "datalist", "write_gallery"])
def test_a_stop_at_the_very_end(
    images: Path, output: Path, undisturbed: dict[str, bytes], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(offline if step == "write_gallery" else manifest_module, step, stop)
        assert generate(images, output, "--num", "7") == 130
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)


def test_batches_look_ahead_to_the_same_bytes(
    images: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of four, with retries in company: chunks begin elsewhere after a resume, samples do not change."""
    windows = {"_target_": "monai_diffaug.synthesis.WindowSampler", "sizes": [64]}
    bundle = bundle_copy(output / "bundle", gate={**REFUSING["gate"], "iou": 0.82}, windows=windows)
    arguments = ("--num", "12", "--batch-size", "4", "--audit")
    code = generate(images, output / "whole", *arguments, bundle=bundle)
    with monkeypatch.context() as patch:
        stopping_append(patch, 5)
        assert generate(images, output / "broken", *arguments, bundle=bundle) == 130
    assert generate(images, output / "broken", *arguments, "--resume", bundle=bundle) == code
    assert same(contents(output / "whole"), contents(output / "broken"))
    assert len({len(line["attempts"]) for line in manifest(output / "whole")}) > 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--seed", "1"], "order"),
        (["--num", "8"], "order"),
        (["--prompts", "minimal"], "prompts"),
        (["--prompts", "red polyp"], "order"),
        (["--preset", "paper"], "preset"),
        (["--batch-size", "2"], "batch_size"),
        (["--audit"], "audit"),
        (["--labels", "LABELS"], "inputs_sha256"),
    ],
)
def test_another_run_is_refused(
    images: Path, tmp_path: Path, change: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(images, tmp_path / "out", "--num", "1") == 0
    for name in ("a", "b", "c"):
        write_picture(tmp_path / "labels" / f"{name}.png", lesion())
    before = contents(tmp_path / "out")
    change = [str(tmp_path / "labels") if one == "LABELS" else one for one in change]
    assert (
        generate(images, tmp_path / "out", *(["--num", "1"] if "--num" not in change else []), *change, "--resume") == 2
    )
    assert "was made by another run: " in (said := capsys.readouterr().err) and named in said
    assert same(contents(tmp_path / "out"), before)


def test_changed_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "in", "a.png", "b.png")
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1") == 0
    write_picture(tmp_path / "in" / "b.png", frame(9))
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", "--resume") == 2
    assert "another run: inputs_sha256 differ" in capsys.readouterr().err


@pytest.mark.parametrize("fails", ["fsync", "replace"])
@pytest.mark.parametrize("after", [0, 2, 9, 25])
def test_a_full_disk_stops_the_run_and_resume_goes_on(
    images: Path,
    output: Path,
    undisturbed: dict[str, bytes],
    fails: str,
    after: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, fails, _full_after(after, getattr(os, fails)))
        assert generate(images, output, "--num", "7") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("monai-diffaug generate: No space left on device") and "--resume goes on" in said
    there = contents(output) if output.exists() else {}
    assert not [name for name in there if name.endswith(".part")]
    assert there.get("manifest.jsonl", b"\n").endswith(b"\n") or not there["manifest.jsonl"]
    assert generate(images, output, "--num", "7", "--resume") == 0
    assert same(contents(output), undisturbed)


def _full_after(count: int, works: Callable[..., None]) -> Callable[..., None]:
    """Return a call that works that many times, then finds the disk full."""
    left = [count]

    def call(*arguments: object, **more: object) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        works(*arguments, **more)

    return call


@pytest.mark.slow
def test_kill_nine_at_ten_random_moments(tmp_path: Path) -> None:
    """The whole folder is byte-identical to an undisturbed run's, whenever the kills fell."""
    rng = np.random.default_rng()
    images = write_frames(tmp_path / "in", *(f"{n}.png" for n in range(8)))
    arguments = ("--num", "40", "--labels", str(tmp_path / "labels"))
    for number in range(8):
        write_picture(tmp_path / "labels" / f"{number}.png", lesion() * (number % 2))
    assert generate(images, tmp_path / "undisturbed", *arguments) == 0
    command = [sys.executable, "-m", "monai_diffaug", "generate", "--bundle", "texture_demo", "--images", str(images)]
    command += ["--output", str(tmp_path / "out"), "--resume", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}  # part of what run.json records
    killed, moments = 0, rng.uniform(0, 0.9, 10)
    for moment in moments:
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment) as process:
            assert process.stderr is not None
            process.stderr.read(1)  # the progress bar: from here on there is something to disturb
            time.sleep(moment)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert killed, moments
    assert same(contents(tmp_path / "out"), contents(tmp_path / "undisturbed"))
