"""Build the synthetic images of a sample: fresh datasets, never edited copies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    VLEndoscopicImageStorage,
)

from monai_diffaug.dicom.images import BadDicom, DicomImage, Plane
from monai_diffaug.dicom.marks import IMAGE_SERIES, Sample, mark_derived, mark_patient_and_study, mark_synthetic
from monai_diffaug.dicom.whitelist import carried, copy_of, target_class

IMPLEMENTATION = UID("2.25.214297463480463417361270113047146046821")
LOSSY_METHODS = {  # transfer syntax -> defined term of Lossy Image Compression Method
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}


def derived_images(image: DicomImage, stored: np.ndarray, sample: Sample) -> list[Dataset]:
    """Return one object a plane, in the order of the planes, without compression.

    Args:
        image: the source.
        stored: stored numbers to write, shape and dtype of ``image.stored``.
        sample: what is told.

    Raises:
        BadDicom: as ``check_kind``.
    """
    kind = target_class(image.planes[0].header)
    check_kind(image)
    return [_plane(plane, image.plane_pixels(stored, k), k + 1, kind, sample) for k, plane in enumerate(image.planes)]


def check_kind(image: DicomImage) -> None:
    """Raise BadDicom for a volume that is neither CT nor MR: no other object here tells where its slices lie."""
    header = image.planes[0].header
    if len(image.planes) > 1 and target_class(header) not in (CTImageStorage, MRImageStorage):
        raise BadDicom(
            f"series {image.series_uid} is a volume of {header.SOPClassUID.name}; only CT and MR volumes can be "
            "exported: take it frame by frame"
        )


def _plane(plane: Plane, pixels: np.ndarray, number: int, kind: UID, sample: Sample) -> Dataset:
    dataset = carried(plane.header, kind)
    mark_patient_and_study(dataset, sample)
    mark_synthetic(dataset, sample, "SYNTHETIC image" if sample.synthetic else "De-identified source image")
    source = sample.site.uid("source", plane.sop_uid, str(plane.frame))
    if sample.synthetic:
        mark_derived(dataset, sample, plane.header.SOPClassUID, source)
    dataset.SOPClassUID = kind
    dataset.SOPInstanceUID = sample.uid("image", str(number))
    dataset.SeriesInstanceUID = sample.uid("images")
    dataset.SeriesNumber, dataset.InstanceNumber = IMAGE_SERIES, number
    dataset.SeriesDate, dataset.SeriesTime = dataset.StudyDate, dataset.StudyTime
    dataset.AcquisitionNumber = None
    dataset.PatientOrientation = ""
    copy_of(plane.header, dataset, "PatientOrientation")
    if "BodyPartExamined" not in dataset:
        dataset.Laterality = ""
    _OWN[kind](dataset, plane, sample)
    _write_pixels(dataset, pixels)
    _tell_lossy(dataset, plane)
    _tell_file(dataset)
    return dataset


def _image_type(plane: Plane, words: tuple[str, ...] = (), other: str = "") -> list[str]:
    """Return DERIVED, SECONDARY and, where its object has them, the source's third value if it is a known one."""
    values = list(plane.header.get("ImageType") or [])
    told = values[2] if len(values) > 2 and values[2] in words else other
    return ["DERIVED", "SECONDARY", *([told] if told else [])]


def _in_space(dataset: Dataset, plane: Plane, sample: Sample) -> None:
    dataset.FrameOfReferenceUID = sample.uid("frame of reference")
    for name in ("PositionReferenceIndicator", "PatientPosition"):
        if name not in dataset:
            setattr(dataset, name, "")
    dataset.SliceThickness = dataset.get("SliceThickness", None)


def _ct(dataset: Dataset, plane: Plane, sample: Sample) -> None:
    _in_space(dataset, plane, sample)
    dataset.Modality, dataset.ImageType = "CT", _image_type(plane, ("AXIAL", "LOCALIZER"), "AXIAL")
    dataset.RescaleSlope, dataset.RescaleIntercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    dataset.KVP = dataset.get("KVP", None)


def _mr(dataset: Dataset, plane: Plane, sample: Sample) -> None:
    _in_space(dataset, plane, sample)
    dataset.Modality, dataset.ImageType = "MR", _image_type(plane, ("M", "P", "R", "I", "OTHER"), "OTHER")
    dataset.ScanningSequence = dataset.get("ScanningSequence") or "RM"
    dataset.SequenceVariant = dataset.get("SequenceVariant") or "NONE"
    for name in ("ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime", "EchoTrainLength"):
        setattr(dataset, name, dataset.get(name, None))
    if "IR" in dataset.ScanningSequence:
        dataset.InversionTime = dataset.get("InversionTime", None)
    elif "InversionTime" in dataset:
        del dataset.InversionTime


def _cr(dataset: Dataset, plane: Plane, sample: Sample) -> None:
    dataset.Modality, dataset.ImageType = "CR", _image_type(plane)
    dataset.BodyPartExamined = dataset.get("BodyPartExamined", "")
    dataset.ViewPosition = dataset.get("ViewPosition", "")


def _endoscopy(dataset: Dataset, plane: Plane, sample: Sample) -> None:
    dataset.Modality, dataset.ImageType = "ES", _image_type(plane)
    dataset.AcquisitionContextSequence = []
    dataset.PatientOrientation = ""


def _capture(dataset: Dataset, plane: Plane, sample: Sample) -> None:
    dataset.Modality, dataset.ImageType = "OT", _image_type(plane)
    copy_of(plane.header, dataset, "Modality")
    dataset.ConversionType = "SYN" if sample.synthetic else "WSD"


_OWN = {
    CTImageStorage: _ct,
    MRImageStorage: _mr,
    ComputedRadiographyImageStorage: _cr,
    VLEndoscopicImageStorage: _endoscopy,
    SecondaryCaptureImageStorage: _capture,
}


def _write_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Write pixels without compression; colour as RGB by pixel."""
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    if pixels.shape[2:]:  # colour
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 7, 0
    elif "PlanarConfiguration" in dataset:
        del dataset.PlanarConfiguration
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    data = np.ascontiguousarray(pixels).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OW" if dataset.BitsAllocated > 8 else "OB"


def _tell_lossy(dataset: Dataset, plane: Plane) -> None:
    """Write that pixels were once compressed with loss, if the source or its transfer syntax says so: 01 stays 01."""
    syntax = str(getattr(plane.header, "file_meta", Dataset()).get("TransferSyntaxUID", ""))
    once = str(dataset.get("LossyImageCompression", "")) == "01"
    if not once and syntax not in LOSSY_METHODS:
        return
    dataset.LossyImageCompression = "01"
    if not dataset.get("LossyImageCompressionRatio"):
        raw = len(dataset.PixelData) * int(plane.header.get("NumberOfFrames") or 1)
        dataset.LossyImageCompressionRatio = f"{max(raw / plane.path.stat().st_size, 1):.2f}"
    if not dataset.get("LossyImageCompressionMethod"):
        dataset.LossyImageCompressionMethod = LOSSY_METHODS.get(syntax, "ISO_10918_1")


def _tell_file(dataset: Dataset) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, IMPLEMENTATION
    dataset.file_meta = meta


def window_of(datasets: Sequence[Dataset]) -> tuple[float, float] | None:
    """Return a display window (low, high) in modality values that the first dataset tells, or None."""
    centre, width = (datasets[0].get(name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return None
    middle, wide = (float(np.ravel(value)[0]) for value in (centre, width))
    return (middle - wide / 2, middle + wide / 2) if wide > 0 and math.isfinite(middle) else None
