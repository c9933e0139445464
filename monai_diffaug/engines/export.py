"""From a training to the bundle: the averaged weights of one part go into ``models/model.pt``, in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from monai_diffaug.engines.weights import NEEDS, write_weights


class Export:
    """When a training ends, write its weights into the bundle.

    Args:
        network: the composite network; its other parts are written as they are.
        averaged: averaged weights of a pass over some of the parts.
        bundle_root: the bundle's folder.
        stage: one of ``weights.NEEDS``.
        patches: for the autoencoder: training draws, of which the latents' statistics are taken.
        draws: number of those.
    """

    def __init__(
        self,
        network: nn.Module,
        averaged: AveragedModel,
        bundle_root: str | Path,
        stage: str,
        *,
        patches: Any = None,
        draws: int = 256,
    ) -> None:
        if stage not in NEEDS:
            raise ValueError(f"stage must be one of {', '.join(NEEDS)}, got {stage!r}")
        self.network, self.averaged, self.root, self.stage = network, averaged, Path(bundle_root), stage
        self.patches, self.draws = patches, draws

    def attach(self, engine: Any) -> None:
        engine.add_event_handler(Events.COMPLETED, self._write)

    def _write(self, engine: Any) -> None:
        if idist.get_rank() != 0 or engine.state.iteration < engine.pace.max_steps:
            return
        state = {**self.network.state_dict(), **self.averaged.module.state_dict()}
        if self.patches is not None:
            state |= latent_statistics(self.averaged.module, self.patches, self.draws)
        write_weights(self.root, state, stage=self.stage)


@torch.no_grad()
def latent_statistics(network: Any, patches: Any, count: int) -> dict[str, Tensor]:
    """Return mean and deviation of every latent channel over the first training patches."""
    device = next(network.parameters()).device
    images = [patches[index]["image"] for index in range(count)]
    latents = [network.eval().autoencoder.encode(image[None].to(device))[0].float().cpu() for image in images]
    values = torch.cat(latents).movedim(1, 0).flatten(1)
    return {"latent_mean": values.mean(1), "latent_std": values.std(1)}
