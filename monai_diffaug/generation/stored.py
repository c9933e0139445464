"""What was read from a file, kept with all that is needed to write one like it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monai_diffaug.synthesis.labels import label_value


class BadInput(ValueError):
    """Say in one sentence which file cannot be used, what came, what was needed and what to do."""


@dataclass(frozen=True)
class PictureTemplate:
    """How to write a picture like the one that was read; the empty one writes plain greyscale or RGB.

    Args:
        bilevel: write one bit per pixel, as long as there is no more than one foreground value.
        palette: RGB bytes of an indexed picture.
        profile: ICC colour profile, without which colours would show differently.
    """

    bilevel: bool = False
    palette: bytes = b""
    profile: bytes = b""

    @property
    def suffix(self) -> str:
        """Pictures are always written as PNG: a JPEG would change every pixel."""
        return ".png"


@dataclass(frozen=True)
class VolumeTemplate:
    """How to write a volume like the one that was read.

    Args:
        suffix: that was read, `.nii` or `.nii.gz`.
        prefix: header and extensions as they were stored, every byte before the voxels.
        voxels: stored voxels (*spatial), only where the header scales them; else the array is what is stored.
        limits: the intensity range it was read with, which what is written must not leave by rounding.
    """

    suffix: str
    prefix: bytes
    voxels: np.ndarray | None = None
    limits: tuple[float, float] = (float("-inf"), float("inf"))


@dataclass(frozen=True)
class StoredImage:
    """An image as its file holds it.

    Args:
        array: stored values, (C, *spatial), native byte order; float32 where a NIfTI header scales them.
        spacing: size of a voxel along each axis in mm; None for pictures, which do not tell.
        template: how to write a file like it.
        notes: what was left out or converted, one sentence each, without the file's name.
    """

    array: np.ndarray
    spacing: tuple[float, ...] | None
    template: PictureTemplate | VolumeTemplate
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredLabel:
    """A label as its file holds it.

    Args:
        array: integer map (*spatial), in its stored dtype.
        template: how to write a file like it.
    """

    array: np.ndarray
    template: PictureTemplate | VolumeTemplate

    @property
    def binary(self) -> bool:
        """Whether it holds 0 and 255 alone, or is a bilevel picture, empty or not: its lesions are 255."""
        return getattr(self.template, "bilevel", False) or label_value(self.array, 1) == 255


def as_binary(label: StoredLabel) -> StoredLabel:
    """Return a binary picture to be written as a bilevel one, so that it stays binary when its lesions are gone."""
    if not label.binary or not isinstance(label.template, PictureTemplate):
        return label
    return replace(label, template=replace(label.template, bilevel=True))
