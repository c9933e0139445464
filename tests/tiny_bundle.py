"""A trainable bundle of tiny networks, made from the polyp bundle's configs, and a drawn data set to train it on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from monai_diffaug.bundle import shipped_bundles
from monai_diffaug.cli import main

POLYPS = shipped_bundles()["polyp_endoscopy"]
SMALL: dict[str, dict[str, Any]] = {
    "common": {
        "network_def::autoencoder::channels": [4, 4, 8],
        "network_def::autoencoder::num_res_blocks": [1, 1, 1],
        "network_def::autoencoder::norm_num_groups": 4,
        "network_def::denoiser::build::channels": [8, 8, 16],
        "network_def::denoiser::build::num_head_channels": 8,
        "network_def::denoiser::build::norm_num_groups": 4,
        "network_def::denoiser::build::cross_attention_dim": 16,
        "network_def::text_encoder::hidden_size": 16,
        "network_def::validator::channels": [8, 16],
        "patch": {"size": 32, "sides": [24, 48]},
        "training_samplers::0::sizes": [32],
        "training_samplers::1::sizes": [64],
        "training_samplers::1::max_enlargement": 4.0,
        "samplers_in_use::0::sizes": [32],
        "samplers_in_use::1::sizes": [64],
        "samplers_in_use::1::max_enlargement": 4.0,
    },
    "train_autoencoder": {
        "batch_size": 2,
        "max_steps": 6,
        "train::loss::adversary::discriminator::build::channels": 4,
        "train::loss::adversary::discriminator::build::num_layers_d": 2,
        "train::pace::epoch_steps": 4,
        "train::pace::warmup": 0,
        "train::looks::draws": 2,
    },
    "train_inpainter": {
        "max_steps": 6,
        "batch_size": 2,
        "batch_cells": 128,
        "train::pace::epoch_steps": 4,
        "train::pace::warmup": 0,
        "train::looks::draws": 2,
        "train::counts": [{"lesion": 4, "cut": 2, "normal": 4, "frame": 2, "bare": 2}, {"lesion": 3, "normal": 2}],
        "validate::counts": [{"lesion": 2, "normal": 2}],
    },
}
OVERLAYS: dict[str, dict[str, Any]] = {
    "train_distillation": {"max_steps": 6, "train::pace::epoch_steps": 4},
    "train_halving": {"max_steps": 6, "train::pace::epoch_steps": 4},
    "train_validator": {"max_steps": 6, "train::counts_in_use": [{"normal": 4, "bare": 2}, {"normal": 2}]},
}
"""Configs that are laid over the inpainter's: their keys are places."""


def tiny_bundle(folder: Path) -> Path:
    """Write a bundle without weights: the polyp bundle's configs, everything small."""
    ignore = shutil.ignore_patterns("models", "samples", "validator_images.json")
    shutil.copytree(POLYPS, folder, ignore=ignore)
    shrink(folder, SMALL)
    edit_config(folder, "metadata", {"weights_sha256": {}, "trained": []})
    return folder


def shrink(folder: Path, small: dict[str, dict[str, Any]]) -> None:
    """Make a bundle's networks and trainings small enough for a test."""
    for name, changes in small.items():
        edit_config(folder, name, changes)
    for name, changes in OVERLAYS.items():
        overlay = folder / "configs" / f"{name}.json"
        overlay.write_text(json.dumps({**json.loads(overlay.read_text("utf-8")), **changes}))


def edit_config(bundle: Path, name: str, changes: dict[str, Any]) -> None:
    """Replace entries of a config, each named by its path (``train::pace::seed``)."""
    path = bundle / "configs" / f"{name}.json"
    config = json.loads(path.read_text("utf-8"))
    for place, value in changes.items():
        part: Any = config
        *above, last = place.split("::")
        for key in above:
            part = part[int(key) if isinstance(part, list) else key]
        part[last] = value
    path.write_text(json.dumps(config))


def tiny_case(seed: int, *, shape: tuple[int, int] = (56, 64)) -> tuple[np.ndarray, np.ndarray]:
    """Return a tissue-coloured frame (H, W, 3) with one reddish disc, and its label, 0 or 255, (H, W)."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((*shape, 3)), (2, 2, 0))
    frame = np.array([190.0, 120.0, 100.0]) + 120 * noise
    row, column = (np.arange(n) - rng.uniform(0.35, 0.65) * n for n in shape)
    disc = row[:, None] ** 2 + column[None] ** 2 < rng.uniform(6, 9) ** 2
    frame[disc] += (40, -30, -30)
    return frame.clip(0, 255).astype(np.uint8), 255 * disc.astype(np.uint8)


def tiny_data(folder: Path) -> Path:
    """Write a training and a validation split of drawn frames with their masks."""
    for split, seeds in (("train", range(3)), ("val", range(3, 5))):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for seed in seeds:
            frame, label = tiny_case(seed)
            Image.fromarray(frame).save(folder / split / "images" / f"{seed}.png")
            Image.fromarray(label).save(folder / split / "masks" / f"{seed}.png")
    return folder


def train(stage: str, bundle: Path, data: Path, *more: str) -> int:
    """Run ``monai-diffaug train`` in this process and return its exit code."""
    return main(["train", stage, "--bundle", str(bundle), "--data", str(data), "--device", "cpu", *more])


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return torch.load(bundle / "models" / "model.pt", weights_only=True)


def equal(one: Any, other: Any) -> bool:
    """Whether two nested states are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)
