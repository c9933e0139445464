"""Several processes give the same bytes as one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from monai_diffaug import load_synthesizer
from monai_diffaug.bundle import describe, open_bundle
from monai_diffaug.generation import manifest as manifest_module
from monai_diffaug.generation import offline
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.generation.offline import OfflineGenerator
from monai_diffaug.generation.order import Order
from monai_diffaug.generation.shards import Shard, joined
from tests.runs import contents, generate, manifest, same, stopping_append, write_frames

NUM = 7


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_frames(tmp_path_factory.mktemp("images") / "in", "a.png", "b.png", "c.png")


@pytest.fixture(scope="module")
def alone(images: Path) -> dict[str, bytes]:
    """What one process writes."""
    assert generate(images, images.parent / "alone", "--num", str(NUM)) == 0
    return contents(images.parent / "alone")


@pytest.fixture
def output(images: Path, tmp_path: Path) -> Path:
    return images.parent / tmp_path.name


class Together(Shard):
    """A shard among threads, which wait for each other as processes do."""

    barrier = threading.Barrier(1)

    def wait(self) -> None:
        self.barrier.wait(30)


def run_together(images: Path, output: Path, world_size: int, monkeypatch: pytest.MonkeyPatch, *, resume: bool) -> None:
    """Run as many generators as ranks, each in a thread and with a synthesizer of its own."""
    Together.barrier = threading.Barrier(world_size)

    @contextmanager
    def by_thread() -> Iterator[Shard]:
        yield Together(int(threading.current_thread().name), world_size)

    monkeypatch.setattr(offline, "joined", by_thread)
    about = describe(open_bundle("texture_demo"), preset="fast", variant=None, prompts="standard")
    found, accepted = find_cases(images), []

    def work(generator: OfflineGenerator) -> None:
        accepted.append(generator(found, output).accepted)

    threads = []
    for rank in range(world_size):
        synthesizer = load_synthesizer("texture_demo")
        generator = OfflineGenerator(synthesizer, Order(num=NUM), about, resume=resume, progress=False)
        threads.append(threading.Thread(target=work, args=(generator,), name=str(rank), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accepted == [NUM] * world_size


@pytest.mark.parametrize("world_size", [2, 3, 9])
def test_ranks_give_the_bytes_of_one(
    images: Path, output: Path, alone: dict[str, bytes], world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where some ranks have nothing to do."""
    run_together(images, output, world_size, monkeypatch, resume=False)
    assert same(contents(output), alone)


def test_two_ranks_go_on_with_what_one_began(
    images: Path, output: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopping_append(patch, 3)
        assert generate(images, output, "--num", str(NUM)) == 130
    run_together(images, output, 2, monkeypatch, resume=True)
    assert same(contents(output), alone)


def test_one_goes_on_with_what_three_ranks_began(images: Path, output: Path, alone: dict[str, bytes]) -> None:
    """Killed in the midst of a line each; one rank had not even begun."""
    assert generate(images, output, "--num", str(NUM)) == 0
    lines = manifest(output)
    for rank, mine in ((0, lines[0::3]), (2, lines[2::3])):
        text = "".join(map(manifest_module.dump, mine[:-1])) + manifest_module.dump(mine[-1])[:30]
        (output / manifest_module.part_name(rank, 3)).write_text(text)
    for name in ("manifest.jsonl", "datalist.json", "gallery.html"):
        (output / name).unlink()
    assert generate(images, output, "--num", str(NUM), "--resume") == 0
    assert same(contents(output), alone)


def test_alone_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as shard:
        shard.wait()
        assert (shard.rank, shard.world_size, shard.first) == (0, 1, True)


def test_ranks_wait_longer_than_any_share_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gloo's own limit of half an hour would end a run whose ranks' shares differ by more."""
    asked: dict[str, timedelta] = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "init_process_group", lambda kind, **how: asked.update(how))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with joined():
        assert asked["timeout"] >= timedelta(days=1)


def test_only_the_first_rank_speaks(
    images: Path, output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert generate(images, output, "--num", "1") == 0
    assert capsys.readouterr().out == ""


def torchrun(cwd: Path, *arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    # Without "--" torchrun takes --num for an abbreviation of its own --numa-binding.
    command += ["-m", "--", "monai_diffaug", "generate", "--bundle", "texture_demo", *arguments]
    here = str(Path(offline.__file__).parents[2])
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": here})


@pytest.mark.slow
def test_two_gloo_processes_give_the_bytes_of_one(images: Path, output: Path, alone: dict[str, bytes]) -> None:
    done = torchrun(images.parent, "--images", "in", "--output", output.name, "--num", str(NUM))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count(f"{NUM} of {NUM} samples accepted") == 1
    assert same(contents(output), alone)


@pytest.mark.slow
def test_two_gloo_processes_go_on_with_what_one_began(
    images: Path, output: Path, alone: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopping_append(patch, 2)
        assert generate(images, output, "--num", str(NUM)) == 130
    done = torchrun(images.parent, "--images", "in", "--output", output.name, "--num", str(NUM), "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    assert same(contents(output), alone)


@pytest.mark.slow
def test_a_refusal_stops_every_process_without_traceback(images: Path, output: Path) -> None:
    output.mkdir()
    (output / "thesis.tex").write_text("mine")
    done = torchrun(images.parent, "--images", "in", "--output", output.name, "--num", str(NUM))
    assert done.returncode != 0
    assert "is not empty (thesis.tex ...)" in done.stderr
    assert not re.search('File ".*monai_diffaug', done.stderr), done.stderr  # torchrun has tracebacks of its own
    assert list(contents(output)) == ["thesis.tex"]
