"""DICOM objects made from formulas, for tests of reading, writing and transfer; their texts are made-up personal data.

Each builder returns datasets in memory, to be changed by a test and written with ``write``. ``SECRETS`` are all texts
and identifiers that must appear in nothing that is derived from them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

CT, MR, CR, DX = (f"1.2.840.10008.5.1.4.1.1.{one}" for one in ("2", "4", "1", "1.1"))
US_FRAMES, ENDOSCOPY, CAPTURE = (f"1.2.840.10008.5.1.4.1.1.{one}" for one in ("3.1", "77.1.1", "7"))
RTSTRUCT, BASIC_SR = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.88.11"
ROOT = "1.2.826.0.1.3680043.10.999"

PERSONAL = {
    "PatientName": "Zyxwvut^Quirina",
    "PatientID": "PID-4711-ZYX",
    "PatientBirthDate": "19480229",
    "PatientAddress": "Hollow Lane 7, Nowherton",
    "OtherPatientIDs": "ALT-815-ZYX",
    "ReferringPhysicianName": "Refersworth^Otto",
    "PerformingPhysicianName": "Performa^Ilse",
    "OperatorsName": "Operandis^Uwe",
    "InstitutionName": "Saint Fictive Hospital",
    "InstitutionAddress": "Fiction Road 1, Nowherton",
    "StationName": "STATION-ZYX",
    "AccessionNumber": "ACC-90210-ZYX",
    "StudyID": "STID-ZYX",
    "StudyDescription": "Study of Quirina Zyxwvut",
    "SeriesDescription": "Series of Quirina Zyxwvut",
    "ProtocolName": "Protocol Quirina Zyxwvut",
    "ImageComments": "Comment on Quirina Zyxwvut",
    "PatientComments": "Quirina Zyxwvut called twice",
    "DeviceSerialNumber": "SERIAL-ZYX-1",
    "RequestedProcedureDescription": "Procedure for Quirina Zyxwvut",
}
STUDY_DATE = "20190314"
SECRETS = (*PERSONAL.values(), STUDY_DATE, "Private Quirina Zyxwvut", ROOT)


def ct_hu(seed: int = 0, *, shape: tuple[int, int, int] = (64, 48, 12)) -> np.ndarray:
    """Return whole HU (rows, columns, slices), different in each slice and along each axis."""
    rng = np.random.default_rng(seed)
    rows, columns, slices = np.indices(shape)
    return (3 * rows - 2 * columns + 37 * slices - 200 + rng.integers(-40, 40, shape)).astype(np.int16)


def lesion(shape: tuple[int, int, int] = (64, 48, 12)) -> np.ndarray:
    """Return an off-centre ellipsoid, bool (rows, columns, slices), in four of twelve slices."""
    rows, columns, slices = np.indices(shape)
    return ((rows - 40) / 9.0) ** 2 + ((columns - 17) / 6.0) ** 2 + ((slices - 5.5) / 2.4) ** 2 <= 1


def ct_series(number: int = 1, *, seed: int = 0, tilt: float = 0.0, slices: int = 12) -> list[Dataset]:
    """Return an oblique CT: 48 columns of 0.8 mm, 64 rows of 0.6 mm, 12 slices of 2.5 mm; tilt in mm a slice."""
    angle, hu = np.deg2rad(20), ct_hu(seed, shape=(64, 48, slices))
    across, down = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    tip = np.deg2rad(10)
    down = np.cos(tip) * down + np.sin(tip) * np.array([0, 0, -1.0])
    normal, series = np.cross(across, down), []
    for k in range(hu.shape[2]):
        one = _image(CT, "CT", number, k + 1, (hu[:, :, k] + 1024).astype(np.uint16), bits=12)
        one.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "1", "-1024", "HU"
        one.KVP, one.ConvolutionKernel, one.PatientPosition = "120", "B30f", "HFS"
        _place(one, np.array([-20.0, -15.0, 30.0]) + k * (2.5 * normal + tilt * down), (across, down), (0.6, 0.8))
        one.SliceThickness = "2.5"
        series.append(one)
    return series


def mr_series(number: int = 2, *, seed: int = 1) -> list[Dataset]:
    """Return a sagittal MR, signed, with a fractional slope: 40 columns of 1.1 mm, 32 rows of 0.9, 10 slices of 3."""
    slices = []
    for k in range(10):
        stored = ct_hu(seed, shape=(32, 40, 10))[:, :, k].astype(np.int16) + 400
        one = _image(MR, "MR", number, k + 1, stored, bits=16)
        one.ImageType = ["ORIGINAL", "PRIMARY", "M"]
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = "0.5", "10", "US"
        one.ScanningSequence, one.SequenceVariant, one.ScanOptions, one.MRAcquisitionType = "SE", "NONE", "", "2D"
        one.EchoTime, one.RepetitionTime, one.EchoTrainLength, one.PatientPosition = "15", "500", "1", "HFS"
        position, directions = np.array([-12.0 + 3 * k, -22.0, 14.0]), (np.array([0.0, 1, 0]), np.array([0.0, 0, -1]))
        _place(one, position, directions, (0.9, 1.1))
        one.SliceThickness = "3"
        slices.append(one)
    return slices


def projection(kind: str = CR, number: int = 3, *, inverted: bool = False) -> Dataset:
    """Return a CR or DX of 12 bits, 30 rows and 20 columns."""
    stored = (40 * np.arange(30)[:, None] + 100 * np.arange(20)).astype(np.uint16)
    one = _image(kind, "CR" if kind == CR else "DX", number, 1, stored, bits=12)
    one.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    one.ImageType = ["ORIGINAL", "PRIMARY"]
    one.BodyPartExamined, one.ViewPosition, one.PatientOrientation = "CHEST", "PA", ["L", "F"]
    return one


def picture(seed: int = 0, size: tuple[int, int] = (36, 50)) -> np.ndarray:
    """Return a smooth RGB picture (rows, columns, 3), which lossy compression changes little."""
    rows, columns = np.indices(size)
    channels = [120 + 2 * rows, 90 + columns + 3 * seed, 40 + rows + columns]
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def endoscopy(number: int = 4, instance: int = 1, *, jpeg: bool = False) -> Dataset:
    """Return a VL Endoscopic image, raw or JPEG baseline."""
    one = _image(ENDOSCOPY, "ES", number, instance, picture(instance), bits=8)
    one.ImageType, one.PatientOrientation, one.LossyImageCompression = ["ORIGINAL", "PRIMARY"], "", "00"
    if jpeg:
        file = io.BytesIO()
        Image.fromarray(picture(instance)).save(file, "JPEG", quality=95, subsampling="4:2:2")
        compress(one, [file.getvalue()], JPEGBaseline8Bit, photometric="YBR_FULL_422")
        one.LossyImageCompression, one.LossyImageCompressionRatio = "01", "8"
        one.LossyImageCompressionMethod = "ISO_10918_1"
    return one


def ultrasound(number: int = 5, *, frames: int = 3) -> Dataset:
    """Return a multi-frame RGB ultrasound, colour by plane."""
    stack = np.stack([picture(seed) for seed in range(frames)])
    one = _image(US_FRAMES, "US", number, 1, stack[0], bits=8)
    one.NumberOfFrames, one.PlanarConfiguration, one.FrameTime = str(frames), 1, "40"
    one.FrameIncrementPointer = 0x00181063
    one.ImageType = ["ORIGINAL", "PRIMARY", "", "0001"]
    one.PixelData = np.moveaxis(stack, -1, 1).tobytes()
    return one


def capture(number: int = 6, *, colour: bool = True) -> Dataset:
    """Return a secondary capture, RGB or grey of 8 bits."""
    pixels = picture(7) if colour else picture(7)[..., 0]
    one = _image(CAPTURE, "OT", number, 1, pixels, bits=8)
    one.ImageType, one.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
    return one


def report() -> Dataset:
    """Return a text report, which is no image."""
    one = _head(BASIC_SR, "SR", 9, 1)
    one.ValueType, one.ContinuityOfContent, one.CompletionFlag = "CONTAINER", "SEPARATE", "COMPLETE"
    return one


def seg_of(sources: Sequence[Dataset], mask: np.ndarray, *, label: str = "Lesion", number: int = 7) -> Dataset:
    """Return a binary SEG of a mask, (rows, columns, slices), or (rows, columns) of one source, by highdicom."""
    frames = np.moveaxis(mask.reshape(*mask.shape[:2], -1), -1, 0).astype(np.uint8)
    description = hd.seg.SegmentDescription(
        segment_number=1, segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )  # fmt: skip
    return hd.seg.Segmentation(
        source_images=list(sources), pixel_array=frames,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY, segment_descriptions=[description],
        series_instance_uid=f"{ROOT}.1.{number}", series_number=number, sop_instance_uid=f"{ROOT}.1.{number}.1",
        instance_number=1, manufacturer="Made-up", manufacturer_model_name="Phantom", software_versions="1",
        device_serial_number="1",
    )  # fmt: skip


def rtstruct_of(
    sources: Sequence[Dataset], rois: dict[str, dict[int, list[np.ndarray]]], *, number: int = 8
) -> Dataset:
    """Return an RTSTRUCT.

    Args:
        sources: the slices.
        rois: for each name and slice (index of a source) closed contours, (N, 2) places (column, row).
    """
    one = _head(RTSTRUCT, "RTSTRUCT", number, 1)
    one.StructureSetLabel = "PHANTOM"
    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = Items([_reference(source) for source in sources])
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", one.StudyInstanceUID
    study.RTReferencedSeriesSequence = Items([series])
    frame = Dataset()
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = Items([study])
    one.ReferencedFrameOfReferenceSequence = Items([frame])
    one.StructureSetROISequence, one.ROIContourSequence = Items(), Items()
    for roi, (name, slices) in enumerate(rois.items(), start=1):
        item, drawn = Dataset(), Dataset()
        item.ROINumber, item.ROIName, item.ROIGenerationAlgorithm = roi, name, "MANUAL"
        item.ReferencedFrameOfReferenceUID = frame.FrameOfReferenceUID
        drawn.ReferencedROINumber = roi
        drawn.ContourSequence = Items([_contour(sources[k], corners) for k, all_ in slices.items() for corners in all_])
        one.StructureSetROISequence.append(item)
        one.ROIContourSequence.append(drawn)
    return one


def write(datasets: Dataset | Sequence[Dataset], folder: Path, *, stem: str = "") -> list[Path]:
    """Write datasets into a folder, in an order of names that is not the order of slices, and return the paths."""
    datasets = [datasets] if isinstance(datasets, Dataset) else datasets
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, one in enumerate(datasets):
        name = stem or f"{one.Modality.lower()}{one.get('SeriesNumber')}"
        paths.append(folder / f"{name}_{(index * 7) % 97:02d}_{index:02d}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def compress(one: Dataset, frames: list[bytes], syntax: str, *, photometric: str) -> None:
    """Replace an image's pixels by compressed frames."""
    one.file_meta.TransferSyntaxUID = syntax
    one.PhotometricInterpretation = photometric
    one.PixelData = encapsulate(frames)
    one["PixelData"].VR = "OB"
    one["PixelData"].is_undefined_length = True


