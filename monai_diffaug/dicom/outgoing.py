"""What is to be sent: the DICOM files of a folder, each checked to be marked as synthetic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from monai_diffaug.dicom.identity import PATIENT_NAME, PATIENT_PREFIX
from monai_diffaug.dicom.images import BadDicom
from monai_diffaug.dicom.object_files import read_object
from monai_diffaug.dicom.peers import Address

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class Outgoing:
    """One file that passed the checks.

    Args:
        path: the file.
        sha256: of its bytes.
        size: in bytes.
        address: study, series and instance.
        sop_class, syntax: SOP class and transfer syntax UIDs.
    """

    path: Path
    sha256: str
    size: int
    address: Address
    sop_class: str
    syntax: str

    def read(self) -> Dataset:
        """Return the dataset, if the file is still the one that was checked."""
        data = self.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise BadDicom(f"{self.path} changed after it was checked; start again")
        return read_object(data)


def find_outgoing(folder: Path) -> list[Outgoing]:
    """Return all DICOM files below a folder in order of series and instance, or refuse all of them if one is not right.

    Args:
        folder: holds files with the DICOM prefix, or named ``.dcm``; other files and hidden ones are not looked at.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give the one that the DICOM files lie in")
    found: dict[str, Outgoing] = {}
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue  # a sample that an export was stopped at
        if path.is_file() and (path.suffix.lower() == ".dcm" or _has_prefix(path)):
            one = _checked(path)
            other = found.setdefault(one.address.instance, one)
            if other.sha256 != one.sha256:
                raise BadDicom(f"{path} and {other.path} differ but have one SOPInstanceUID; export them again")
    if not found:
        raise BadDicom(f"{folder} holds no DICOM files")
    return sorted(found.values(), key=lambda one: (one.address.study, one.address.series, str(one.path)))


def missing_marks(dataset: Dataset) -> list[str]:
    """Return what is missing for a dataset to be plainly synthetic; nothing of what it holds is repeated.

    >>> marked = Dataset()
    >>> marked.SyntheticData, marked.PatientID, marked.PatientName = "YES", "SYN-1", "SYNTHETIC^DIFFAUG"
    >>> missing_marks(marked)
    []
    """
    marks = {
        "SyntheticData is not YES": dataset.get("SyntheticData") == "YES",
        f"PatientID does not begin with {PATIENT_PREFIX}": str(dataset.get("PatientID") or "").startswith(
            PATIENT_PREFIX
        ),
        f"PatientName is not {PATIENT_NAME}": str(dataset.get("PatientName") or "") == PATIENT_NAME,
    }
    return [what for what, marked in marks.items() if not marked]


def _checked(path: Path) -> Outgoing:
    """Return one file with what is needed to send it."""
    data = path.read_bytes()
    try:
        dataset = read_object(data)
        problems = missing_marks(dataset) + list(_problems(dataset))
    except Exception as error:  # pydicom raises all kinds of errors on damaged files
        raise BadDicom(f"{path} is not a whole DICOM file ({type(error).__name__}); nothing was sent") from None
    if problems:
        raise BadDicom(f"{path}: {'; '.join(problems)}. Only objects marked as synthetic are sent; nothing was sent")
    study, series, instance = (
        str(dataset[key].value) for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    )
    return Outgoing(
        path,
        hashlib.sha256(data).hexdigest(),
        len(data),
        Address(study, series, instance),
        str(dataset.SOPClassUID),
        str(dataset.file_meta.TransferSyntaxUID),
    )


def _problems(dataset: Dataset) -> Iterator[str]:
    """Yield what else stands against sending a dataset."""
    absent = [key for key in REQUIRED if not dataset.get(key)]
    meta = dataset.file_meta
    if absent or not meta.get("TransferSyntaxUID"):
        yield f"{', '.join(absent) or 'TransferSyntaxUID'} is missing"
    elif meta.get("MediaStorageSOPInstanceUID") != dataset.SOPInstanceUID:
        yield "MediaStorageSOPInstanceUID is not its SOPInstanceUID"
    elif "PixelData" not in dataset:
        yield "PixelData is missing: the file is cut short"
    elif not meta.TransferSyntaxUID.is_compressed:
        bits = int(dataset.BitsAllocated) * int(dataset.get("SamplesPerPixel", 1)) * int(dataset.Rows)
        needed = (bits * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1) + 7) // 8
        if len(dataset.PixelData) < needed and dataset.get("PhotometricInterpretation") != "YBR_FULL_422":
            yield f"PixelData has {len(dataset.PixelData)} bytes, {needed} are needed: the file is cut short"


def _has_prefix(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
