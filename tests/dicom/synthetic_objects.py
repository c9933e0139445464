"""Small made-up objects, marked as the push demands."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "SC": "1.2.840.10008.5.1.4.1.1.7", "MR": "1.2.840.10008.5.1.4.1.1.4"}


def uid(*parts: object) -> str:
    """Return the UID that belongs to some words."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big')}"


def make_object(kind: str = "CT", number: int = 1, key: str = "a", size: int = 16, seed: int = 0) -> Dataset:
    """Return one object: CT and MR 16 bit grey, SC colour.

    Args:
        kind: ``CT``, ``MR`` or ``SC``.
        number: InstanceNumber.
        key: names the study.
        size: rows and columns.
        seed: of the pixels.
    """
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.SOPClassUID = CLASSES[kind]
    one.SOPInstanceUID = uid(key, kind, number)
    one.StudyInstanceUID, one.SeriesInstanceUID = uid(key), uid(key, kind)
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SyntheticData = "YES"
    one.PatientName, one.PatientID = "SYNTHETIC^DIFFAUG", f"SYN-{key}"
    one.PatientBirthDate = one.PatientSex = one.AccessionNumber = ""
    one.StudyDate, one.StudyTime, one.StudyID = "20260101", "120000", "1"
    one.StudyDescription = "SYNTHETIC (AI) - not for clinical use"
    one.Modality = "OT" if kind == "SC" else kind
    one.SeriesNumber, one.InstanceNumber = 9001, number
    one.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    if kind == "SC":
        one.ConversionType = "SYN"
    equipment = Dataset()
    equipment.Manufacturer, equipment.ContributionDescription = "monai_diffaug", "toy"
    one.ContributingEquipmentSequence = [equipment]
    block = one.private_block(0x0099, "MONAI_DIFFAUG_TEST", create=True)
    block.add_new(1, "LO", "odd")
    _add_pixels(one, kind, size, np.random.default_rng([seed, number]))
    return one


def _add_pixels(one: Dataset, kind: str, size: int, draws: np.random.Generator) -> None:
    colour = kind == "SC"
    one.Rows = one.Columns = size
    one.BitsAllocated = one.BitsStored = 8 if colour else 16
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, 0
    one.SamplesPerPixel = 3 if colour else 1
    one.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        one.PlanarConfiguration = 0
        pixels = draws.integers(0, 256, (size, size, 3), dtype=np.uint8)
    else:
        one.PixelSpacing, one.SliceThickness = ["0.70", "0.7"], "2.50"
        one.ImagePositionPatient = ["0", "0", str(2.5 * int(one.InstanceNumber))]
        one.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        one.RescaleSlope, one.RescaleIntercept, one.FrameOfReferenceUID = "1.0", "-1024", uid("frame")
        pixels = draws.integers(0, 4096, (size, size), dtype=np.uint16)
    one.PixelData = pixels.tobytes()


def write_objects(folder: Path, objects: list[Dataset]) -> Path:
    """Write objects into a folder, one file each, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, one in enumerate(objects):
        one.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)
    return folder


def syntax_of(one: Dataset) -> UID:
    """Return the transfer syntax."""
    return UID(str(one.file_meta.TransferSyntaxUID))
