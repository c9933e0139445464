"""Read and write images, labels and masks so that not one stored bit changes but where something was painted.

The suffix picks a family of formats, the only choice made here: `pictures` (PNG, JPEG) or `volumes` (NIfTI).
MONAI's own readers are not used: they lose the stored dtype, the scaling and half of the header.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from monai_diffaug.generation import pictures, volumes
from monai_diffaug.generation.stored import BadInput, StoredImage, StoredLabel, VolumeTemplate
from monai_diffaug.synthesis import ImageFormat

__all__ = [
    "BadInput",
    "StoredImage",
    "StoredLabel",
    "SUFFIXES",
    "split_suffix",
    "output_suffix",
    "read_image",
    "read_stored",
    "read_label",
    "read_map",
    "quantiser",
    "write_image",
    "write_label",
    "write_mask",
    "atomic_write",
]


class Family(Protocol):
    """Formats that are read and written alike, from and to bytes."""

    def decode_image(self, data: bytes, suffix: str, images: ImageFormat) -> StoredImage: ...
    def decode_map(self, data: bytes, suffix: str) -> StoredLabel: ...
    def encode_image(self, array: np.ndarray, suffix: str, source: StoredImage) -> bytes: ...
    def encode_label(self, array: np.ndarray, suffix: str, template: Any) -> bytes: ...
    def encode_mask(self, mask: np.ndarray, suffix: str, template: Any) -> bytes: ...


FAMILIES: dict[str, Family] = {
    ".png": pictures,
    ".jpg": pictures,
    ".jpeg": pictures,
    ".nii": volumes,
    ".nii.gz": volumes,
}
SUFFIXES = tuple(FAMILIES)  # that are read
WRITTEN = (".png", ".nii", ".nii.gz")  # never JPEG: it would change every pixel


def split_suffix(name: str) -> tuple[str, str]:
    """Return a file name's stem and its suffix in lower case; `.nii.gz` is one suffix.

    Example:
        >>> split_suffix("scan.v2.NII.GZ"), split_suffix("frame.tif")
        (('scan.v2', '.nii.gz'), ('frame', '.tif'))
    """
    stem, suffix = os.path.splitext(name)
    if suffix.lower() == ".gz":
        stem, inner = os.path.splitext(stem)
        suffix = inner + suffix
    return stem, suffix.lower()


def output_suffix(stored: StoredImage | StoredLabel) -> str:
    """Return the suffix of what is written after it: `.png` for pictures, its own for volumes."""
    return stored.template.suffix


def read_image(path: Path, images: ImageFormat) -> StoredImage:
    """Read an image as it is stored.

    Args:
        path: a PNG, JPEG or NIfTI file.
        images: what the bundle takes.

    Raises:
        BadInput: when the file cannot be used; one sentence that names it and the remedy.
    """
    stored = read_stored(path, images)
    with _naming("image", path):
        images.check(stored.array)
    return stored


def read_stored(path: Path, images: ImageFormat) -> StoredImage:
    """Read an image whatever its values and shape are; raises as ``read_image`` when it cannot be decoded."""
    with _naming("image", path):
        suffix = _suffix(path)
        return FAMILIES[suffix].decode_image(_content(path), suffix, images)


def read_label(path: Path, spatial: Sequence[int], image: StoredImage | None = None) -> StoredLabel:
    """Read a label as an integer map in its stored dtype; a bilevel picture gives 0 and 255.

    Args:
        path: a PNG or NIfTI file, or a JPEG of 0 and 255 only.
        spatial: shape of the image that it belongs to.
        image: that image, where the label must lie in the same place (affine of a volume).

    Raises:
        BadInput: when the file cannot be used, is of another shape or place, or holds values that are not whole.
    """
    with _naming("label", path):
        label = _read_map(path, spatial, image)
        if label.array.dtype.kind == "f" and (label.array != np.rint(label.array)).any():
            raise BadInput("it holds values that are not whole numbers; save the label as integers")
    return label


def read_map(path: Path, spatial: Sequence[int], image: StoredImage | None = None) -> np.ndarray:
    """Read where something is allowed, bool (*spatial): wherever the file is not zero; raises as `read_label`."""
    with _naming("regions", path):
        return _read_map(path, spatial, image).array != 0


def write_image(path: Path, array: np.ndarray, source: StoredImage) -> None:
    """Write an image like its source: PNG for pictures; NIfTI with the same header, dtype, byte order and scaling.

    Args:
        path: a name with ``output_suffix(source)``.
        array: (C, *spatial), shape and dtype of ``source.array``.
        source: what was read.

    Raises:
        ValueError: when shape, dtype or suffix do not fit the source.
        OSError: when the file cannot be written; then nothing is left behind.
    """
    if array.shape != source.array.shape or array.dtype != source.array.dtype:
        raise ValueError(
            f"array is {array.dtype} {array.shape} but the source is {source.array.dtype} {source.array.shape}; "
            "they must be equal"
        )
    family, suffix = _writer(path, source)
    atomic_write(path, family.encode_image(array, suffix, source))


def write_label(path: Path, array: np.ndarray, like: StoredImage | StoredLabel) -> None:
    """Write an integer map, (*spatial) or (1, *spatial), in its own dtype; raises as ``write_image``.

    Args:
        path: a name with ``output_suffix(like)``; a volume may be `.nii` or `.nii.gz`, whatever ``like`` was.
        array: the map.
        like: the label that was read, or the image where there was none; gives header, affine, palette.
    """
    family, suffix = _writer(path, like)
    atomic_write(path, family.encode_label(array, suffix, like.template))


def write_mask(path: Path, mask: np.ndarray, like: StoredImage | StoredLabel) -> None:
    """Write a mask, (*spatial) or (1, *spatial), placed as ``like`` is: PNG of 0 and 255, or uint8 NIfTI of 0 and 1."""
    family, suffix = _writer(path, like)
    atomic_write(path, family.encode_mask(mask, suffix, like.template))


def atomic_write(path: Path, data: bytes) -> None:
    """Write a file that is there as a whole or not at all, even if the process is killed half-way.

    Raises:
        OSError: when it cannot be written (disk full...); then nothing is left behind.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Force a folder's names to the disk, where the system can: else a power cut may undo the renaming."""
    with contextlib.suppress(OSError):
        place = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(place)
        finally:
            os.close(place)


