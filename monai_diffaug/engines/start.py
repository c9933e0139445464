"""How a training begins and ends: what must be there first, the processes of torchrun, the bundle's weights."""

from __future__ import annotations

import gc
import json
import os
from datetime import timedelta
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import nn

from monai_diffaug.engines.handlers import check_folder
from monai_diffaug.engines.weights import NEEDS
from monai_diffaug.networks.composite import load_weights

LONGEST_WAIT = timedelta(days=1)  # the first process may encode or evaluate for longer than PyTorch's own limit


def begin(
    bundle_root: str | Path, stage: str, output_dir: str | Path, *, resume: bool = False, device: torch.device | str
) -> None:
    """Refuse early what cannot be trained, and join the processes that torchrun started.

    Args:
        bundle_root: the bundle's folder.
        stage: one of ``NEEDS``.
        output_dir: folder of the checkpoint.
        resume: go on from that checkpoint.
        device: ``cpu`` (processes talk by gloo) or ``cuda`` (nccl, one device a process).

    Raises:
        ValueError: where an earlier stage is not trained, or there is a checkpoint that would be overwritten.
        FileNotFoundError: where there is no checkpoint to go on from.
    """
    check_stage(Path(bundle_root), stage)
    check_folder(Path(output_dir), resume=resume)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and idist.get_world_size() == 1:
        backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
        idist.initialize(backend, timeout=LONGEST_WAIT)


def end() -> None:
    """Leave the processes that ``begin`` joined, all of them together.

    What wraps a network for data parallelism holds threads of the processes' group and stands in reference cycles. Were
    it left to the interpreter's end, such a thread could wait for an interpreter that is gone, and abort the process.
    """
    if idist.get_world_size() > 1:
        gc.collect()
        idist.barrier()
        idist.finalize()


def starting_network(network: nn.Module, bundle_root: str | Path, stage: str, device: torch.device | str) -> nn.Module:
    """Return the composite network with the weights that the bundle has; without any it keeps those it was drawn with.

    Args:
        network: all parts; draw their weights from a seed (``networks.seeded``).
        bundle_root: the bundle's folder; its ``models/model.pt`` is loaded.
        stage: the part to be trained; earlier ones must be trained.
        device: where the network is moved.

    Raises:
        ValueError: where an earlier stage is not trained, or the weights do not fit the network.
    """
    root = Path(bundle_root)
    check_stage(root, stage)
    path = root / "models" / "model.pt"
    return load_weights(network, path, device=device) if path.is_file() else network.to(device)


def check_stage(root: Path, stage: str) -> None:
    """Check that everything that ``stage`` builds on is trained.

    Raises:
        ValueError: names the command to run first.
    """
    if stage not in NEEDS:
        raise ValueError(f"stage must be one of {', '.join(NEEDS)}, got {stage!r}")
    metadata = json.loads((root / "configs" / "metadata.json").read_text("utf-8"))
    there = metadata.get("trained", []) if (root / "models" / "model.pt").is_file() else []
    for needed in NEEDS[stage]:
        if needed not in there:
            raise ValueError(
                f"the {stage} needs the bundle's {needed}, which is not trained yet; "
                f"run first: monai-diffaug train {needed} --bundle {root} --data DATA"
            )
