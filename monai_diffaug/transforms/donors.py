"""Real lesions to be put into other images, cut out of labelled cases once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from monai_diffaug.metatensors import image_spacing, plain


@dataclass(frozen=True)
class Donor:
    """One connected lesion with its surroundings.

    Args:
        image: stored values, (C, *box).
        mask: the lesion, bool (*box).
        origin: first index of the box on each axis of its image.
        shape: spatial shape of its image.
        spacing: size of a pixel on each axis in mm, 1 where unknown.
        value: its label value.
    """

    image: np.ndarray
    mask: np.ndarray
    origin: tuple[int, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    value: int


class LesionDonors:
    """Cut every lesion out of labelled cases, with as much around it as it is deep.

    Args:
        cases: mappings with ``image`` (C, *spatial), ``label`` (*spatial) or (1, *spatial), and ``spacing`` where it is
            known; arrays, tensors or MetaTensors, whose affine tells the spacing.
        ignored: label values that are no lesion (organs, protected structures).
        least: lesions with fewer pixels are left out.

    Raises:
        ValueError: when a case is not of this form, or no lesion is found.

    Example:
        >>> image, label = np.zeros((1, 40, 40), np.uint8), np.zeros((40, 40), np.uint8)
        >>> label[10:16, 20:28] = 2
        >>> donors = LesionDonors([{"image": image, "label": label}])
        >>> len(donors), donors[0].value, donors[0].mask.shape
        (1, 2, (14, 16))
    """

    def __init__(self, cases: Sequence[Mapping[str, Any]], *, ignored: Sequence[int] = (), least: int = 12) -> None:
        self.donors = tuple(one for number, case in enumerate(cases) for one in _cut(number, case, ignored, least))
        if not self.donors:
            raise ValueError(
                f"none of {len(cases)} cases has a lesion of {least} pixels or more in its label; give labelled lesions"
            )
        if len({one.image.shape[0] for one in self.donors}) > 1 or len({one.mask.ndim for one in self.donors}) > 1:
            raise ValueError("the cases differ in their number of channels or dimensions; give cases of one kind")

    def __len__(self) -> int:
        return len(self.donors)

    def __getitem__(self, index: int) -> Donor:
        return self.donors[index]


def check_fits(donor: Donor, image: torch.Tensor) -> None:
    """Raise ValueError where an image (C, *spatial) is of another kind than the donors."""
    if image.shape[0] != donor.image.shape[0] or image.ndim != donor.mask.ndim + 1:
        raise ValueError(
            f"image has shape {tuple(image.shape)}, but the donors have {donor.image.shape[0]} channels and "
            f"{donor.mask.ndim} dimensions; give donors of the same kind of images"
        )


def _cut(number: int, case: Mapping[str, Any], ignored: Sequence[int], least: int) -> Iterator[Donor]:
    image, label = (np.asarray(plain(case.get(key))) for key in ("image", "label"))
    if image.ndim < 3 or label.shape not in (image.shape[1:], (1, *image.shape[1:])):
        raise ValueError(
            f"case {number} has an image of shape {image.shape} and a label of {label.shape}; "
            "an image (C, *spatial) and a label (*spatial) are needed"
        )
    spacing = case.get("spacing") or image_spacing(case["image"]) or (1.0,) * (image.ndim - 1)
    label = label.reshape(image.shape[1:])
    for value in np.unique(label).tolist():
        if value == 0 or value in ignored:
            continue
        parts, _ = ndimage.label(label == value)
        for index, box in enumerate(ndimage.find_objects(parts), start=1):
            mask = parts[box] == index
            if mask.sum() >= least:
                yield _donor(image, parts, index, box, tuple(map(float, spacing)), int(value))


def _donor(
    image: np.ndarray,
    parts: np.ndarray,
    index: int,
    box: tuple[slice, ...],
    spacing: tuple[float, ...],
    value: int,
) -> Donor:
    depth = float(ndimage.distance_transform_edt(np.pad(parts[box] == index, 1)).max())
    extent = max(side.stop - side.start for side in box)
    reach = int(np.ceil(max(depth, 0.1 * extent, 2))) + 1
    around = tuple(
        slice(max(side.start - reach, 0), min(side.stop + reach, n)) for side, n in zip(box, parts.shape, strict=True)
    )
    origin = tuple(side.start for side in around)
    patch, mask = image[(slice(None), *around)].copy(), parts[around] == index
    return Donor(patch, mask, origin, parts.shape, spacing, value)
