"""One training for all networks: MONAI's supervised trainer around a loss that owns its corruption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from monai_diffaug.engines.draws import StepBatches
from monai_diffaug.engines.interrupts import anyone, ignore_interrupt, waiting_interrupt
from monai_diffaug.networks.convolution import with_sound_gradients


@dataclass(frozen=True)
class Pace:
    """How long and how fast a training runs.

    Args:
        max_steps: optimiser steps in all.
        batch_size: draws a step on each process.
        epoch_steps: steps between two looks: evaluation, pictures, checkpoint.
        warmup: steps over which the learning rate rises.
        flat: share of the steps after which it falls, along a cosine, to a fiftieth.
        workers: processes that prepare batches; 0 means none.
        amp: bfloat16 autocast.
        seed: of every draw.
    """

    max_steps: int
    batch_size: int
    epoch_steps: int = 250
    warmup: int = 200
    flat: float = 0.6
    workers: int = 0
    amp: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.max_steps, self.batch_size, self.epoch_steps) < 1 or min(self.warmup, self.workers) < 0:
            raise ValueError(f"steps and batch must be 1 or more, warmup and workers 0 or more; got {self}")
        if not 0 <= self.flat < 1:
            raise ValueError(f"flat must lie in [0, 1), got {self.flat}")

    def factor(self, step: int) -> float:
        """Return the learning rate of ``step`` over the highest."""
        gone = step / self.max_steps
        fall = 1.0 if gone < self.flat else (1 - gone) / (1 - self.flat)
        cosine = 0.5 - 0.5 * math.cos(math.pi * max(fall, 0.0))
        return min(1.0, (step + 1) / (self.warmup + 1)) * max(0.02, cosine)


def build_trainer(
    network: nn.Module,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: Dataset,
    *,
    pace: Pace,
    device: torch.device | str,
    handlers: Sequence[Any] = (),
) -> SupervisedTrainer:
    """Return a trainer, ready for ``run_training``.

    Args:
        network: a pass of ``networks.passes``; wrapped for data parallelism under torchrun.
        loss: ``loss(network, batch, generator) -> {"loss": ..., ...}``.
        optimizer: over the network's weights; its learning rate is the highest.
        dataset: any index is a draw (``AutoencoderPatches``, ``LatentBatches``...).
        pace: how long and how fast.
        device: where the network and the loss are moved.
        handlers: objects with ``attach(engine)``.
    """
    device = torch.device(device)
    with_sound_gradients(network).to(device)
    with_sound_gradients(loss).to(device)  # a discriminator
    loader = _loader(dataset, pace)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, pace.factor)
    trainer: Any = SupervisedTrainer(
        device=device,
        max_epochs=-(-pace.max_steps // pace.epoch_steps),
        train_data_loader=loader,
        epoch_length=pace.epoch_steps,
        network=DistributedDataParallel(network) if idist.get_world_size() > 1 else network,
        optimizer=optimizer,
        loss_function=loss,
        iteration_update=train_step,
    )
    trainer.pace, trainer.schedule, trainer.bare_network = pace, schedule, network
    trainer.batches = loader.batch_sampler
    trainer.stop_asked = False
    for handler in handlers:
        handler.attach(trainer)
    trainer.add_event_handler(Events.STARTED, _start)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, _end_of_step)
    trainer.add_event_handler(Events.EXCEPTION_RAISED, _raise)  # after all others have had their say
    return trainer


def _loader(dataset: Dataset, pace: Pace) -> DataLoader:
    batches = StepBatches(pace.batch_size, pace.max_steps, rank=idist.get_rank(), world=idist.get_world_size())
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=pace.workers,
        collate_fn=getattr(dataset, "collate", None),
        worker_init_fn=ignore_interrupt,
        generator=torch.Generator(),  # else a seed that no draw uses would be taken from the global state
    )


def run_training(trainer: Any) -> None:
    """Make the steps that are left; where there are none, only what follows the last step is done.

    Ctrl-C waits for the end of the step, so that a checkpoint is whole; a second one does not wait.

    Args:
        trainer: what ``build_trainer`` returned.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    if trainer.state.iteration >= trainer.pace.max_steps:
        trainer.fire_event(Events.COMPLETED)  # ignite itself would begin again at step 0
        return
    try:
        with waiting_interrupt(trainer):
            trainer.run()
    finally:
        trainer.network = trainer.bare_network


def train_step(engine: Any, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """Make one optimiser step and return the loss's parts."""
    pace: Pace = engine.pace
    batch = to_device(batch, engine.state.device)
    generator = step_generator(pace.seed, engine.state.iteration)
    engine.network.train()
    engine.optimizer.zero_grad(set_to_none=True)
    with torch.autocast(engine.state.device.type, torch.bfloat16, enabled=pace.amp):
        losses = engine.loss_function.train()(engine.network, batch, generator)
    losses["loss"].backward()
    nn.utils.clip_grad_norm_(engine.network.parameters(), 1.0)
    engine.optimizer.step()
    return {name: value.detach() for name, value in losses.items()}


def to_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Move the tensors of a batch."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the generator of a step's own draws, the same in every run; processes differ by their rank."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 1009 + idist.get_rank())


def _start(engine: Any) -> None:
    engine.batches.starting_at(engine.state.iteration)
    engine.whole_steps = engine.state.iteration


def _end_of_step(engine: Any) -> None:
    if not bool(torch.isfinite(engine.state.output["loss"])):
        raise RuntimeError(
            f"the loss became {float(engine.state.output['loss'])} at step {engine.state.iteration}; lower the "
            "learning rate and go on from the last checkpoint with --resume"
        )
    engine.schedule.step()
    engine.whole_steps = engine.state.iteration
    if engine.state.iteration >= engine.pace.max_steps:
        engine.terminate()
    elif anyone(engine.stop_asked, engine.state.device):
        raise KeyboardInterrupt


def _raise(engine: Any, error: BaseException) -> None:
    raise error
