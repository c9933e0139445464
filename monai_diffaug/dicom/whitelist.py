"""Which attributes of a source are carried over, by the kind of object; whatever is not named here stays behind."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
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

CODED: dict[str, frozenset[str]] = {
    "BodyPartExamined": frozenset("COLON ABDOMEN CHEST HEAD BRAIN SKIN BREAST PELVIS LEG THIGH".split()),
    "FilterType": frozenset("WEDGE BUTTERFLY MULTIPLE STRIP FLAT NONE".split()),
    "LossyImageCompression": frozenset(("00", "01")),
    "LossyImageCompressionMethod": frozenset(
        "ISO_10918_1 ISO_14495_1 ISO_15444_1 ISO_15444_15 ISO_18181_1 ISO_13818_2 ISO_14496_10 ISO_23008_2".split()
    ),
    "Modality": frozenset(
        "AR BI CR CT DG DMS DX EPS ES GM HD IO IVOCT IVUS KER LEN LS MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OT "
        "PT PX RF RG RTIMAGE SM TG US VA XA XC".split()
    ),
    "MRAcquisitionType": frozenset(("2D", "3D")),
    "PatientOrientation": frozenset("".join(one) for count in range(4) for one in product("APRLHF", repeat=count)),
    "PatientPosition": frozenset(
        "HFP HFS HFDR HFDL FFP FFS FFDR FFDL LFP LFS RFP RFS AFP AFS AFDR AFDL PFP PFS PFDR PFDL".split()
    ),
    "PhotometricInterpretation": frozenset(
        ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
    ),
    "PixelIntensityRelationship": frozenset(("LIN", "LOG", "DISP", "OTHER")),
    "PixelSpacingCalibrationType": frozenset(("GEOMETRY", "FIDUCIAL")),
    "PositionReferenceIndicator": frozenset(("SN", "OM", "IC", "XY", "XIPHOID", "STERNAL NOTCH")),
    "PresentationIntentType": frozenset(("FOR PRESENTATION", "FOR PROCESSING")),
    "RescaleType": frozenset("HU HU_MOD US OD MGML Z_EFF ED EDW PCT".split()),
    "ScanningSequence": frozenset("SE IR GR EP RM".split()),
    "ScanOptions": frozenset("PER RG CG PPG FC PFF PFP SP FS".split()),
    "SequenceVariant": frozenset("SK MTC SS TRSS SP MP OSP NONE".split()),
    "ViewPosition": frozenset("AP PA LL RL RLD LLD RLO LLO".split()),
    "VOILUTFunction": frozenset(("LINEAR", "LINEAR_EXACT", "SIGMOID")),
}
"""Attributes of words: copied where they hold these and no other, since a person or a tool may have typed anything."""


SINGLE = {EnhancedCTImageStorage: CTImageStorage, EnhancedMRImageStorage: MRImageStorage}
"""Multi-frame objects whose frames are stored one by one."""

IMAGE_TYPES = ("DERIVED", "SECONDARY", "AXIAL", "LOCALIZER", "OTHER", "M", "P", "R", "I")
"""Words that may stand in Image Type."""


def target_class(source: Dataset) -> UID:
    """Return what a synthetic image of a source is stored as: its own kind where that is known, else a capture."""
    own = SINGLE.get(UID(source.SOPClassUID), UID(source.SOPClassUID))
    return own if own in KEPT else SecondaryCaptureImageStorage


def carried(source: Dataset, kind: UID) -> Dataset:
    """Return a new dataset with the attributes that are carried over, and no other."""
    kept = Dataset()
    for name in (*KEPT[kind], "BodyPartExamined"):
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
    """Copy one attribute by value, where the source has it, it can be read and, of words, holds known ones alone."""
    if name not in source:
        return
    try:
        element = source[name]
        values = element.value if element.VM > 1 else [element.value or ""]
        if name not in CODED or all(str(value) in CODED[name] for value in values if value):
            setattr(target, name, element.value)
    except (TypeError, ValueError):  # a text where a number belongs; the error would repeat it
        return


def kept_texts(datasets: Iterable[Dataset]) -> set[str]:
    """Return the texts that are carried over on purpose: a search for leaks must not count them."""
    texts = {"PRIMARY", *IMAGE_TYPES}
    for dataset in datasets:
        for element in neutral_header(dataset):
            values = element.value if element.VM > 1 else [element.value]
            texts.update(str(value) for value in values)
    return texts
