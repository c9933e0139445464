"""DICOM SEG and RTSTRUCT -> an integer map in the grid of an image; what belongs to another series is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from monai_diffaug.dicom.contours import Contours
from monai_diffaug.dicom.grouping import RTSTRUCT, SEG, DicomFile, list_folder
from monai_diffaug.dicom.images import BadDicom, DicomImage
from monai_diffaug.dicom.segments import Segments

__all__ = ["LabelMap", "Outlined", "read_label", "open_label", "label_on"]


@dataclass(frozen=True)
class LabelMap:
    """A label for an image.

    Args:
        array: integer map (*spatial), uint8 or uint16, in the grid of the image.
        values: what is labelled, by name.
        notes: what is to be known, one sentence each.
    """

    array: np.ndarray
    values: dict[str, int]
    notes: tuple[str, ...] = ()


class Outlined(Protocol):
    """What outlines structures on images: SEG or RTSTRUCT."""

    file: DicomFile

    @property
    def names(self) -> dict[str, int]:
        """Names of the structures, with the numbers that the object gives them."""
        ...

    def belongs_to(self, image: DicomImage) -> bool: ...

    def lies_with(self, image: DicomImage) -> bool: ...

    def mask(self, image: DicomImage, name: str) -> np.ndarray: ...


def read_label(
    source: str | Path, image: DicomImage, values: Mapping[str, int] | None = None, *, by_position: bool = False
) -> LabelMap:
    """Read the structures of a SEG or RTSTRUCT as a label of an image.

    Args:
        source: the file.
        image: whose grid is filled.
        values: label value of each structure that is wanted, by segment label or ROI name; without it, segments keep
            their numbers and a single ROI becomes 1.
        by_position: take what was drawn on another series too, if it lies in the image's frame of reference.

    Raises:
        BadDicom: when the file is none, refers to another series, lies elsewhere, or has no structure of these names.
    """
    labels = list_folder(source).labels
    if len(labels) != 1:
        raise BadDicom(f"{source} holds {len(labels)} SEG or RTSTRUCT objects where one is needed; give its file")
    return label_on(open_label(labels[0]), image, values, by_position=by_position)


def open_label(file: DicomFile) -> Outlined:
    """Return the structures of a file, to be drawn on any number of images.

    Raises:
        BadDicom: when they cannot be read.
    """
    kind = str(file.header.get("SOPClassUID", ""))
    with _damage_told(file):
        if kind == RTSTRUCT:
            return Contours(file)
        if kind in SEG:
            return Segments(file)
    raise BadDicom(f"{file.name} is neither a DICOM SEG nor an RTSTRUCT; give one of them")


@contextmanager
def _damage_told(file: DicomFile) -> Iterator[None]:
    """Raise BadDicom where an object lacks an attribute, or holds one of another type, that it must have."""
    try:
        yield
    except BadDicom:
        raise
    except (AttributeError, TypeError, ValueError, LookupError) as error:
        raise BadDicom(
            f"{file.name} is damaged: an attribute is missing or of a wrong type ({type(error).__name__}); get it anew"
        ) from error


def label_on(
    outlined: Outlined, image: DicomImage, values: Mapping[str, int] | None = None, *, by_position: bool = False
) -> LabelMap:
    """Return the label of an image; later values paint over earlier ones. Errors are those of ``read_label``."""
    if not (outlined.belongs_to(image) or (by_position and outlined.lies_with(image))):
        elsewhere = "and lies in another frame of reference; give the label of this series"
        remedy = "give the label of this series, or take it by its position (by_position)"
        raise BadDicom(
            f"{outlined.file.name} refers to another series than {image.series_uid}"
            + (f"; {remedy}" if outlined.lies_with(image) else f" {elsewhere}")
        )
    chosen = _chosen(outlined, values)
    most = max(chosen.values())
    if min(chosen.values()) < 1 or most > 65535:
        raise BadDicom(f"label values {sorted(chosen.values())} do not lie between 1 and 65535; give others")
    array = np.zeros(image.stored.shape[1:], np.uint8 if most < 256 else np.uint16)
    lost = 0
    for name, value in chosen.items():
        with _damage_told(outlined.file):
            mask = outlined.mask(image, name)
        lost += int(((array != 0) & (array != value) & mask).sum())
        array[mask] = value
    notes = (f"{outlined.file.name}: structures overlap in {lost} voxels, where the last one counts",) if lost else ()
    return LabelMap(array, chosen, notes)


def _chosen(outlined: Outlined, values: Mapping[str, int] | None) -> dict[str, int]:
    """Return the structures to draw and their values."""
    there = outlined.names
    if not there:
        raise BadDicom(f"{outlined.file.name} outlines no structure; leave it out")
    if values is None:
        if isinstance(outlined, Contours) and len(there) > 1:
            raise BadDicom(
                f"{outlined.file.name} outlines {', '.join(there)}; tell the label value of each that is wanted "
                "(NAME=VALUE)"
            )
        return {name: 1 for name in there} if isinstance(outlined, Contours) else dict(there)
    chosen = {name: value for wanted, value in values.items() for name in there if name.lower() == wanted.lower()}
    if not chosen:
        raise BadDicom(
            f"{outlined.file.name} outlines {', '.join(there)}, but not {', '.join(values)}; give names that it has"
        )
    return chosen
