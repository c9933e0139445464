"""``monai-diffaug train`` on a tiny bundle: all stages, resume, both doors, one-sentence errors, several processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import run as run_bundle

from monai_diffaug.bundle import load_synthesizer
from monai_diffaug.commands.train import CONFIGS
from monai_diffaug.engines import training
from monai_diffaug.synthesis.diffusion import uniform_levels
from tests.tiny_bundle import edit_config, equal, tiny_bundle, tiny_data, train, weights
from tests.tiny_training import STAGES, at_step

ROOT = Path(__file__).parents[2]
PAINTER = {"denoiser", "text_encoder"}
PARTS = {"inpainter": PAINTER, "distillation": PAINTER, "halving": PAINTER, "validator": {"validator"}}
"""What each later stage trains."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data(tmp_path_factory.mktemp("data") / "polyps")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """A bundle that went through all trainings, one after the other."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("trained") / "polyps")
    assert [train(stage, bundle, data) for stage in STAGES] == [0] * len(STAGES)
    return bundle


def metadata(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))


def checkpoint(bundle: Path, stage: str) -> dict[str, Any]:
    return torch.load(bundle / "models" / "training" / stage / "checkpoint.pt", weights_only=True)


class TestAllTheWay:
    @pytest.mark.parametrize("stage", STAGES)
    def test_checkpoint_log_and_metrics(self, trained: Path, stage: str) -> None:
        folder = trained / "models" / "training" / stage
        assert checkpoint(trained, stage)["trainer"]["iteration"] == 6
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [4, 6] and all(line["loss"] > 0 for line in lines)
        assert len(list(folder.glob("events.out.tfevents.*"))) == 1

    def test_weights_and_what_the_metadata_says_of_them(self, trained: Path) -> None:
        digest = sha256((trained / "models" / "model.pt").read_bytes()).hexdigest()
        assert metadata(trained)["weights_sha256"] == {"model.pt": digest}
        assert metadata(trained)["trained"] == list(STAGES)
        assert {value.dtype for value in weights(trained).values()} <= {torch.float16, torch.int64}
        assert float(weights(trained)["latent_std"].min()) > 0

    def test_the_bundle_is_ready_for_synthesis(self, trained: Path, data: Path, tmp_path: Path) -> None:
        """In two steps where they were halved; a new distillation takes four again."""
        synthesizer = load_synthesizer(trained)
        assert synthesizer.images.channels == 3
        assert synthesizer.renderer.inpainter.levels == uniform_levels(2)
        bundle = tmp_path / "again"
        shutil.copytree(trained, bundle)
        assert train("distillation", bundle, data, "--output", str(tmp_path / "out"), "--max-steps", "2") == 0
        assert load_synthesizer(bundle).renderer.inpainter.levels == uniform_levels(4)

    def test_a_stage_follows_those_before_it(self, trained: Path, data: Path, tmp_path: Path) -> None:
        """The bundle's earlier weights stay as they are; a new autoencoder leaves the later ones untrained."""
        bundle = tmp_path / "again"
        shutil.copytree(trained, bundle)
        assert train("validator", bundle, data, "--output", str(tmp_path / "out"), "--max-steps", "2") == 0
        before, after = weights(trained), weights(bundle)
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"validator"}
        assert train("autoencoder", bundle, data, "--output", str(tmp_path / "new"), "--max-steps", "2") == 0
        assert metadata(bundle)["trained"] == ["autoencoder"]
        with pytest.raises(
            ValueError, match="not trained: inpainter, distillation, validator missing; run first: .* train inpainter"
        ):
            load_synthesizer(bundle)

    def test_the_end_is_told(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        bundle = tiny_bundle(tmp_path / "b")
        assert train("autoencoder", bundle, data, "--max-steps", "1") == 0
        said = capsys.readouterr().out
        assert said.startswith(f"wrote {bundle / 'models' / 'model.pt'}; log, metrics and checkpoint are in ")
        assert "not for diagnosis" in said

    def test_options_reach_the_configs(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(training, "run_training", lambda trainer: seen.append(trainer))
        more = ("--max-steps", "9", "--batch-size", "3", "--workers", "1", "--output", str(tmp_path / "out"))
        assert train("autoencoder", tiny_bundle(tmp_path / "b"), data, *more) == 0
        (trainer,) = seen
        assert (trainer.pace.max_steps, trainer.pace.batch_size, trainer.pace.workers) == (9, 3, 1)
        assert str(trainer.state.device) == "cpu"


class TestResume:
    @pytest.mark.parametrize("stage", STAGES)
    def test_stopped_and_resumed_is_as_if_never_stopped(
        self,
        trained: Path,
        data: Path,
        tmp_path: Path,
        stage: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        bundle = tiny_bundle(tmp_path / "b")
        for earlier in STAGES[: STAGES.index(stage)]:
            assert train(earlier, bundle, data) == 0
        with monkeypatch.context() as patch:
            patch.setattr(training, "train_step", at_step(3, lambda: signal.raise_signal(signal.SIGINT)))
            assert train(stage, bundle, data) == 130
        path = bundle / "models" / "training" / stage / "checkpoint.pt"
        assert f"stopped; {path} is whole, --resume goes on" in capsys.readouterr().err
        assert checkpoint(bundle, stage)["trainer"]["iteration"] == 3
        assert train(stage, bundle, data, "--resume") == 0
        assert equal(checkpoint(bundle, stage), checkpoint(trained, stage))
        if stage == "validator":
            assert equal(weights(bundle), weights(trained))

    def test_a_complete_one_only_writes_its_weights_again(self, trained: Path, data: Path, tmp_path: Path) -> None:
        bundle = tmp_path / "b"
        shutil.copytree(trained, bundle)
        before = checkpoint(bundle, "validator")
        edit_config(bundle, "metadata", {"trained": list(STAGES[:-1])})
        assert train("validator", bundle, data, "--resume") == 0
        assert metadata(bundle)["trained"] == list(STAGES)
        assert equal(weights(bundle), weights(trained)) and equal(before, checkpoint(bundle, "validator"))

    def test_stopped_before_anything_was_saved(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def stop(trainer: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(training, "run_training", stop)
        assert train("autoencoder", tiny_bundle(tmp_path / "b"), data) == 130
        assert capsys.readouterr().err.splitlines()[-1] == "stopped"


def test_the_other_door_trains_the_same(
    trained: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``python -m monai.bundle run`` does."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    bundle = tiny_bundle(tmp_path / "b")
    for stage in STAGES:
        configs = [str(bundle / "configs" / f"{name}.json") for name in ("common", *CONFIGS[stage])]
        run_bundle(config_file=configs, bundle_root=str(bundle), dataset_dir=str(data))
        assert equal(checkpoint(bundle, stage), checkpoint(trained, stage))
    assert equal(weights(bundle), weights(trained))


def test_first_weights_do_not_depend_on_the_caller(data: Path, tmp_path: Path) -> None:
    """Nor is the caller's random state touched."""
    found = []
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            bundle = tiny_bundle(tmp_path / str(seed))
            assert train("autoencoder", bundle, data, "--max-steps", "1") == 0
            assert torch.equal(before, torch.get_rng_state())
        found.append(weights(bundle))
    assert equal(*found)


class TestOneSentence:
    def said(self, capsys: pytest.CaptureFixture[str]) -> str:
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("monai-diffaug train: ")]
        assert len(lines) == 1
        return lines[0]

    def test_no_bundle(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert train("autoencoder", tmp_path / "none", data) == 2
        assert "is no bundle folder: it has no configs/metadata.json" in self.said(capsys)

    def test_a_bundle_that_is_not_trained(self, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert train("autoencoder", Path("texture_demo"), data) == 2
        assert "cannot be trained: it has no configs/train_autoencoder.json" in self.said(capsys)

    @pytest.mark.parametrize(("stage", "first"), [("inpainter", "autoencoder"), ("validator", "autoencoder")])
    def test_earlier_stages_first(
        self, data: Path, tmp_path: Path, stage: str, first: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bundle = tiny_bundle(tmp_path / "b")
        assert train(stage, bundle, data) == 2
        assert f"run first: monai-diffaug train {first} --bundle {bundle} --data DATA" in self.said(capsys)

    def test_no_images_and_labels(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert train("autoencoder", tiny_bundle(tmp_path / "b"), tmp_path) == 2
        assert f"{tmp_path} needs the folders images and labels or masks" in self.said(capsys)

    def test_a_checkpoint_that_is_there(
        self, trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert train("validator", trained, data) == 2
        assert "checkpoint.pt is there already; go on with --resume" in self.said(capsys)

    def test_a_checkpoint_that_is_not_there(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert train("autoencoder", tiny_bundle(tmp_path / "b"), data, "--resume") == 2
        assert "checkpoint.pt is not there; begin without --resume" in self.said(capsys)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
    def test_no_cuda(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert train("autoencoder", tiny_bundle(tmp_path / "b"), data, "--device", "cuda") == 2
        assert "no CUDA device is available here" in self.said(capsys)

    def test_no_tensorboard(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        assert train("autoencoder", tiny_bundle(tmp_path / "b"), data) == 1
        assert "training logs need tensorboard; pip install 'monai_diffaug[train]'" in self.said(capsys)

    @pytest.mark.parametrize(
        ("stage", "more", "sentence"),
        [
            ("validator", ("--features", "f.pt"), "--features is the autoencoder's perceptual loss"),
            ("autoencoder", ("--features", "none.pt"), "weights none.pt of the perceptual loss are missing"),
            ("autoencoder", ("--max-steps", "0"), "1 or more"),
            ("autoencoder", ("--batch-size", "0"), "1 or more"),
        ],
    )
    def test_options(
        self,
        data: Path,
        tmp_path: Path,
        stage: str,
        more: tuple[str, str],
        sentence: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert train(stage, tiny_bundle(tmp_path / "b"), data, *more) == 2
        assert sentence in self.said(capsys)

    def test_configs_that_lack_an_entry(self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        bundle = tiny_bundle(tmp_path / "b")
        path = bundle / "configs" / "train_autoencoder.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in config.items() if name not in ("run", "workers")}))
        assert train("autoencoder", bundle, data, "--workers", "1") == 2
        assert "lack the entries ['run', 'workers']" in self.said(capsys)


def environment() -> dict[str, str]:
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
class TestTorchrun:
    START = ("torchrun", "--standalone", "--nproc_per_node", "2", "-m", "--")

    def command(self, bundle: Path, data: Path, *more: str, stage: str = "autoencoder") -> list[str]:
        arguments = ["train", stage, "--bundle", str(bundle), "--data", str(data), "--device", "cpu", *more]
        return [*self.START, "monai_diffaug", *arguments]

    def run(self, command: list[str]) -> str:
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def test_two_processes_by_both_doors(self, data: Path, tmp_path: Path) -> None:
        one, other = tiny_bundle(tmp_path / "one"), tiny_bundle(tmp_path / "other")
        assert self.run(self.command(one, data)).count("wrote") == 1
        configs = [str(other / "configs" / f"{name}.json") for name in ("common", "train_autoencoder")]
        self.run([*self.START, "monai.bundle", "run", "--config_file", str(configs), "--bundle_root", str(other),
                  "--dataset_dir", str(data)])  # fmt: skip
        assert equal(checkpoint(one, "autoencoder"), checkpoint(other, "autoencoder"))
        assert equal(weights(one), weights(other))
        folder = one / "models" / "training" / "autoencoder"
        assert len(list(folder.glob("events.*"))) == 1  # the first process alone writes
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2

    @pytest.mark.parametrize(("stage", "parts"), PARTS.items())
    def test_two_processes_train_each_later_stage(
        self, trained: Path, data: Path, tmp_path: Path, stage: str, parts: set[str]
    ) -> None:
        bundle = shutil.copytree(trained, tmp_path / "bundle", ignore=shutil.ignore_patterns(stage))
        assert self.run(self.command(bundle, data, "--max-steps", "4", stage=stage)).count("wrote") == 1
        before, after = weights(trained), weights(bundle)
        assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == parts
        folder = bundle / "models" / "training" / stage
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1  # the first process alone writes

    def test_stopped_and_resumed(self, data: Path, tmp_path: Path) -> None:
        whole, parts = tiny_bundle(tmp_path / "whole"), tiny_bundle(tmp_path / "parts")
        self.run(self.command(whole, data, "--max-steps", "100"))
        process = subprocess.Popen(
            self.command(parts, data, "--max-steps", "100"), env=environment(), stderr=subprocess.PIPE, text=True
        )
        path = parts / "models" / "training" / "autoencoder" / "checkpoint.pt"
        while not path.exists() and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode != 0 and "--resume goes on" in said
        assert 4 <= checkpoint(parts, "autoencoder")["trainer"]["iteration"] < 100
        self.run(self.command(parts, data, "--max-steps", "100", "--resume"))
        assert equal(checkpoint(whole, "autoencoder"), checkpoint(parts, "autoencoder"))


@pytest.mark.slow
def test_every_command_of_the_page_runs(data: Path, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "my_polyps")
    (tmp_path / "DATA").symlink_to(data)
    page = (ROOT / "docs" / "training.md").read_text("utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)
    commands = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    assert len(commands) > 4
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{command}\n{done.stderr[-3000:]}"
    assert metadata(tmp_path / "my_polyps")["trained"] == list(STAGES)
