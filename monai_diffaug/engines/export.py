"""From a training to the bundle: the averaged weights of one part go into ``models/model.pt``, in half precision."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Events
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from monai_diffaug.engines.gate_files import remove_stale
from monai_diffaug.engines.start import NEEDS


def trained_after(stage: str, before: Sequence[str]) -> tuple[str, ...]:
    """Return what is trained after a stage was: what builds on it is to be trained anew."""
    return tuple(one for one in NEEDS if one == stage or (one in before and stage not in NEEDS[one]))


class Export:
    """When a training ends, write its weights into the bundle.

    Args:
        network: the composite network; its other parts are written as they are.
        averaged: averaged weights of a pass over some of the parts.
        bundle_root: the bundle's folder.
        stage: one of ``start.NEEDS``.
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


def write_weights(root: Path, state: dict[str, Tensor], *, stage: str) -> None:
    """Write ``models/model.pt`` in half precision, its digest and what is trained after ``stage`` into the metadata.

    Both files are replaced as a whole; the weights first, so that a digest never names a file that is not there.
    A calibration and descriptors that were made with other weights are removed.
    """
    models = root / "models"
    models.mkdir(exist_ok=True)
    half = {
        name: value.detach().cpu().half().contiguous() if value.is_floating_point() else value.cpu()
        for name, value in state.items()
    }
    partial = models / "model.partial"
    torch.save(half, partial)
    digest = sha256(partial.read_bytes()).hexdigest()
    os.replace(partial, models / "model.pt")
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    metadata["weights_sha256"] = {**metadata.get("weights_sha256", {}), "model.pt": digest}
    metadata["trained"] = list(trained_after(stage, metadata.get("trained", [])))
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(metadata, indent=4) + "\n", encoding="utf-8")
    os.replace(partial, path)
    remove_stale(root, digest)
