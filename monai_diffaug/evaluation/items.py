"""Images in memory at the segmenter's size: real ones, and the samples of synthetic sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monai_diffaug.generation.files import read_image, read_label
from monai_diffaug.synthesis import ImageFormat
from monai_diffaug.synthesis.resample import resample, resample_mask


@dataclass(frozen=True)
class Item:
    """An image in stored values and its binary label, both uint8 or as stored, at the segmenter's size.

    Args:
        image: (C, *spatial), longest side ``size``.
        label: 0 or 1, (1, *spatial).
        record: None; a pool's samples have one.
    """

    image: Tensor
    label: Tensor
    record: Any = None


@dataclass(frozen=True)
class Shrink:
    """Resample images and binary labels to a longest side, the proportions kept.

    Args:
        size: cells of the longest side.
        lesions: label values that count; empty means all but 0.
    """

    size: int
    lesions: tuple[int, ...] = ()

    def __call__(self, image: Any, label: Any) -> Item:
        """Return the item of an image (C, *spatial) and a label (*spatial) or (1, *spatial)."""
        image, label = torch.as_tensor(np.asarray(image)), torch.as_tensor(np.asarray(label))
        shape = fitted(image.shape[1:], self.size)
        values = resample(image.float(), shape)
        values = values if image.dtype.is_floating_point else values.round()
        mask = self.binary(label.reshape(image.shape[1:])).float()
        return Item(values.to(image.dtype), resample_mask(mask, shape).to(torch.uint8)[None])

    def binary(self, label: Tensor) -> Tensor:
        """Return where lesions are, bool."""
        if not self.lesions:
            return label != 0
        return torch.isin(label, torch.tensor(self.lesions, dtype=label.dtype))


def fitted(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Return a spatial shape with its longest side at ``size``, proportions kept.

    Example:
        >>> fitted((288, 384), 160)
        (120, 160)
    """
    longest = max(shape)
    return tuple(max(1, round(n * size / longest)) for n in shape)


def real_items(cases: Sequence[Mapping[str, Any]], shrink: Shrink) -> list[Item]:
    """Return the items of cases that were read."""
    return [shrink(case["image"], case["label"]) for case in cases]


def synthetic_items(files: Sequence[tuple[Path, Path]], images: ImageFormat, shrink: Shrink) -> list[Item]:
    """Read synthetic samples.

    Args:
        files: image and label of each.
        images: how they are stored.
        shrink: to the segmenter's size.
    """
    items = []
    for image, label in files:
        stored = read_image(image, images)
        items.append(shrink(stored.array, read_label(label, stored.array.shape[1:], stored).array))
    return items
