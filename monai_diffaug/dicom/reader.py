"""DICOM series -> images for a synthesizer: strict, so that nothing is made up; the one door to what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from monai_diffaug.dicom.enhanced import is_enhanced, unpacked
from monai_diffaug.dicom.geometry import Place, grid_of, has_geometry, place_of, split_places
from monai_diffaug.dicom.grouping import DicomFile, Series, list_folder
from monai_diffaug.dicom.images import BadDicom, DicomImage, Plane
from monai_diffaug.dicom.pixels import (
    check_frames,
    check_pixels,
    check_range,
    check_size,
    decode,
    frames_of,
    is_colour,
    plane_of,
)

__all__ = ["read_series"]

VOLUMES = ("CT", "MR", "PT", "NM")


def read_series(
    source: str | Path | Sequence[str | Path] | Series,
    *,
    series: str | None = None,
    frames: bool = False,
    split: bool = False,
    synthetic: bool = False,
) -> list[DicomImage]:
    """Read a series: the slices of a CT, MR or PET as one volume, everything else frame by frame.

    Args:
        source: a folder, a file, files, or a series of ``list_folder``.
        series: SeriesInstanceUID, where there are several.
        frames: read slices frame by frame too, whatever their geometry is.
        split: read slices of several orientations, pixel spacings or sizes as an image for each.
        synthetic: read what is marked as synthetic data too.

    Raises:
        BadDicom: when it cannot be used; one sentence that names the file or series, and the remedy.
    """
    chosen = source if isinstance(source, Series) else list_folder(source).choose(series)
    if not synthetic:
        _refuse_synthetic(chosen)
    files, notes = _without_copies(chosen)
    for file in files:
        check_pixels(file)
    flat = [unpacked(one) for one in files]
    if frames or not _is_volume(files):
        return _frames(flat, notes)
    singles = [one for group in flat for one in group]
    places = [place_of(header, _name(file, frame, len(flat))) for file, frame, header in singles]
    if not has_geometry(places):
        return _frames(flat, (*notes, "it has no geometry: its slices are read as frames"))
    groups = split_places(places) if split else [list(range(len(places)))]
    images = []
    for group in groups:
        if len(group) == 1:
            images += _frames([[singles[group[0]]]], (*notes, "a single slice is read as a frame"))
        else:
            images.append(_volume([singles[index] for index in group], [places[index] for index in group], notes))
    return images


Single = tuple[DicomFile, int, Dataset]
"""A frame: its file, its number in it, and a header of its own."""


def _name(file: DicomFile, frame: int, files: int) -> str:
    return file.name if frames_of(file.header) == 1 else f"{file.name} frame {frame}"


def _is_volume(files: Sequence[DicomFile]) -> bool:
    """Whether files are slices: grey, of a tomograph, one frame each or enhanced."""
    return all(
        str(one.header.get("Modality", "")) in VOLUMES
        and not is_colour(one.header)
        and (frames_of(one.header) == 1 or is_enhanced(one.header))
        for one in files
    )


def _refuse_synthetic(series: Series) -> None:
    for file in series.files:
        if str(file.header.get("SyntheticData", "")).upper() == "YES":
            raise BadDicom(
                f"{file.name} is marked as synthetic data (0008,001C); take the real series, or allow it (synthetic)"
            )


def _without_copies(series: Series) -> tuple[list[DicomFile], tuple[str, ...]]:
    """Return the files without second copies of an instance, and what was left out.

    Raises:
        BadDicom: when two files of one SOPInstanceUID differ.
    """
    kept: dict[str, DicomFile] = {}
    notes = list(series.notes)
    for file in series.files:
        first = kept.setdefault(str(file.header.SOPInstanceUID), file)
        if first is file:
            continue
        if not _equal(first, file):
            raise BadDicom(
                f"{first.name} and {file.name} have the same SOPInstanceUID but differ; find out which is right and "
                "leave out the other"
            )
        notes.append(f"{file.name} left out: a copy of {first.name}")
    return list(kept.values()), tuple(notes)


def _equal(one: DicomFile, other: DicomFile) -> bool:
    geometry = ("Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
                "RescaleSlope", "RescaleIntercept", "PhotometricInterpretation", "NumberOfFrames")  # fmt: skip
    if any(one.header.get(name) != other.header.get(name) for name in geometry):
        return False
    return np.array_equal(decode(one), decode(other))


def _frames(flat: Sequence[Sequence[Single]], notes: tuple[str, ...]) -> list[DicomImage]:
    """Return one image a frame, files in the order of their instance numbers."""
    images = []
    check_frames([group[0][0] for group in flat])
    for group in sorted(flat, key=_number):
        file = group[0][0]
        arrays = decode(file)
        if str(file.header.PhotometricInterpretation) == "PALETTE COLOR":
            notes = (*notes, f"{file.name}: palette converted to RGB")
        for _, frame, header in group:
            plane = replace(plane_of(DicomFile(file.path, header), frame), header=header)
            images.append(
                DicomImage(_channels_first(arrays[frame], plane, file), (plane,), notes=tuple(dict.fromkeys(notes)))
            )
    return images


def _number(group: Sequence[Single]) -> tuple[int, str]:
    header = group[0][2]
    try:
        return int(header.get("InstanceNumber") or 0), str(group[0][0].path)
    except (TypeError, ValueError):
        return 0, str(group[0][0].path)


def _channels_first(array: np.ndarray, plane: Plane, file: DicomFile) -> np.ndarray:
    if is_colour(plane.header):
        return np.ascontiguousarray(np.moveaxis(array, -1, 0))
    check_range(array, plane, file.name)
    return array[None]


def _volume(singles: Sequence[Single], places: Sequence[Place], notes: tuple[str, ...]) -> DicomImage:
    """Return slices as one volume, (1, columns, rows, slices)."""
    grid = grid_of(places)
    rows, columns = places[0].size
    check_size(rows * columns * len(singles), f"the series of {singles[0][0].name}")
    ordered = [singles[index] for index in grid.order]
    planes = tuple(plane_of(DicomFile(file.path, header), frame) for file, frame, header in ordered)
    kinds = {(plane.header.PixelRepresentation, plane.header.BitsAllocated) for plane in planes}
    if len(kinds) > 1:
        raise BadDicom(
            f"the slices of the series of {singles[0][0].name} differ in PixelRepresentation or BitsAllocated; "
            "convert them to one kind"
        )
    return DicomImage(_stacked(ordered, planes, (columns, rows)), planes, grid.affine, grid.spacing, notes)


def _stacked(ordered: Sequence[Single], planes: Sequence[Plane], size: tuple[int, int]) -> np.ndarray:
    decoded: tuple[Path | None, np.ndarray] = (None, np.empty(0))
    stored: np.ndarray | None = None
    for index, ((file, frame, _), plane) in enumerate(zip(ordered, planes, strict=True)):
        if decoded[0] != file.path:
            decoded = (file.path, decode(file))
        array = decoded[1][frame]
        check_range(array, plane, file.name)
        if stored is None:
            stored = np.empty((1, *size, len(planes)), array.dtype)
        if array.dtype != stored.dtype:
            raise BadDicom(f"{file.name} decodes to {array.dtype}, other slices to {stored.dtype}; get it anew")
        stored[0, :, :, index] = array.T
    return stored  # type: ignore[return-value]
