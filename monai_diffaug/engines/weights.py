"""A bundle's ``models/model.pt``: which trainings build on which, and how weights and digest get into the bundle."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from monai_diffaug.configs import write_json
from monai_diffaug.engines.gate_files import remove_stale

NEEDS: dict[str, tuple[str, ...]] = {
    "autoencoder": (),
    "inpainter": ("autoencoder",),
    "distillation": ("autoencoder", "inpainter"),
    "halving": ("autoencoder", "inpainter", "distillation"),
    "validator": ("autoencoder", "inpainter"),
}
"""What must be trained before each stage, in the order of training: each lives in the latent space of those."""


def trained_after(stage: str, before: Sequence[str]) -> tuple[str, ...]:
    """Return what is trained after a stage was: what builds on it is to be trained anew."""
    return tuple(one for one in NEEDS if one == stage or (one in before and stage not in NEEDS[one]))


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
    write_json(path, metadata)
    remove_stale(root, digest)
