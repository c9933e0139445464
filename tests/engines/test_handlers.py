"""Averaged weights, checkpoints, looks at held-out draws."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from monai_diffaug.engines.handlers import Averaging, Checkpoints, Looks, Progress, average
from monai_diffaug.engines.previews import Paintings, reconstructions
from monai_diffaug.engines.training import Pace, build_trainer, run_training
from tests.tiny_networks import tiny_inpainter
from tests.tiny_training import Stage, toy_batches, toy_patches, toy_stage, toy_trainer


class TestAverage:
    def test_is_a_running_mean_that_forgets(self) -> None:
        network = nn.Linear(1, 1, bias=False)
        averaged, mean = average(network, limit=0.05), 0.0
        for count, value in enumerate([4.0, 1.0, 3.0, 5.0, 2.0, 8.0, 9.0]):
            network.weight.data.fill_(value)
            averaged.update_parameters(network)
            mean = value if count == 0 else mean + (value - mean) * (1 - min(0.05, count / (count + 100)))
            assert float(averaged.module.weight.detach()) == pytest.approx(mean, rel=1e-5)

    def test_of_equal_weights_is_the_weights(self) -> None:
        parts = toy_stage("validator", 2)
        averaged = average(parts.network)
        for _ in range(3):
            averaged.update_parameters(parts.network)
        pairs = zip(averaged.module.parameters(), parts.network.parameters(), strict=True)
        assert all(torch.allclose(one, other) for one, other in pairs)

    def test_lies_between_the_weights_of_a_training(self) -> None:
        parts = toy_stage("validator", 2)
        start = [value.detach().clone() for value in parts.network.parameters()]
        averaged = average(parts.network)
        pace = Pace(4, 1, warmup=0)
        optimizer = torch.optim.SGD(parts.network.parameters(), 1e-2)
        run_training(trainer(parts, optimizer, pace, [Averaging(averaged)]))
        assert int(averaged.n_averaged) == 4
        moved = [
            (mean.detach() - old).abs().sum() for mean, old in zip(averaged.module.parameters(), start, strict=True)
        ]
        assert all(float(one) > 0 for one in moved)


def trainer(parts: Stage, optimizer: Any, pace: Pace, handlers: list[Any]) -> Any:
    return build_trainer(
        parts.network, parts.loss, optimizer, parts.dataset, pace=pace, device="cpu", handlers=handlers
    )


class TestCheckpoints:
    def test_is_written_as_a_whole(self, tmp_path: Path) -> None:
        run_training(toy_trainer(toy_stage("validator", 2), tmp_path / "deep" / "folder"))
        assert [path.name for path in (tmp_path / "deep" / "folder").iterdir()] == ["checkpoint.pt"]

    def test_is_not_overwritten(self, tmp_path: Path) -> None:
        (tmp_path / "checkpoint.pt").write_bytes(b"precious")
        with pytest.raises(ValueError, match="is there already; go on with --resume, or remove it"):
            toy_trainer(toy_stage("validator", 2), tmp_path)
        assert (tmp_path / "checkpoint.pt").read_bytes() == b"precious"

    def test_must_be_there_to_go_on(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="is not there; begin without --resume"):
            toy_trainer(toy_stage("validator", 2), tmp_path, resume=True)

    @pytest.mark.parametrize("damage", ["stage", "dimensions", "cut", "empty", "other"])
    def test_of_another_training_is_refused(self, tmp_path: Path, damage: str) -> None:
        run_training(toy_trainer(toy_stage("validator", 3 if damage == "dimensions" else 2), tmp_path))
        path = tmp_path / "checkpoint.pt"
        if damage in ("cut", "empty"):
            path.write_bytes(path.read_bytes()[: 1000 if damage == "cut" else 0])
        if damage == "other":
            torch.save({"weights": torch.zeros(1)}, path)
        with pytest.raises(ValueError, match="does not fit this training"):
            toy_trainer(toy_stage("inpainter" if damage == "stage" else "validator", 2), tmp_path, resume=True)


def looking(folder: Path, stage: str, dims: int, *, preview: Any = None, draws: int = 3) -> Any:
    parts = toy_stage(stage, dims)
    averaged = average(parts.network)
    held_out = toy_patches(dims) if stage == "autoencoder" else toy_batches(dims)
    batch_size = 2 if stage == "autoencoder" else 1
    looks = Looks(averaged, held_out, folder, preview=preview, draws=draws, batch_size=batch_size)
    checkpoints = Checkpoints(folder, averaged)
    optimizer = torch.optim.AdamW(parts.network.parameters(), 1e-3)
    return trainer(parts, optimizer, Pace(6, 2 if stage == "autoencoder" else 1, epoch_steps=4), [
        Averaging(averaged), checkpoints, looks, Progress()
    ])  # fmt: skip


class TestLooks:
    def test_one_line_an_epoch_and_pictures(self, tmp_path: Path, spatial_dims: int) -> None:
        run_training(looking(tmp_path, "autoencoder", spatial_dims, preview=reconstructions))
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == [4, 6]
        assert all({"step", "loss", "l1", "kl", "psnr"} <= set(line) for line in lines)
        log = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
        assert {"held_out/loss", "held_out/psnr"} <= set(log.Tags()["scalars"])
        assert [event.step for event in log.Images("held_out/pictures")] == [4, 6]

    def test_what_the_denoiser_paints(self, tmp_path: Path, spatial_dims: int) -> None:
        preview = Paintings(tiny_inpainter(spatial_dims), rows=2)
        run_training(looking(tmp_path, "inpainter", spatial_dims, preview=preview, draws=1))
        assert EventAccumulator(str(tmp_path)).Reload().Images("held_out/pictures")

    def test_looks_change_nothing(self, tmp_path: Path) -> None:
        looked, plain = looking(tmp_path / "a", "validator", 2), toy_stage("validator", 2)
        run_training(looked)
        optimizer = torch.optim.AdamW(plain.network.parameters(), 1e-3)
        run_training(trainer(plain, optimizer, Pace(6, 1, epoch_steps=4), []))
        pairs = zip(looked.bare_network.parameters(), plain.network.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)

    def test_a_mean_over_all_held_out_draws(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where the last batch is smaller than the others."""
        engine = looking(tmp_path, "autoencoder", 2)
        real = engine.loss_function.forward

        def forward(network: Any, batch: Any, generator: Any) -> Any:
            size = torch.tensor(float(len(batch["image"])))
            return real(network, batch, generator) if network.training else {"loss": size}

        monkeypatch.setattr(engine.loss_function, "forward", forward)
        run_training(engine)
        (line, _) = (tmp_path / "metrics.jsonl").read_text().splitlines()
        assert json.loads(line)["loss"] == pytest.approx((2 * 2 + 1 * 1) / 3, abs=1e-4)

    def test_without_tensorboard_one_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(ImportError, match=r"need tensorboard; pip install 'monai_diffaug\[train\]'"):
            looking(tmp_path, "validator", 2)
