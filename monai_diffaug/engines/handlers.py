"""What happens around a training: averaged weights, checkpoints and true resume, looks, progress."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset, default_collate

from monai_diffaug.engines.training import step_generator, to_device


def average(network: nn.Module, limit: float = 0.999) -> AveragedModel:
    """Return a running mean of the weights with decay min(limit, n / (n + 100)); its ``module`` is the mean network."""

    def mix(mean: Tensor, weight: Tensor, count: Tensor | int) -> Tensor:
        n = int(count)
        return mean + (weight - mean) * (1 - min(limit, n / (n + 100)))

    return AveragedModel(network, avg_fn=mix)


class Averaging:
    """Update averaged weights after each step.

    Args:
        averaged: what ``average`` returned.
    """

    def __init__(self, averaged: AveragedModel) -> None:
        self.averaged = averaged

    def attach(self, engine: Any) -> None:
        self.averaged.to(engine.state.device)
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda trainer: self.averaged.update_parameters(trainer.bare_network)
        )


class Checkpoints:
    """Save all that a training is, after every epoch and when it is stopped; go on exactly where it was.

    Args:
        folder: where ``checkpoint.pt`` is written, replaced as a whole.
        averaged: the averaged weights.
        resume: load the checkpoint before the first step.

    Raises:
        ValueError: where there is a checkpoint already, or it is of another training.
        FileNotFoundError: where there is none to go on from.
    """

    def __init__(self, folder: str | Path, averaged: AveragedModel, *, resume: bool = False) -> None:
        self.folder, self.averaged, self.resume = Path(folder), averaged, resume

    def attach(self, engine: Any) -> None:
        check_folder(self.folder, resume=self.resume)
        self.parts = {
            "trainer": engine,
            "network": engine.bare_network,
            "averaged": self.averaged,
            "optimizer": engine.optimizer,
            "schedule": engine.schedule,
            "loss": engine.loss_function,
        }
        if self.resume:
            self._load(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self._save)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._stopped)

    def _load(self, engine: Any) -> None:
        path = self.folder / CHECKPOINT
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["trainer"]["iteration"] < engine.pace.max_steps:
                state["trainer"]["max_epochs"] = engine.state.max_epochs  # more steps may be asked for than before
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError, EOFError, UnpicklingError) as error:
            raise ValueError(
                f"{path} does not fit this training: it is damaged, or of another stage or other networks; "
                "give the folder and the configs that it was begun with"
            ) from error

    def _save(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "checkpoint.partial"
        torch.save({name: part.state_dict() for name, part in self.parts.items()}, partial)
        partial.replace(self.folder / CHECKPOINT)

    def _stopped(self, engine: Any, error: BaseException) -> None:
        # Stopped in the middle of a step the weights may be of neither the step before nor the one after.
        if isinstance(error, KeyboardInterrupt) and engine.state.iteration == engine.whole_steps:
            self._save(engine)


CHECKPOINT = "checkpoint.pt"


def check_folder(folder: Path, *, resume: bool) -> None:
    """Check that there is a checkpoint to go on from, or none that would be overwritten.

    Raises:
        ValueError, FileNotFoundError: where that is not so.
    """
    path = folder / CHECKPOINT
    if not resume and path.exists():
        raise ValueError(f"{path} is there already; go on with --resume, or remove it to begin anew")
    if resume and not path.exists():
        raise FileNotFoundError(f"{path} is not there; begin without --resume")


class Looks:
    """After every epoch, measure the averaged network on fixed held-out draws, and show pictures.

    Args:
        averaged: the averaged weights.
        dataset: held-out draws, of which the first ``draws`` are used.
        folder: TensorBoard's log; also ``metrics.jsonl``, one line an epoch.
        preview: ``preview(network, batch) -> (3, height, width)`` in [0, 1], or None.
        draws: number of held-out draws.
        batch_size: draws that the network sees at once.
    """

    def __init__(
        self,
        averaged: AveragedModel,
        dataset: Dataset,
        folder: str | Path,
        *,
        preview: Callable[[nn.Module, Mapping[str, Any]], Tensor] | None = None,
        draws: int = 64,
        batch_size: int = 8,
    ) -> None:
        self.averaged, self.dataset, self.folder = averaged, dataset, Path(folder)
        self.preview, self.draws, self.batch_size = preview, draws, batch_size

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() != 0:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("training logs need tensorboard; pip install 'monai_diffaug[train]'") from error
        self.board = SummaryWriter(str(self.folder))
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=25), self._log_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED | Events.TERMINATE, self._look)
        engine.add_event_handler(Events.COMPLETED | Events.EXCEPTION_RAISED, self._close)

    def _log_step(self, engine: Any) -> None:
        for name, value in engine.state.output.items():
            self.board.add_scalar(f"train/{name}", float(value), engine.state.iteration)
        self.board.add_scalar("train/learning_rate", engine.optimizer.param_groups[0]["lr"], engine.state.iteration)

    def _close(self, engine: Engine, error: BaseException | None = None) -> None:
        self.board.close()

    @torch.no_grad()
    def _look(self, engine: Any) -> None:
        network = self.averaged.module.eval()
        step, sums = engine.state.iteration, dict[str, float]()
        for first in range(0, self.draws, self.batch_size):
            batch = to_device(self._batch(first), engine.state.device)
            with torch.autocast(engine.state.device.type, torch.bfloat16, enabled=engine.pace.amp):
                losses = engine.loss_function.eval()(network, batch, step_generator(1, first))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value) * min(self.batch_size, self.draws - first) / self.draws
        for name, value in sums.items():
            self.board.add_scalar(f"held_out/{name}", value, step)
        if self.preview is not None:
            self.board.add_image(
                "held_out/pictures", self.preview(network, to_device(self._batch(0), engine.state.device)), step
            )
        self.board.flush()
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, **{name: round(value, 5) for name, value in sums.items()}}) + "\n")

    def _batch(self, first: int) -> dict[str, Any]:
        rows = [self.dataset[index] for index in range(first, min(first + self.batch_size, self.draws))]
        return getattr(self.dataset, "collate", default_collate)(rows)


class Progress:
    """A progress bar with the loss, on the first process."""

    def attach(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            bar = ProgressBar(desc="train", persist=True)
            bar.attach(
                engine,
                output_transform=lambda losses: {"loss": float(losses["loss"])},
                event_name=Events.ITERATION_COMPLETED(every=10),
            )