@contextlib.contextmanager
def _naming(kind: str, path: Path) -> Iterator[None]:
    """Put the file's kind and name before every complaint about it; its folder is enough to tell files apart."""
    name = f"{kind} {'/'.join(path.parts[-2:])}"
    try:
        yield
    except (ValueError, TypeError) as error:
        raise BadInput(f"{name}: {error}") from error
    except MemoryError as error:
        raise BadInput(f"{name}: it does not fit into memory; crop it or use a larger machine") from error


def _suffix(path: Path) -> str:
    suffix = split_suffix(path.name)[1]
    if suffix not in FAMILIES:
        raise BadInput(f"its suffix {suffix!r} is none of {', '.join(SUFFIXES)}; convert it first")
    return suffix


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # a named pipe would block for ever
            raise BadInput("it is not a regular file; give a file")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"it cannot be opened ({error.strerror}); check the path and its permissions") from error
    if not data:
        raise BadInput("it is empty (0 bytes); get it anew or leave it out")
    return data


def quantiser(image: StoredImage) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what rounds values to those that the image's file can hold; None where its dtype holds any."""
    return volumes.quantiser(image.template) if isinstance(image.template, VolumeTemplate) else None


def _read_map(path: Path, spatial: Sequence[int], image: StoredImage | None) -> StoredLabel:
    suffix = _suffix(path)
    label = FAMILIES[suffix].decode_map(_content(path), suffix)
    if label.array.shape != tuple(spatial):
        raise BadInput(f"it has shape {label.array.shape} but its image has {tuple(spatial)}; they must be equal")
    if label.array.dtype.kind == "f" and not np.isfinite(label.array).all():
        raise BadInput("it holds NaN or infinite values; replace them first")
    if image is not None and isinstance(image.template, VolumeTemplate) and isinstance(label.template, VolumeTemplate):
        volumes.check_place(label.template, image.template, spatial)
    return label


def _writer(path: Path, like: StoredImage | StoredLabel) -> tuple[Family, str]:
    """Return what writes ``path``, and its suffix."""
    suffix, family = split_suffix(path.name)[1], FAMILIES[like.template.suffix]
    if suffix not in WRITTEN or FAMILIES[suffix] is not family:
        raise ValueError(f"{path} has suffix {suffix!r}, but what is written needs {like.template.suffix}; rename it")
    return family, suffix
