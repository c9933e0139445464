"""The masks of a sample as DICOM SEG, made from the synthetic images: a source would name its patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highdicom
import numpy as np
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from monai_diffaug.dicom.images import BadDicom, DicomImage
from monai_diffaug.dicom.marks import MASK_SERIES, PRODUCT, Sample, mark_patient_and_study, mark_synthetic

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
TYPES = {
    "polyp": Code("68496003", "SCT", "Polyp of colon"),
    "nodule": Code("27925004", "SCT", "Nodule"),
    "mass": Code("4147007", "SCT", "Mass"),
    "tumour": Code("108369006", "SCT", "Neoplasm"),
    "tumor": Code("108369006", "SCT", "Neoplasm"),
    "neoplasm": Code("108369006", "SCT", "Neoplasm"),
    "haemorrhage": Code("50960005", "SCT", "Hemorrhage"),
    "hemorrhage": Code("50960005", "SCT", "Hemorrhage"),
    "inflammation": Code("409774005", "SCT", "Inflammation"),
}
LESION = Code("52988006", "SCT", "Lesion")


def segmentation(
    image: DicomImage, derived: Sequence[Dataset], masks: Mapping[str, np.ndarray], sample: Sample
) -> Dataset:
    """Return a binary SEG with one segment a class: the masks that were asked for, which the gate has confirmed.

    Args:
        image: the source, for the order of axes.
        derived: its synthetic images.
        masks: class -> bool (*spatial), none of them empty.
        sample: what is told.

    Raises:
        BadDicom: when there is no mask, or one is empty.
    """
    if not masks or not all(mask.any() for mask in masks.values()):
        raise BadDicom(
            f"series {image.series_uid} came with an empty mask, which marks nothing; export accepted samples"
        )
    planes = [[image.plane_pixels(mask[None], k) for k in range(len(derived))] for mask in masks.values()]
    made = Segmentation(
        source_images=list(derived),
        pixel_array=np.stack([np.stack(one) for one in planes], axis=-1).astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_described(number, name, sample) for number, name in enumerate(masks, 1)],
        series_instance_uid=sample.uid("masks"),
        series_number=MASK_SERIES,
        sop_instance_uid=sample.uid("mask"),
        instance_number=1,
        manufacturer=PRODUCT,
        manufacturer_model_name=PRODUCT,
        software_versions=sample.version,
        device_serial_number=sample.version,
        content_description="SYNTHETIC mask - not patient data",
        content_label="SYNTHETIC",
        series_description="SYNTHETIC mask",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        omit_empty_frames=True,
    )
    mark_patient_and_study(made, sample)
    mark_synthetic(made, sample, "SYNTHETIC mask")
    made.SeriesDate, made.SeriesTime = derived[0].SeriesDate, derived[0].SeriesTime
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    for element in made.iterall():  # drawn at random by highdicom, though the same sample shall give the same bytes
        if element.keyword == "DimensionOrganizationUID":
            element.value = sample.uid("dimensions")
    if "FrameOfReferenceUID" not in derived[0]:
        made.PatientOrientation = ""
    return made


def _described(number: int, name: str, sample: Sample) -> SegmentDescription:
    algorithm = AlgorithmIdentificationSequence(name=PRODUCT, version=sample.version, family=FAMILY)
    return SegmentDescription(
        segment_number=number,
        segment_label=f"Synthetic {name}"[:64],
        segmented_property_category=ABNORMAL,
        segmented_property_type=TYPES.get(name.lower(), LESION),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=highdicom.UID(str(sample.uid("tracking", str(number)))),
        tracking_id=f"SYNTHETIC {number}",
    )
