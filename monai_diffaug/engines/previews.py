"""Pictures of held-out draws for the training log: one row a sample."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from monai_diffaug.networks.passes import DenoiserPass, ValidatorPass
from monai_diffaug.synthesis import Canvas, LatentDiffusionInpainter


def reconstructions(network: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Return image and reconstruction side by side, (3, height, width) in [0, 1]."""
    image = batch["image"]
    return grid([image, network(image)[0].float()])


class Paintings:
    """Show source, mask and what the averaged denoiser paints, on held-out windows.

    Args:
        inpainter: with the autoencoder and the latents' statistics; its denoiser and text encoder are replaced.
        rows: number of windows.
        distilled: ask for what the denoiser was distilled to.
    """

    def __init__(self, inpainter: LatentDiffusionInpainter, *, rows: int = 8, distilled: bool = False) -> None:
        self.inpainter, self.rows, self.distilled = inpainter, rows, distilled

    def __call__(self, network: DenoiserPass, batch: Mapping[str, Any]) -> Tensor:
        """Return (3, height, width) in [0, 1]."""
        rows = {name: value[: self.rows] for name, value in batch.items()}
        inpainter = copy(self.inpainter)
        denoiser: Any = network.denoiser
        inpainter.denoiser = denoiser.distilled() if self.distilled else denoiser
        inpainter.text_encoder = network.text_encoder
        label, paint = rows["label"].float(), rows["paint"].float()
        canvas = Canvas(rows["latent"], rows["blanked"], label, paint, rows["scale"])
        painted = inpainter.inpaint(canvas, rows["prompts"], list(range(len(label))))
        shown = (label * 2 - 1).expand(-1, 3, *label.shape[2:])
        return grid([inpainter.decode(rows["latent"]).cpu(), shown.cpu(), inpainter.decode(painted).cpu()])


def grid(columns: list[Tensor]) -> Tensor:
    """Lay images (N, C, *size) in [-1, 1] side by side, one row a sample; the middle slice of volumes."""
    rows = torch.cat([_rgb(column) for column in columns], dim=3)
    return torch.cat(list(rows), dim=1).clamp(0, 1).cpu()


def _rgb(image: Tensor) -> Tensor:
    middle: tuple[Any, ...] = (..., *(cells // 2 for cells in image.shape[4:]))
    slices = image[middle]
    return (slices[:, :3].expand(-1, 3, -1, -1) + 1) / 2


class Segmentations:
    """Show what the averaged validator sees in held-out windows, beside the truth.

    Args:
        inpainter: decodes the latents.
        rows: number of windows.
    """

    def __init__(self, inpainter: LatentDiffusionInpainter, *, rows: int = 8) -> None:
        self.inpainter, self.rows = inpainter, rows

    def __call__(self, network: ValidatorPass, batch: Mapping[str, Any]) -> Tensor:
        """Return (3, height, width) in [0, 1]: image, truth, prediction."""
        latent, truth = batch["latent"][: self.rows], batch["target"][: self.rows].float()
        seen = network(latent).float().sigmoid()
        masks = [(one.amax(1, keepdim=True) * 2 - 1).expand(-1, 3, *one.shape[2:]).cpu() for one in (truth, seen)]
        return grid([self.inpainter.decode(latent).cpu(), *masks])
