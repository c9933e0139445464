"""Patches of images for the autoencoder, whole or with a lesion-shaped part blanked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_diffaug.engines.draws import rng_for, turn
from monai_diffaug.synthesis import ImageFormat
from monai_diffaug.synthesis.resample import resample
from monai_diffaug.synthesis.window import Window


class AutoencoderPatches(Dataset):
    """Draw patches anywhere in the images; any index is a draw of its own.

    Args:
        cases: dictionaries with ``image`` (C, *spatial), stored values.
        images: how stored values meet the networks' range.
        shape: offsets from the centre in diameters -> mask, for what is blanked (``FormulaShapes``, ``OutlineBank``).
        size: cells of a patch along each axis.
        sides: range of the patch's side in image pixels; drawn log-uniformly.
        blanked: share of the patches with a part set to 0, as the inpainter's conditioning has it.
        seed: first half of every draw's seed.

    Raises:
        ValueError: where there is no case, or the ranges do not fit.
    """

    def __init__(
        self,
        cases: Sequence[Mapping[str, Any]],
        images: ImageFormat,
        shape: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        *,
        size: int = 128,
        sides: tuple[float, float] = (64, 320),
        blanked: float = 0.25,
        seed: int = 0,
    ) -> None:
        if not cases or not 0 < sides[0] <= sides[1] or not 0 <= blanked <= 1:
            raise ValueError(
                f"need cases, a rising range of sides and a share; got {len(cases)} cases, {tuple(sides)}, {blanked}"
            )
        self.cases, self.images, self.shape = cases, images, shape
        self.size, self.sides, self.blanked, self.seed = size, sides, blanked, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (C, *size) in [-1, 1]."""
        rng = rng_for(self.seed, index)
        stored = self.cases[int(rng.integers(len(self.cases)))]["image"]
        (patch,) = turn([self._cut(stored, rng)], rng)
        if rng.random() < self.blanked:
            patch = torch.where(torch.from_numpy(self._blank(patch.ndim - 1, rng)), 0.0, patch)
        return {"image": patch}

    def _cut(self, stored: np.ndarray, rng: np.random.Generator) -> Tensor:
        side = min(np.exp(rng.uniform(*np.log(self.sides))), max(min(stored.shape[1:]), self.sides[0]))
        shape = (round(side),) * (stored.ndim - 1)
        origin = [
            int(rng.integers(min(n - s, 0), max(n - s, 0) + 1)) for n, s in zip(stored.shape[1:], shape, strict=True)
        ]
        window = Window(tuple(origin), shape, (self.size,) * len(shape))
        part = stored[(slice(None), *window.inside(stored.shape[1:]))]
        whole = window.extend(self.images.to_unit(part), stored.shape[1:])
        return resample(torch.from_numpy(whole), window.size) * 2 - 1

    def _blank(self, dims: int, rng: np.random.Generator) -> np.ndarray:
        centre, diameter = rng.uniform(0.2, 0.8, dims), rng.uniform(0.2, 0.8)
        axes = [(np.arange(self.size) / self.size - c) / diameter for c in centre]
        return self.shape(np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32), rng)
