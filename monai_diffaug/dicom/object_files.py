"""DICOM files as bytes: read without touching what is in them, written whole or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset


def read_object(data: bytes) -> Dataset:
    """Return the dataset of the bytes of a DICOM file, with its file meta information."""
    return dcmread(BytesIO(data))


def read_address(data: bytes) -> tuple[str, str, str]:
    """Return the UIDs of study, series and instance of the bytes of a DICOM file."""
    tags = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
    head = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=list(tags))
    study, series, instance = (str(head.get(tag) or "") for tag in tags)
    return study, series, instance


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is whole and on disk when it has its name; an existing file is never replaced.

    Args:
        path: the new file, in an existing folder.
        data: its bytes.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # fails where the name is taken, a rename would not
    except FileExistsError:
        raise FileExistsError(f"{path} exists and is not overwritten") from None
    finally:
        part.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Return when the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
