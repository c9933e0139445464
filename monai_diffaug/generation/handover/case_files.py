"""Put a case's image and label into a set: untouched where the format allows, else without loss."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_diffaug.generation.files import (
    BadInput,
    StoredImage,
    StoredLabel,
    read_label,
    read_stored,
    split_suffix,
    write_image,
    write_label,
)
from monai_diffaug.generation.handover.case_sets import SyntheticCase
from monai_diffaug.generation.handover.class_table import ClassTable
from monai_diffaug.generation.handover.real import RealCase
from monai_diffaug.generation.stored import PictureTemplate
from monai_diffaug.synthesis import ImageFormat

PICTURES = (".png", ".jpg", ".jpeg")
ANY_VALUES = ImageFormat(2, 1, (-1e38, 1e38))  # nothing is synthesized here, so any image will do


@dataclass(frozen=True)
class LoadedPair:
    """An image and its label in memory.

    Args:
        file: the image's.
        image: as it is stored.
        label: class values (*spatial), None where there is no label.
        like: how the label was stored.
    """

    file: Path
    image: StoredImage
    label: np.ndarray | None = None
    like: StoredLabel | None = None


def common_suffix(real: Sequence[RealCase], synthetic: Sequence[SyntheticCase]) -> str:
    """Return the one suffix that all images of a set get: ``.png``, ``.nii`` or ``.nii.gz``.

    Raises:
        BadInput: when there are pictures and volumes.
    """
    images = [*(case.image for case in real), *(case.image for case in synthetic)]
    pictures = [path for path in images if split_suffix(path.name)[1] in PICTURES]
    if pictures:
        if len(pictures) < len(images):
            volume = next(path for path in images if path not in pictures)
            raise BadInput(f"{pictures[0]} is a picture but {volume} is a volume; hand over sets of one kind")
        return ".png"
    return ".nii" if all(split_suffix(path.name)[1] == ".nii" for path in images) else ".nii.gz"


def load_pair(image: Path, label: Path | None, classes: ClassTable) -> LoadedPair:
    """Read an image and its label.

    Raises:
        BadInput: when a file cannot be used, they do not fit, or the label holds a value that no class has.
    """
    stored = read_stored(image, ANY_VALUES)
    if label is None:
        return LoadedPair(image, stored)
    like = read_label(label, stored.array.shape[1:], stored)
    return LoadedPair(image, stored, classes.plain(like.array, "/".join(label.parts[-2:])), like)


def put_image(pair: LoadedPair, to: Path, *, link: bool = False) -> None:
    """Put the image's file, byte for byte where its format may stay; a JPEG becomes a PNG of the same pixels.

    Args:
        pair: what was read.
        to: the new file.
        link: make a hard link in place of a copy.

    Raises:
        ValueError: when links cannot be made there.
    """
    # Palettes, one-bit pictures and opaque alpha channels, which readers take differently, come with a note.
    if split_suffix(pair.file.name)[1] != split_suffix(to.name)[1] or pair.image.notes:
        write_image(to, pair.image.array, pair.image)
    elif link:
        try:
            os.link(pair.file, to)
        except OSError as error:
            raise ValueError(f"{pair.file} cannot be linked ({error.strerror}); leave out --link to copy") from error
    else:
        shutil.copyfile(pair.file, to)


def put_label(label: np.ndarray, like: StoredImage | StoredLabel, to: Path) -> None:
    """Write class values, placed as ``like`` is; a picture is plain greyscale, whatever palette it had."""
    plain = PictureTemplate()
    picture = isinstance(like.template, PictureTemplate)
    write_label(to, label, StoredLabel(label, plain) if picture else like)
