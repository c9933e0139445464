"""Trainings of tiny real networks, in 2D and 3D: cases, a bank of encoded windows, a trainer for each stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn
from torch.utils.data import Dataset

from monai_diffaug.engines.bank import LatentBatches
from monai_diffaug.engines.distillation import DistillationLoss
from monai_diffaug.engines.handlers import Averaging, Checkpoints, average
from monai_diffaug.engines.lesions import LabelledCases, bank_masks
from monai_diffaug.engines.patches import AutoencoderPatches
from monai_diffaug.engines.training import Pace, build_trainer
from monai_diffaug.engines.windows import TrainingWindows
from monai_diffaug.engines.words import LesionWords
from monai_diffaug.losses import Adversary, AutoencoderLoss, InpaintingLoss, ValidatorLoss
from monai_diffaug.networks.composite import DiffusionAugmentationNet
from monai_diffaug.networks.passes import AutoencoderPass, DenoiserPass, ValidatorPass
from monai_diffaug.networks.seeded import seeded
from monai_diffaug.synthesis import Abnormality, FormulaShapes, ImageFormat, WindowSampler
from tests.tiny_networks import (
    LATENT_CHANNELS,
    tiny_autoencoder,
    tiny_denoiser,
    tiny_text_encoder,
    tiny_validator_net,
)
from tests.toys import GRIDS, ball, toy_image

STAGES = ("autoencoder", "inpainter", "distillation", "halving", "validator")
RADII = {2: 9, 3: 5}
CUTS = {"colour": (-0.01, 0.01), "brightness": (-0.02, 0.02)}


def image_format(spatial_dims: int) -> ImageFormat:
    return ImageFormat(spatial_dims, 1, (0.0, 255.0))


def toy_cases(spatial_dims: int, count: int = 2) -> list[dict[str, Any]]:
    """Return cases with one ball-shaped lesion each, a little off the middle."""
    cases = []
    for seed in range(count):
        image = toy_image(spatial_dims, seed=seed)
        centre = [n // 2 + (2 * seed - 1) * 2 for n in image.shape[1:]]
        label = ball(spatial_dims, RADII[spatial_dims], centre=centre).astype("uint8")
        cases.append({"name": f"case{seed}", "image": image, "label": label, "spacing": None})
    return cases


def toy_windows(spatial_dims: int, *, seed: int = 0, cases: list[dict[str, Any]] | None = None) -> TrainingWindows:
    if cases is None:  # the third case is normal
        first, second, third = toy_cases(spatial_dims, 3)
        cases = [first, second, {**third, "label": 0 * third["label"]}]
    labelled = LabelledCases(cases, [Abnormality("polyp")])
    return TrainingWindows(
        labelled,
        image_format(spatial_dims),
        WindowSampler(GRIDS[spatial_dims]),
        bank_masks(labelled),
        LesionWords({"polyp": CUTS}, (0.15, 0.3)),
        seed=seed,
    )


def toy_patches(spatial_dims: int, *, size: int = 16) -> AutoencoderPatches:
    cases = toy_cases(spatial_dims)
    return AutoencoderPatches(cases, image_format(spatial_dims), FormulaShapes(), size=size, sides=(16, 24))


def toy_group(spatial_dims: int, *, rows: int = 6, cells: int = 4, seed: int = 0) -> dict[str, Any]:
    """Return a bank's group of random latents; every other window holds a lesion."""
    generator = torch.Generator().manual_seed(seed)
    latent = (rows, LATENT_CHANNELS, *(cells,) * spatial_dims)
    label = torch.zeros(rows, 1, *(4 * cells,) * spatial_dims, dtype=torch.bool)
    label[(slice(None), slice(None), *(slice(4, 12),) * spatial_dims)] = True
    lesions = label.clone()
    lesions[::2] = False
    return {
        "latent": torch.randn(latent, generator=generator).half(),
        "blanked": torch.randn(latent, generator=generator).half(),
        "label": label,
        "paint": label,
        "lesions": lesions,
        "scale": torch.linspace(-1, 1, rows),
        "prompts": ["normal tissue" if row % 2 == 0 else "red polyp" for row in range(rows)],
        "names": [f"case{row}" for row in range(rows)],
        "kinds": ["normal" if row % 2 == 0 else "lesion" for row in range(rows)],
    }


