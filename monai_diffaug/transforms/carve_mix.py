"""CarveMix (Zhang et al., MICCAI 2021, arXiv 2108.06883): a region around a lesion, put into another image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends
from scipy import ndimage

from monai_diffaug.synthesis.blend import composite
from monai_diffaug.synthesis.resample import resample, resample_mask
from monai_diffaug.transforms.donors import LesionDonors
from monai_diffaug.transforms.pasting import edited


class RandCarveMix(RandomizableTransform):
    """Replace a region of image and label by that of a donor, with a probability: its lesion and what is around it.

    The region holds what is nearer to the lesion than a threshold: half of the time one drawn from 0 to the lesion's
    depth outwards, else from 0 to half of it inwards. It keeps its place; where the images differ in size, its place
    and size relative to them. Its edge is hard, as in the paper. ``image.meta["carve_mix"]`` tells ``applied`` and
    ``cells``, the pixels that were replaced.

    Args:
        donors: the lesions.
        prob: probability of trying.

    Example:
        >>> import torch
        >>> label = torch.zeros(1, 64, 64)
        >>> label[:, 20:30, 20:32] = 1
        >>> image = torch.full((1, 64, 64), 90.0) + 60 * label
        >>> transform = RandCarveMix(LesionDonors([{"image": image, "label": label}]), prob=1.0).set_random_state(0)
        >>> mixed, merged = transform(torch.full((1, 64, 64), 90.0))
        >>> mixed.meta["carve_mix"]["applied"], bool(merged.any())
        (True, True)
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(self, donors: LesionDonors, prob: float = 0.5) -> None:
        RandomizableTransform.__init__(self, prob)
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        self.donors = donors
        self._donor, self._outwards, self._share = 0, False, 0.0
        self._distances: dict[int, np.ndarray] = {}

    def randomize(self, data: Any = None) -> None:
        """Draw whether to try, the donor and the threshold; all always."""
        super().randomize(None)
        self._donor = int(self.R.randint(len(self.donors)))
        self._outwards = bool(self.R.random() < 0.5)
        self._share = float(self.R.random())

    def __call__(self, image: Any, label: Any = None, randomize: bool = True) -> tuple[Any, Any]:
        """Return image and label with a region of a donor.

        Args:
            image: (C, *spatial), values as the donors'.
            label: integer map of what is there, (*spatial) or (1, *spatial); made where none is given.
            randomize: False uses the last draw again.
        """
        if randomize:
            self.randomize()
        names = ("carve_mix", "cells")
        return edited(image, label, self.donors[0], self._mix, applied=self._do_transform, names=names)

    def _mix(self, values: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> int:
        """Put the region into image and label, in place; return its number of pixels."""
        donor, distance = self.donors[self._donor], self._distance(self._donor)
        depth = -float(distance.min())
        # lambda ~ U(-depth / 2, 0) / 2 + U(0, depth) / 2, as we remember the paper.
        threshold = self._share * depth if self._outwards else -0.5 * self._share * depth
        ratio = np.array(label.shape) / donor.shape
        low = np.rint(np.array(donor.origin) * ratio).astype(int)
        size = np.maximum(np.rint(np.array(donor.mask.shape) * ratio).astype(int), 1)
        low = np.minimum(low, np.array(label.shape) - np.minimum(size, label.shape))
        box = tuple(slice(a, a + n) for a, n in zip(low.tolist(), size.tolist(), strict=True))
        shape = label[box].shape
        region = _resized(distance <= threshold, shape)
        part = (slice(None), *box)
        carved = resample(torch.from_numpy(donor.image.astype(np.float32)), shape).numpy()
        values[part] = composite(values[part], carved, region.astype(np.float32))
        lesion = _resized(donor.mask, shape)
        label[box] = np.where(region, np.where(lesion, donor.value, 0), label[box])
        return int(region.sum())

    def _distance(self, index: int) -> np.ndarray:
        """Return the signed distance from a donor's lesion, negative inside, (*box), in pixels; found once."""
        if index not in self._distances:
            mask = self.donors[index].mask
            inside = ndimage.distance_transform_edt(np.pad(mask, 1))[(slice(1, -1),) * mask.ndim]
            self._distances[index] = (ndimage.distance_transform_edt(~mask) - inside).astype(np.float32)
        return self._distances[index]


def _resized(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if mask.shape == shape or not mask.any():
        return mask if mask.shape == shape else np.zeros(shape, bool)
    return resample_mask(torch.from_numpy(mask.astype(np.float32))[None], shape)[0].numpy() > 0


class RandCarveMixd(RandomizableTransform, MapTransform):
    """Dictionary form of ``RandCarveMix``.

    Args:
        keys: the one image key.
        label_key: key of the label to read and to merge into; made where it is missing.
        donors, prob: as for the array form.
        allow_missing_keys: whether a missing image key is left alone.

    Example:
        >>> import torch
        >>> item = {"image": torch.full((1, 48, 48), 90.0), "label": torch.zeros(1, 48, 48)}
        >>> item["label"][:, 10:20, 10:20] = 1
        >>> transform = RandCarveMixd("image", "label", LesionDonors([item]), prob=1.0).set_random_state(0)
        >>> bool(transform({"image": torch.full((1, 48, 48), 90.0)})["label"].any())
        True
    """

    backend = RandCarveMix.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        donors: LesionDonors,
        prob: float = 0.5,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is needed, got {list(self.keys)}; use one transform for each image")
        self.label_key, self.transform = label_key, RandCarveMix(donors, prob)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandCarveMixd:
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw for the image key; the array transform holds the draw."""
        self.transform.randomize()
        self._do_transform = self.transform._do_transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            item[key], item[self.label_key] = self.transform(item[key], item.get(self.label_key), randomize=False)
        return item


RandCarveMixD = RandCarveMixDict = RandCarveMixd
