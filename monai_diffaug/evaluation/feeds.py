"""Batches for the segmenter: an arm's images, then an augmentation that is the same in all arms."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import get_track_meta, set_track_meta
from monai.transforms import (
    Compose,
    MapTransform,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from torch import Tensor

from monai_diffaug.evaluation.arms import Arm
from monai_diffaug.evaluation.items import Item
from monai_diffaug.synthesis import ImageFormat
from monai_diffaug.transforms import LesionDonors, RandCarveMixd, RandLesionCopyPasted, RandPooledAbnormalityd

KEYS = ("image", "label")
PASTED = 0.5
"""Probability of copy-paste and of CarveMix."""


class ToUnitd(MapTransform):
    """Scale the stored values of ``image`` to [0, 1]."""

    def __init__(self, images: ImageFormat) -> None:
        super().__init__("image")
        self.images = images

    def __call__(self, data: Any) -> dict[Any, Any]:
        return {**data, "image": torch.from_numpy(self.images.to_unit(np.asarray(data["image"])))}


def standard_augmentation(images: ImageFormat, size: int) -> Compose:
    """Return what every arm's images go through: to [0, 1], padded, flipped, turned, scaled, brighter, noisier.

    Args:
        images: how stored values meet [0, 1].
        size: cells of each side of the segmenter's grid.
    """
    dims = images.spatial_dims
    return Compose(
        [
            ToUnitd(images),
            SpatialPadd(KEYS, (size,) * dims),
            *(RandFlipd(KEYS, 0.5, spatial_axis=axis) for axis in range(dims)),
            RandAffined(
                KEYS,
                prob=0.7,
                rotate_range=[0.5] * (dims * (dims - 1) // 2),  # of every plane
                scale_range=[0.25] * dims,
                translate_range=[0.1 * size] * dims,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
                cache_grid=True,
                spatial_size=(size,) * dims,
            ),
            RandScaleIntensityd("image", factors=0.25, prob=0.7, channel_wise=images.channels > 1),
            RandShiftIntensityd("image", offsets=0.1, prob=0.5),
            RandGaussianSmoothd("image", prob=0.1),
            RandGaussianNoised("image", prob=0.1, std=0.03),
        ]
    )


def arm_transforms(arm: Arm, real: Sequence[Item], pool: Any, share: float) -> list[Any]:
    """Return what an arm does to a real item before the augmentation.

    Args:
        arm: the arm.
        real: the cohort, whose lesions are pasted.
        pool: of synthetic samples, None where the arm has none.
        share: probability of taking one.
    """
    steps: list[Any] = []
    if pool is not None:
        steps.append(RandPooledAbnormalityd("image", "label", pool, prob=share))
    if arm.copy_paste or arm.carve_mix:
        donors = LesionDonors([{"image": item.image, "label": item.label} for item in real])
        paste = RandLesionCopyPasted if arm.copy_paste else RandCarveMixd
        steps.append(paste("image", "label", donors, prob=PASTED))
    return steps


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Have MONAI's transforms give plain tensors: what MetaTensors keep costs three quarters of an augmentation."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def batches(
    items: Sequence[Item], transform: Callable[[Any], Any], *, size: int, seed: int
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield batches of images (size, C, *grid) and masks (size, 1, *grid) without end, from shuffled items.

    Args:
        items: the cohort.
        transform: takes a mapping with ``image`` and ``label``, and returns the same.
        size: items of a batch.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    while True:
        made: list[dict[str, Tensor]] = []
        while len(made) < size:
            if not waiting:
                waiting = rng.permutation(len(items)).tolist()
            item = items[waiting.pop()]
            made.append(transform({"image": item.image, "label": item.label}))
        yield torch.stack([one["image"] for one in made]).float(), torch.stack([one["label"] for one in made]).float()