def toy_batches(spatial_dims: int) -> LatentBatches:
    groups = [toy_group(spatial_dims), toy_group(spatial_dims, rows=4, cells=8, seed=1)]
    return LatentBatches(groups, batch_cells=2 * 4**spatial_dims, scale_jitter=0.5)


def toy_composite(spatial_dims: int) -> DiffusionAugmentationNet:
    parts = tiny_autoencoder(spatial_dims), tiny_denoiser(spatial_dims), tiny_text_encoder()
    return DiffusionAugmentationNet(*parts, tiny_validator_net(spatial_dims), latent_channels=LATENT_CHANNELS)


def bare_bundle(folder: Path, **metadata: Any) -> Path:
    """Write a bundle folder that only has metadata."""
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps({"name": "x", **metadata}))
    return folder


@dataclass(frozen=True)
class Stage:
    """What a training is made of, fresh."""

    network: nn.Module
    loss: nn.Module
    dataset: Dataset


def toy_stage(stage: str, spatial_dims: int) -> Stage:
    if stage == "inpainter":
        network = DenoiserPass(tiny_denoiser(spatial_dims), tiny_text_encoder())
        return Stage(network, InpaintingLoss(text_dropout=0.5), toy_batches(spatial_dims))
    if stage == "distillation":
        network = DenoiserPass(tiny_denoiser(spatial_dims), tiny_text_encoder())
        return Stage(network, DistillationLoss(network), toy_batches(spatial_dims))
    if stage == "halving":
        network = DenoiserPass(tiny_denoiser(spatial_dims), tiny_text_encoder())
        taught = DenoiserPass(network.denoiser.distilled(), network.text_encoder)
        return Stage(network, DistillationLoss(taught, steps=2, guidance_scale=1.0), toy_batches(spatial_dims))
    if stage == "validator":
        return Stage(ValidatorPass(tiny_validator_net(spatial_dims)), ValidatorLoss(), toy_batches(spatial_dims))
    adversary = Adversary(toy_discriminator(spatial_dims), after=2)
    network = AutoencoderPass(tiny_autoencoder(spatial_dims))
    return Stage(network, AutoencoderLoss(adversary=adversary), toy_patches(spatial_dims))


def toy_discriminator(spatial_dims: int) -> nn.Module:
    return seeded(
        lambda: PatchDiscriminator(spatial_dims, channels=4, in_channels=1, out_channels=1, num_layers_d=1), seed=5
    )


def toy_trainer(
    parts: Stage, folder: Path | None = None, *, steps: int = 6, resume: bool = False, workers: int = 0
) -> Any:
    """Return a trainer with two epochs; with a folder it keeps checkpoints."""
    averaged = average(parts.network)
    handlers: list[Any] = [Averaging(averaged)]
    if folder is not None:
        handlers.append(Checkpoints(folder, averaged, resume=resume))
    optimizer = torch.optim.AdamW(parts.network.parameters(), 1e-2)
    batch_size = 1 if isinstance(parts.dataset, LatentBatches) else 2
    pace = Pace(steps, batch_size, epoch_steps=4, warmup=2, workers=workers)
    return build_trainer(
        parts.network, parts.loss, optimizer, parts.dataset, pace=pace, device="cpu", handlers=handlers
    )


def at_step(step: int, act: Callable[[], object]) -> Callable[..., dict[str, Tensor]]:
    """Return a train step that does something more, once, before the optimiser's step is finished."""
    from monai_diffaug.engines.training import train_step

    def stepping(engine: Any, batch: Any) -> dict[str, Tensor]:
        if engine.state.iteration == step:
            act()
        return train_step(engine, batch)

    return stepping
