"""Enhanced multi-frame objects: what their functional groups tell of a frame, as a single-frame header has it."""

from __future__ import annotations

from pydicom.dataset import Dataset

from monai_diffaug.dicom.grouping import DicomFile
from monai_diffaug.dicom.pixels import frames_of

TOLD = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth"),
    "SegmentIdentificationSequence": ("ReferencedSegmentNumber",),
}
"""What is taken from each functional group."""


def is_enhanced(header: Dataset) -> bool:
    """Whether its frames are described by functional groups."""
    return bool(header.get("PerFrameFunctionalGroupsSequence"))


def unpacked(file: DicomFile) -> list[tuple[DicomFile, int, Dataset]]:
    """Return each frame of a file with its number and a header that tells of this frame alone."""
    count = frames_of(file.header)
    if not is_enhanced(file.header):
        return [(file, frame, file.header) for frame in range(count)]
    groups = file.header.PerFrameFunctionalGroupsSequence
    shared = (file.header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    plain = Dataset({tag: element for tag, element in file.header.items() if tag.group != 0x5200})
    plain.file_meta = file.header.file_meta
    return [
        (file, frame, _of_frame(plain, shared, groups[frame] if frame < len(groups) else Dataset()))
        for frame in range(count)
    ]


def _of_frame(plain: Dataset, shared: Dataset, own: Dataset) -> Dataset:
    header = Dataset(dict(plain.items()))
    header.file_meta = plain.file_meta
    for group, names in TOLD.items():
        items = own.get(group) or shared.get(group)
        for name in names if items else ():
            if name in items[0]:
                setattr(header, name, items[0][name].value)
    return header
