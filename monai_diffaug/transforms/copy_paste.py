"""Soft copy-paste of real lesions, after TumorCP (Yang et al., MICCAI 2021, arXiv 2107.09843)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends
from scipy import ndimage
from torch import Tensor

from monai_diffaug.synthesis.blend import composite, feather
from monai_diffaug.synthesis.window import bounding_box
from monai_diffaug.transforms.donors import Donor, LesionDonors
from monai_diffaug.transforms.pasting import edited

PLACES = 48  # tries to find room for a lesion
LIT = 0.06  # share of the greatest value below which a pixel shows nothing


@dataclass(frozen=True)
class _Draw:
    """One lesion to paste: donor, scale, rotation with flips (dims, dims), contrast, places in [0, 1)."""

    donor: int
    scale: float
    rotation: np.ndarray
    contrast: float
    places: np.ndarray


class RandLesionCopyPaste(RandomizableTransform):
    """Paste real lesions into an image, with a probability: scaled, turned, flipped, with a soft edge.

    A lesion keeps clear of what is labelled and lies on lit background (or on ``organ`` values); where no place is
    found it is left out. Outside the soft edge not one bit changes. ``image.meta["copy_paste"]`` tells ``applied`` and
    ``pasted``, the number of lesions.

    Args:
        donors: the lesions.
        prob: probability of trying.
        count: least and greatest number of lesions.
        scale: least and greatest factor of their size, drawn log-uniformly.
        contrast: greatest relative change of a lesion's contrast around its mean.
        organ: label values in which a lesion may lie; empty means the background, label 0.

    Example:
        >>> import torch
        >>> label = torch.zeros(1, 64, 64)
        >>> label[:, 20:30, 20:32] = 1
        >>> image = torch.full((1, 64, 64), 90.0) + 60 * label
        >>> transform = RandLesionCopyPaste(LesionDonors([{"image": image, "label": label}]), prob=1.0)
        >>> pasted, merged = transform.set_random_state(0)(torch.full((1, 64, 64), 90.0))
        >>> pasted.meta["copy_paste"], merged.shape, bool(merged.any())
        ({'applied': True, 'pasted': 1}, torch.Size([1, 64, 64]), True)
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]

    def __init__(
        self,
        donors: LesionDonors,
        prob: float = 0.5,
        *,
        count: tuple[int, int] = (1, 1),
        scale: tuple[float, float] = (0.7, 1.4),
        contrast: float = 0.1,
        organ: Sequence[int] = (),
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        if not 0 <= prob <= 1 or not 1 <= count[0] <= count[1] or not 0 < scale[0] <= scale[1] or contrast < 0:
            raise ValueError(
                "prob must lie in [0, 1], count rise from 1, scale rise from above 0, contrast be 0 or more; "
                f"got {prob}, {tuple(count)}, {tuple(scale)}, {contrast}"
            )
        self.donors, self.count, self.scale, self.contrast = donors, count, scale, contrast
        self.organ = tuple(organ)
        self._draws: list[_Draw] = []
        self._cut: dict[int, Tensor] = {}

    def randomize(self, data: Any = None) -> None:
        """Draw whether to try, and every lesion; always all, so that the stream does not depend on the first."""
        super().randomize(None)
        many = int(self.R.randint(self.count[0], self.count[1] + 1))
        self._draws = [self._draw() for _ in range(many)]

    def _draw(self) -> _Draw:
        dims = self.donors[0].mask.ndim
        rotation = np.linalg.qr(self.R.normal(size=(dims, dims)))[0]  # flips too: both signs are as likely
        return _Draw(
            int(self.R.randint(len(self.donors))),
            float(np.exp(self.R.uniform(*np.log(self.scale)))),
            rotation,
            float(self.R.uniform(1 - self.contrast, 1 + self.contrast)),
            self.R.uniform(size=PLACES),
        )

    def __call__(self, image: Any, label: Any = None, randomize: bool = True) -> tuple[Any, Any]:
        """Return image and label with lesions pasted in.

        Args:
            image: (C, *spatial), values as the donors'.
            label: integer map of what is there, (*spatial) or (1, *spatial); made where none is given.
            randomize: False uses the last draw again.
        """
        if randomize:
            self.randomize()
        return edited(
            image,
            label,
            self.donors[0],
            self._paste_all,
            applied=self._do_transform,
            names=("copy_paste", "pasted"),
        )

    def _paste_all(self, values: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> int:
        return sum(self._paste(draw, values, label, spacing) for draw in self._draws)

    def _paste(self, draw: _Draw, values: np.ndarray, label: np.ndarray, spacing: Sequence[float]) -> bool:
        """Paste one lesion into image and label, in place; return whether there was room."""
        warped, alpha, mask = self._warped(draw, spacing)
        if not mask.any():
            return False
        low, high = bounding_box(mask)
        free = (np.isin(label, self.organ) if self.organ else label == 0) & _lit(values)
        start = _place(mask[_box(low, high)], free, draw.places)
        if start is None:
            return False
        # The soft edge may reach over the image's border, or over what is there: it is cut off.
        first = np.array(start) - low
        inside = _box(np.maximum(-first, 0), np.minimum(np.array(label.shape) - first, mask.shape))
        box = _box(np.maximum(first, 0), np.minimum(first + mask.shape, label.shape))
        mask, part = mask[inside], (slice(None), *box)
        alpha = np.where(free[box] | mask, alpha[inside], 0)
        values[part] = composite(values[part], warped[(slice(None), *inside)], alpha)
        label[box][mask] = self.donors[draw.donor].value
        return True

    def _warped(self, draw: _Draw, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a donor's values (C, *box), its alpha and its mask (*box), scaled and turned in mm."""
        donor = self.donors[draw.donor]
        channels = self._channels(draw.donor)
        half = np.array([n * s / 2 for n, s in zip(channels.shape[1:], donor.spacing, strict=True)])
        reach = draw.scale * np.abs(draw.rotation) @ half
        size = np.maximum(np.ceil(2 * reach / np.asarray(spacing)).astype(int), 1)
        # From the new box's axes to the donor's, both from -1 to 1; PyTorch names the last axis first.
        matrix = draw.rotation.T * (size * np.asarray(spacing) / 2) / draw.scale / half[:, None]
        theta = torch.from_numpy(np.pad(matrix[::-1, ::-1], ((0, 0), (0, 1))).astype(np.float32).copy())
        grid = F.affine_grid(theta[None], [1, 1, *size.tolist()], align_corners=False)
        *warped, alpha, mask = F.grid_sample(channels[None], grid, padding_mode="border", align_corners=False)[
            0
        ].numpy()
        inside = (grid[0].abs() <= 1).all(-1).numpy()
        values = np.stack(warped)
        mask = (mask >= 0.5) & inside
        middle = values[:, mask].mean(1) if mask.any() else values.reshape(len(values), -1).mean(1)
        middle = middle.reshape(-1, *[1] * mask.ndim)
        return middle + draw.contrast * (values - middle), np.where(mask, 1, alpha * inside), mask

    def _channels(self, index: int) -> Tensor:
        """Return a donor's values, alpha and mask as channels (C + 2, *box), float32; made once."""
        if index not in self._cut:
            donor = self.donors[index]
            near = _grown(donor)
            box = _box(*bounding_box(near))
            values = donor.image[(slice(None), *box)].astype(np.float32)
            mask = donor.mask[box]
            stacked = np.stack([*values, feather(mask, near[box]), mask.astype(np.float32)])
            self._cut[index] = torch.from_numpy(stacked)
        return self._cut[index]


def _grown(donor: Donor) -> np.ndarray:
    """Return a lesion with its soft edge: a tenth of its extent, 2 pixels at least, bool (*box)."""
    low, high = bounding_box(donor.mask)
    extent = float(np.max(high - low))
    return ndimage.distance_transform_edt(~donor.mask) <= max(2.0, 0.1 * extent)


def _lit(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return values.max(0) > low + LIT * (high - low) if high > low else np.ones(values.shape[1:], bool)


def _place(mask: np.ndarray, free: np.ndarray, places: np.ndarray) -> list[int] | None:
    """Return where a mask's box begins so that the mask lies on free pixels alone, or None where no place is such."""
    candidates = np.flatnonzero(free)
    if not candidates.size or any(a > b for a, b in zip(mask.shape, free.shape, strict=True)):
        return None
    for place in places:
        centre = np.unravel_index(candidates[int(place * candidates.size)], free.shape)
        start = [int(c) - n // 2 for c, n in zip(centre, mask.shape, strict=True)]
        box = tuple(slice(s, s + n) for s, n in zip(start, mask.shape, strict=True))
        if min(start) >= 0 and free[box].shape == mask.shape and free[box][mask].all():
            return start
    return None


def _box(low: np.ndarray, high: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


class RandLesionCopyPasted(RandomizableTransform, MapTransform):
    """Dictionary form of ``RandLesionCopyPaste``.

    Args:
        keys: the one image key.
        label_key: key of the label to read and to merge into; made where it is missing.
        donors, prob, count, scale, organ: as for the array form.
        allow_missing_keys: whether a missing image key is left alone.

    Example:
        >>> import torch
        >>> item = {"image": torch.full((1, 48, 48), 90.0), "label": torch.zeros(1, 48, 48)}
        >>> item["label"][:, 10:20, 10:20] = 1
        >>> transform = RandLesionCopyPasted("image", "label", LesionDonors([item]), prob=1.0).set_random_state(0)
        >>> bool(transform({"image": torch.full((1, 48, 48), 90.0)})["label"].any())
        True
    """

    backend = RandLesionCopyPaste.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str,
        donors: LesionDonors,
        prob: float = 0.5,
        *,
        count: tuple[int, int] = (1, 1),
        scale: tuple[float, float] = (0.7, 1.4),
        organ: Sequence[int] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is needed, got {list(self.keys)}; use one transform for each image")
        self.label_key = label_key
        self.transform = RandLesionCopyPaste(donors, prob, count=count, scale=scale, organ=organ)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandLesionCopyPasted:
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


RandLesionCopyPasteD = RandLesionCopyPasteDict = RandLesionCopyPasted
