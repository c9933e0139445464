"""Which attributes of a source are carried over, by the kind of object; whatever is not named here stays behind."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    VLEndoscopicImageStorage,
)

PIXELS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelAspectRatio", "ICCProfile"),
)
LOSSY = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
GREY = (
    *("RescaleIntercept", "RescaleSlope", "RescaleType", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationIntentType"),
    *("PixelSpacing", "ImagerPixelSpacing", "PixelSpacingCalibrationType"),
)
PLACE = (
    *("ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "SpacingBetweenSlices", "SliceLocation"),
    *("PatientPosition", "PositionReferenceIndicator"),
)
CT = ("KVP", "GantryDetectorTilt", "ReconstructionDiameter", "XRayTubeCurrent", "Exposure", "FilterType")
MR = (
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime"),
    *("EchoTrainLength", "InversionTime", "FlipAngle", "MagneticFieldStrength", "ImagingFrequency", "NumberOfAverages"),
)
CR = ("ViewPosition", "PixelIntensityRelationship", "PixelIntensityRelationshipSign")

KEPT: dict[UID, tuple[str, ...]] = {
    CTImageStorage: (*PIXELS, *LOSSY, *GREY, *PLACE, *CT),
    MRImageStorage: (*PIXELS, *LOSSY, *GREY, *PLACE, *MR),
    ComputedRadiographyImageStorage: (*PIXELS, *LOSSY, *GREY, *CR),
    VLEndoscopicImageStorage: (*PIXELS, *LOSSY),
    SecondaryCaptureImageStorage: (*PIXELS, *LOSSY, *GREY),
}
"""Object -> attributes that are copied as they are. Anything else becomes a secondary capture."""

CODED = {"BodyPartExamined": ("COLON", "ABDOMEN", "CHEST", "HEAD", "BRAIN", "SKIN", "BREAST", "PELVIS", "LEG", "THIGH")}
"""Attributes that are copied if they hold one of these words."""


IMAGE_TYPES = ("DERIVED", "SECONDARY", "AXIAL", "LOCALIZER", "OTHER", "M", "P", "R", "I")
"""Words that may stand in Image Type."""


def target_class(source: Dataset) -> UID:
    """Return what a synthetic image of a source is stored as: its own kind where that is known, else a capture."""
    own = UID(source.SOPClassUID)
    return own if own in KEPT else SecondaryCaptureImageStorage


def carried(source: Dataset, kind: UID) -> Dataset:
    """Return a new dataset with the attributes that are carried over, and no other."""
    kept = Dataset()
    for name in KEPT[kind]:
        copy_of(source, kept, name)
    for name, words in CODED.items():
        if source.get(name) in words:
            copy_of(source, kept, name)
    return kept


def neutral_header(source: Dataset) -> Dataset:
    """Return a header that names nobody: what is carried over, and what a new object is chosen by."""
    header = carried(source, target_class(source))
    for name in ("SOPClassUID", "Modality", "PatientOrientation", "NumberOfFrames"):
        copy_of(source, header, name)
    if "ImageType" in source:
        header.ImageType = [word if word in IMAGE_TYPES else "OTHER" for word in source.ImageType]
    header.SOPInstanceUID = header.SeriesInstanceUID = "2.25.1"
    if hasattr(source, "file_meta"):
        header.file_meta = source.file_meta
    return header


def copy_of(source: Dataset, target: Dataset, name: str) -> None:
    """Copy one attribute by value, where the source has it."""
    element = source.get_item(name) if name in source else None
    if element is not None:
        setattr(target, name, source[name].value)


def kept_texts(datasets: Iterable[Dataset]) -> set[str]:
    """Return the texts that are carried over on purpose: a search for leaks must not count them."""
    texts = {"PRIMARY", *IMAGE_TYPES}
    for dataset in datasets:
        for element in neutral_header(dataset):
            values = element.value if element.VM > 1 else [element.value]
            texts.update(str(value) for value in values)
    return texts
