"""Which files of a folder make up which series: headers only, nothing is decoded; what is left out is told."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from monai_diffaug.dicom.images import BadDicom

SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "Modality",
          "ImageType", "SyntheticData", "PhotometricInterpretation", "ImagePositionPatient",
          "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID", "RescaleSlope", "RescaleIntercept",
          "PixelPaddingValue", "PixelPaddingRangeLimit", "LossyImageCompression")  # fmt: skip
WHOLE = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit",
         "PixelRepresentation", "InstanceNumber")  # fmt: skip
"""What is read of a header later, and what of it must be a whole number."""
TOLD = 8  # series that an error lists
DICOMDIR = "1.2.840.10008.1.3.10"
NO_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.481.2": "an RT Dose is no image of a patient",
    "1.2.840.10008.5.1.4.1.1.30": "a Parametric Map is no image of a patient",
    "1.2.840.10008.5.1.4.1.1.66.3": "a Surface Segmentation has no pixels",
    "1.2.840.10008.5.1.4.1.1.77.1.6": "a whole slide image is tiled; cut out the field to use as a picture",
}


@dataclass(frozen=True)
class DicomFile:
    """A file and its dataset without pixels."""

    path: Path
    header: Dataset

    @property
    def name(self) -> str:
        """How to speak of it: its folder is enough to tell files apart."""
        return "/".join(self.path.parts[-2:])


@dataclass(frozen=True)
class Series:
    """The files of one series of images, or of one SEG or RTSTRUCT object.

    Args:
        uid: SeriesInstanceUID.
        files: in the order of their names.
        notes: what was left out of it, one sentence each.
    """

    uid: str
    files: tuple[DicomFile, ...]
    notes: tuple[str, ...] = ()

    @property
    def modality(self) -> str:
        return str(self.files[0].header.get("Modality", "") or "no modality")

    @property
    def patient(self) -> str:
        """What tells patients apart; never to be shown."""
        header = self.files[0].header
        return str(header.get("PatientID", "") or header.get("StudyInstanceUID", "") or self.uid)

    @property
    def described(self) -> str:
        """UID, modality and counts: nothing that could name a patient."""
        frames = sum(int(one.header.get("NumberOfFrames", 1) or 1) for one in self.files)
        return f"{self.uid} ({self.modality}, {len(self.files)} files, {frames} frames)"


@dataclass(frozen=True)
class Listing:
    """What lies in a folder.

    Args:
        series: of images, in the order of their first files.
        labels: SEG and RTSTRUCT objects, one file each.
        skipped: files that are neither, with the reason.
    """

    series: tuple[Series, ...] = ()
    labels: tuple[DicomFile, ...] = ()
    skipped: tuple[tuple[Path, str], ...] = ()

    def choose(self, uid: str | None = None) -> Series:
        """Return the series of that UID, or the only one.

        Raises:
            BadDicom: when there is none, or several and no UID tells which.
        """
        if not self.series:
            reasons = sorted({reason for _, reason in self.skipped})
            told = f" ({'; '.join(reasons[:4])})" if reasons else ""
            raise BadDicom(f"there is no DICOM image among {len(self.skipped)} files{told}; give a folder of a series")
        told = "; ".join(one.described for one in self.series[:TOLD])
        told += f"; and {len(self.series) - TOLD} more" if len(self.series) > TOLD else ""
        if uid is not None:
            if found := [one for one in self.series if one.uid == uid]:
                return found[0]
            raise BadDicom(f"there is no series {uid} of images here, but {told}; give one of these")
        if len(self.series) > 1:
            raise BadDicom(f"there are {len(self.series)} series where one is needed: {told}; choose one by its UID")
        return self.series[0]


@dataclass
class _Sorting:
    """Where headers go while files are read."""

    series: dict[str, list[DicomFile]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    labels: list[DicomFile] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def take(self, path: Path) -> None:
        header, reason = _header(path)
        if header is None:
            self.skipped.append((path, reason))
            return
        file = DicomFile(path, header)
        if str(header.get("SOPClassUID", "")) in (*SEG, RTSTRUCT):
            self.labels.append(file)
        elif reason := _no_image(header):
            self.skipped.append((path, reason))
            if reason == LOCALIZER:
                self.notes.setdefault(str(header.SeriesInstanceUID), []).append(f"{file.name} left out: {reason}")
        else:
            self.series.setdefault(str(header.SeriesInstanceUID), []).append(file)


LOCALIZER = "a localizer, which is no slice of the series"


def list_folder(source: str | Path | Sequence[str | Path]) -> Listing:
    """Return what lies in a folder and those below it, or in a list of files.

    Args:
        source: a folder, a file or files; hidden files are passed over.

    Raises:
        BadDicom: when a path does not exist.
    """
    sorting = _Sorting()
    for path in _paths(source):
        sorting.take(path)
    series = tuple(
        Series(uid, tuple(files), tuple(sorting.notes.get(uid, ()))) for uid, files in sorting.series.items()
    )
    return Listing(series, tuple(sorting.labels), tuple(sorting.skipped))


def _paths(source: str | Path | Sequence[str | Path]) -> Iterator[Path]:
    given: Iterable[str | Path] = [source] if isinstance(source, str | os.PathLike) else source
    for one in map(Path, given):
        if one.is_dir():
            yield from _walk(one)
        elif one.exists():
            yield one
        else:
            raise BadDicom(f"{one} does not exist; give a folder of DICOM files, or files")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in sorted order; links to folders are not followed, hidden ones passed over."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _header(path: Path) -> tuple[Dataset | None, str]:
    """Return the dataset without pixels, or None and the reason."""
    if not path.is_file():
        return None, "no regular file"
    if not path.stat().st_size:
        return None, "an empty file (0 bytes)"
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        # Elements are decoded on first use: what cannot be is to show here, not later.
        for name in NEEDED:
            header.get(name)
        for name in WHOLE:
            int(header.get(name) or 0)
        return _mended(header, path), ""
    except InvalidDicomError:
        return None, "no DICOM file"
    except OSError as error:
        return None, f"cannot be opened ({error.strerror or error})"
    except Exception as error:  # pydicom raises all kinds of errors on damaged headers
        return None, f"a damaged DICOM header ({type(error).__name__})"


def _mended(header: Dataset, path: Path) -> Dataset:
    """Return a header whose identifiers, where some tool has emptied them, come from the file's own head.

    Files of one folder and frame of reference then count as one series.
    """
    for name, other in (("SOPClassUID", "MediaStorageSOPClassUID"), ("SOPInstanceUID", "MediaStorageSOPInstanceUID")):
        if not header.get(name) and header.file_meta.get(other):
            setattr(header, name, header.file_meta[other].value)
    if header.get("Rows") and not header.get("SeriesInstanceUID"):
        parts = [str(header.get(name, "")) for name in ("StudyInstanceUID", "FrameOfReferenceUID", "Modality")]
        digest = hashlib.sha256("|".join([*parts, str(path.parent.resolve())]).encode()).digest()
        header.SeriesInstanceUID = f"2.25.{int.from_bytes(digest[:16], 'big')}"
    return header


def _no_image(header: Dataset) -> str:
    """Return why an object is no image to paint in, or an empty text."""
    kind = str(header.get("SOPClassUID", ""))
    if kind == DICOMDIR:
        return "a DICOMDIR"
    if kind in NO_PICTURES:
        return NO_PICTURES[kind]
    if not header.get("Rows") or not header.get("Columns"):
        return f"no image but {UID(kind).name or 'an object without SOPClassUID'}"
    if not header.get("SOPInstanceUID"):
        return "an image without SOPInstanceUID"
    kinds = header.get("ImageType") or ()
    return LOCALIZER if "LOCALIZER" in ([kinds] if isinstance(kinds, str) else list(kinds))[2:] else ""
