"""The trainer: pace, steps, and that a stopped training goes on as if it had never been stopped."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import nn

from monai_diffaug.engines import training
from monai_diffaug.engines.training import Pace, run_training, step_generator, to_device
from monai_diffaug.networks.convolution import Conv3d
from tests.tiny_bundle import equal
from tests.tiny_training import STAGES, at_step, toy_stage, toy_trainer


class TestPace:
    def test_learning_rate_rises_stays_and_falls(self) -> None:
        pace = Pace(1000, 1, warmup=100, flat=0.5)
        factors = [pace.factor(step) for step in range(1000)]
        assert factors[0] == pytest.approx(1 / 101) and factors[100:500] == [1.0] * 400
        assert all(late <= early for early, late in zip(factors[500:], factors[501:], strict=False))
        assert factors[750] == pytest.approx(0.5, abs=0.01) and factors[-1] == pytest.approx(0.02)

    def test_is_never_zero(self) -> None:
        assert min(Pace(3, 1, warmup=0).factor(step) for step in range(10)) >= 0.02

    @pytest.mark.parametrize(
        "options",
        [{"max_steps": 0}, {"batch_size": 0}, {"epoch_steps": 0}, {"warmup": -1}, {"workers": -1}, {"flat": 1.0}],
    )
    def test_is_checked(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must"):
            Pace(**{"max_steps": 1, "batch_size": 1, **options})


@pytest.mark.parametrize("stage", STAGES)
def test_weights_learn(stage: str, spatial_dims: int) -> None:
    parts = toy_stage(stage, spatial_dims)
    before = {name: value.clone() for name, value in parts.network.named_parameters()}
    trainer = toy_trainer(parts, steps=3)
    run_training(trainer)
    assert trainer.state.iteration == 3 and float(trainer.state.output["loss"]) > 0
    unchanged = [name for name, value in parts.network.named_parameters() if torch.equal(value, before[name])]
    assert unchanged == []


def test_global_random_state_is_left_alone() -> None:
    parts = toy_stage("autoencoder", 2)
    before = torch.get_rng_state()
    run_training(toy_trainer(parts, steps=3))
    assert torch.equal(before, torch.get_rng_state())


def test_a_step_draws_by_its_number() -> None:
    draws = [torch.rand(1, generator=step_generator(*numbers)) for numbers in ((0, 1), (0, 2), (1, 1), (0, 1))]
    assert draws[0] == draws[3] and len({float(draw) for draw in draws}) == 3


def test_only_tensors_are_moved() -> None:
    batch = to_device({"x": torch.zeros(1), "prompts": ["a"]}, torch.device("meta"))
    assert batch["x"].device.type == "meta" and batch["prompts"] == ["a"]


def test_a_loss_that_is_not_finite_ends_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = toy_stage("validator", 2)
    monkeypatch.setattr(parts.loss, "forward", lambda *_: {"loss": torch.tensor(torch.nan, requires_grad=True)})
    with pytest.raises(RuntimeError, match="the loss became nan at step 1; lower the learning rate"):
        run_training(toy_trainer(parts))


@pytest.mark.parametrize("stage", STAGES)
def test_gradients_of_3d_convolutions_are_sound_in_network_and_loss(stage: str) -> None:
    parts = toy_stage(stage, 3)
    toy_trainer(parts, steps=1)
    modules = [one for part in (parts.network, parts.loss) for one in part.modules() if isinstance(one, nn.Conv3d)]
    assert modules and all(type(one) is Conv3d for one in modules)


class TestResume:
    def run(self, stage: str, dims: int, folder: Path, *, resume: bool = False, workers: int = 0) -> None:
        run_training(toy_trainer(toy_stage(stage, dims), folder, resume=resume, workers=workers))

    def same_end(self, one: Path, other: Path) -> bool:
        ends = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (one, other)]
        assert set(ends[0]) == {"trainer", "network", "averaged", "optimizer", "schedule", "loss"}
        assert ends[0]["trainer"]["iteration"] == 6
        return all(equal(ends[0][part], ends[1][part]) for part in ends[0])

    @pytest.mark.parametrize("workers", [0, 2])
    @pytest.mark.parametrize("stage", STAGES)
    def test_stopped_by_ctrl_c_in_the_middle_of_an_epoch(
        self, stage: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(stage, 2, tmp_path / "whole", workers=workers)
        for step in (2, 5):
            stop = at_step(step, lambda: signal.raise_signal(signal.SIGINT))
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(training, "train_step", stop)
                self.run(stage, 2, tmp_path / "parts", resume=step > 2, workers=workers)
        self.run(stage, 2, tmp_path / "parts", resume=True, workers=workers)
        assert self.same_end(tmp_path / "whole", tmp_path / "parts")

    @pytest.mark.parametrize("stage", STAGES)
    def test_volumes(self, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run(stage, 3, tmp_path / "whole")
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(training, "train_step", at_step(3, lambda: signal.raise_signal(signal.SIGINT)))
            self.run(stage, 3, tmp_path / "parts")
        self.run(stage, 3, tmp_path / "parts", resume=True)
        assert self.same_end(tmp_path / "whole", tmp_path / "parts")

    @pytest.mark.parametrize("step", [4, 6])
    def test_killed_in_a_step_it_goes_on_from_the_last_epoch(
        self, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by a loss of power: nothing more is saved. Of the first epoch there is nothing to go on from yet."""
        self.run("autoencoder", 2, tmp_path / "whole")

        def die() -> None:
            raise MemoryError

        with monkeypatch.context() as patch, pytest.raises(MemoryError):
            patch.setattr(training, "train_step", at_step(step, die))
            self.run("autoencoder", 2, tmp_path / "parts")
        there = (tmp_path / "parts" / "checkpoint.pt").exists()
        assert there is (step > 4)
        self.run("autoencoder", 2, tmp_path / "parts", resume=there)
        assert self.same_end(tmp_path / "whole", tmp_path / "parts")

    def test_a_torn_step_is_not_saved(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second Ctrl-C does not wait for the end of the step; what was saved last stays."""

        def stop_twice() -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(training, "train_step", at_step(6, stop_twice))
            self.run("validator", 2, tmp_path)
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] == 4

    def test_the_last_step_is_not_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(training, "train_step", at_step(6, lambda: signal.raise_signal(signal.SIGINT)))
        self.run("validator", 2, tmp_path)
        assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] == 6


class TestComplete:
    def test_makes_no_step_more_but_ends_again(self, tmp_path: Path) -> None:
        run_training(toy_trainer(toy_stage("validator", 2), tmp_path))
        before = (tmp_path / "checkpoint.pt").read_bytes()
        trainer = toy_trainer(toy_stage("validator", 2), tmp_path, resume=True)
        seen: list[str] = []
        for event in (Events.STARTED, Events.ITERATION_STARTED, Events.COMPLETED):
            trainer.add_event_handler(event, lambda _, event=event: seen.append(event.name))
        run_training(trainer)
        assert seen == ["COMPLETED"] and trainer.state.iteration == 6
        assert (tmp_path / "checkpoint.pt").read_bytes() == before

    def test_more_steps_may_be_asked_for(self, tmp_path: Path) -> None:
        run_training(toy_trainer(toy_stage("validator", 2), tmp_path))
        trainer = toy_trainer(toy_stage("validator", 2), tmp_path, steps=11, resume=True)
        run_training(trainer)
        assert trainer.state.iteration == 11


def test_ctrl_c_is_given_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run_training(toy_trainer(toy_stage("validator", 2), steps=1))
    assert signal.getsignal(signal.SIGINT) is before


def test_trains_in_a_thread() -> None:
    """Where signals are not heard."""
    trainer = toy_trainer(toy_stage("validator", 2), steps=2)
    thread = threading.Thread(target=run_training, args=(trainer,))
    thread.start()
    thread.join()
    assert trainer.state.iteration == 2
