"""What transforms that change image and label by hand have in common: arrays out of tensors, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import get_track_meta
from monai.utils import convert_to_tensor

from monai_diffaug.metatensors import described, image_spacing, plain, rewrap
from monai_diffaug.transforms.donors import Donor, check_fits

Edit = Callable[[np.ndarray, np.ndarray, Sequence[float]], int]
"""``edit(values, label, spacing)`` changes values (C, *spatial) and label (*spatial) in place, and returns a number."""


def edited(
    image: Any, label: Any, donor: Donor, edit: Edit, *, applied: bool, names: tuple[str, str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return copies of image and label that were edited, in the types that MONAI's transforms give.

    Args:
        image: (C, *spatial), array or tensor.
        label: integer map, (*spatial) or (1, *spatial); an empty one is made where there is none.
        donor: of whose kind the image must be.
        edit: see ``Edit``.
        applied: False leaves both as they are.
        names: key of the image's metadata, and what the number is called there beside ``applied``.

    Raises:
        ValueError: when the image is of another kind than the donor.
    """
    spacing = image_spacing(image) or (1.0,) * (image.ndim - 1)  # first: without metadata the affine is dropped
    image = convert_to_tensor(image, track_meta=get_track_meta())
    check_fits(donor, image)
    if label is None:
        label = rewrap(torch.zeros(1, *image.shape[1:], dtype=torch.uint8, device=image.device), image)
    label = convert_to_tensor(label, track_meta=get_track_meta())
    key, number = names
    if not applied:
        return described(image, {"applied": False, number: 0}, key=key), label
    values, merged = (plain(one).numpy(force=True).copy() for one in (image, label))
    # A view of the label: what is written there is written to it.
    told = {"applied": True, number: int(edit(values, merged.reshape(values.shape[1:]), spacing))}
    made = rewrap(torch.from_numpy(values).to(image.device), image)
    return described(made, told, key=key), rewrap(torch.from_numpy(merged).to(label.device), label)