def _head(kind: str, modality: str, number: int, instance: int) -> Dataset:
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = kind
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"{ROOT}.1.{number}.{instance}"
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SpecificCharacterSet = "ISO_IR 192"
    for name, text in PERSONAL.items():
        setattr(one, name, text)
    one.PatientSex, one.Manufacturer, one.Modality = "F", "Made-up", modality
    one.StudyDate = one.SeriesDate = one.ContentDate = STUDY_DATE
    one.StudyTime = one.SeriesTime = one.ContentTime = "101112"
    one.StudyInstanceUID, one.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.1.{number}"
    one.SeriesNumber, one.InstanceNumber = number, instance
    block = one.private_block(0x0011, "ZYX PRIVATE", create=True)
    block.add_new(0x01, "LO", "Private Quirina Zyxwvut")
    return one


def _image(kind: str, modality: str, number: int, instance: int, pixels: np.ndarray, *, bits: int) -> Dataset:
    one = _head(kind, modality, number, instance)
    one.Rows, one.Columns = pixels.shape[:2]
    one.SamplesPerPixel = pixels.shape[2] if pixels.shape[2:] else 1
    one.PhotometricInterpretation = "RGB" if one.SamplesPerPixel == 3 else "MONOCHROME2"
    if one.SamplesPerPixel == 3:
        one.PlanarConfiguration = 0
    one.BitsAllocated, one.BitsStored, one.HighBit = pixels.itemsize * 8, bits, bits - 1
    one.PixelRepresentation = int(pixels.dtype.kind == "i")
    one.PixelData = pixels.tobytes()
    one["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
    return one


def _place(
    one: Dataset, position: np.ndarray, directions: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float]
) -> None:
    one.FrameOfReferenceUID, one.PositionReferenceIndicator = f"{ROOT}.2", ""
    one.ImagePositionPatient = [f"{value:.10g}" for value in position]
    one.ImageOrientationPatient = [f"{value:.10g}" for value in np.concatenate(directions)]
    one.PixelSpacing = list(spacing)


def _reference(source: Dataset) -> Dataset:
    one = Dataset()
    one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return one


def _contour(source: Dataset, corners: np.ndarray) -> Dataset:
    directions = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = source.PixelSpacing
    points = np.array(source.ImagePositionPatient, float) + corners * [columns, rows] @ directions
    one = Dataset()
    one.ContourImageSequence = Items([_reference(source)])
    one.ContourGeometricType, one.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    one.ContourData = [f"{value:.8g}" for value in points.ravel()]
    return one
