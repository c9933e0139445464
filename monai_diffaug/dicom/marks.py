"""What makes a synthetic object known as one: to archives by attributes, to people by names and descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.coding import Code
from pydicom.uid import UID

from monai_diffaug.dicom.identity import PATIENT_NAME, SiteSecret

PRODUCT = "monai_diffaug"
NOT_A_PATIENT = "SYNTHETIC DATA - NOT A PATIENT"
NOT_PATIENT_DATA = "SYNTHETIC IMAGE - NOT PATIENT DATA"
STUDY = "SYNTHETIC (AI) - not for clinical use"
SYNTHESIZING = Code("109100", "DCM", "Synthesizing Equipment")
DERIVATION = Code("SYNTH-LESION", "99DIFFAUG", "Synthetic abnormality painted by a generative model")
DEIDENTIFIED = Code("113100", "DCM", "Basic Application Confidentiality Profile")
SOURCE_PURPOSE = Code("121322", "DCM", "Source image for image processing operation")
IMAGE_SERIES, MASK_SERIES = 9001, 9002


@dataclass(frozen=True)
class Sample:
    """What every object of one synthetic sample tells.

    Args:
        patient_id: the synthetic patient.
        key: names the sample: a keyed hash of its source, its seed, the weights and its pixels.
        text: how it was made: bundle, prompt, seed, gate; no identifier of the source.
        weights: digests of the networks, network -> sha256.
        created: when.
        site: makes UIDs.
        version: of this product.
        synthetic: False for the de-identified copy of a source beside its synthetic pair.
    """

    patient_id: str
    key: str
    text: str
    weights: Mapping[str, str]
    created: datetime
    site: SiteSecret
    version: str
    synthetic: bool = True

    def uid(self, *parts: str) -> UID:
        """Return a UID that belongs to this sample."""
        return self.site.uid(self.key, *parts)

    @property
    def equipment_text(self) -> str:
        """Return the product's own account, at most 1,024 characters (ST)."""
        digests = ", ".join(f"{name} sha256 {digest}" for name, digest in sorted(self.weights.items())) or "no weights"
        return f"{self.text}; {digests}"[:1024]


def coded(code: Code) -> Dataset:
    """Return an item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def mark_patient_and_study(dataset: Dataset, sample: Sample) -> None:
    """Write patient and study: never those of the source."""
    moment = sample.created
    dataset.PatientName = PATIENT_NAME if sample.synthetic else "DEIDENTIFIED^DIFFAUG"
    dataset.PatientID = sample.patient_id
    dataset.IssuerOfPatientID = PRODUCT
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.PatientComments = NOT_A_PATIENT if sample.synthetic else "DE-IDENTIFIED COPY - not for clinical use"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "rebuilt from a whitelist; pixels and bytes checked"
    dataset.DeidentificationMethodCodeSequence = Sequence([coded(DEIDENTIFIED)])
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.StudyInstanceUID = sample.uid("study")
    dataset.StudyDate, dataset.StudyTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.StudyID = sample.key[:16]
    dataset.StudyDescription = STUDY if sample.synthetic else "De-identified source - not for clinical use"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""


def mark_synthetic(dataset: Dataset, sample: Sample, description: str) -> None:
    """Write that the content is artificial, by which product and how; the masks made from it inherit it."""
    moment = sample.created
    dataset.SyntheticData = "YES" if sample.synthetic else "NO"
    dataset.ContentQualification = "RESEARCH"
    dataset.SeriesDescription = description
    dataset.ContentDate, dataset.ContentTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.BurnedInAnnotation = "NO"
    dataset.Manufacturer = dataset.ManufacturerModelName = PRODUCT
    dataset.SoftwareVersions = sample.version
    if sample.synthetic:
        dataset.ContributingEquipmentSequence = Sequence([equipment(sample)])


def equipment(sample: Sample) -> Dataset:
    """Return the item that names this product, its weights and the gate's verdict."""
    item = Dataset()
    item.Manufacturer = item.ManufacturerModelName = PRODUCT
    item.SoftwareVersions = sample.version
    item.ContributionDateTime = sample.created.strftime("%Y%m%d%H%M%S")
    item.ContributionDescription = sample.equipment_text
    item.PurposeOfReferenceCodeSequence = Sequence([coded(SYNTHESIZING)])
    return item


def mark_derived(dataset: Dataset, sample: Sample, source_class: str, source_uid: UID) -> None:
    """Write from what kind of image it was derived; the source's own UID only keyed."""
    dataset.DerivationDescription = sample.text[:1024]
    dataset.DerivationCodeSequence = Sequence([coded(DERIVATION)])
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = source_class, source_uid
    source.PurposeOfReferenceCodeSequence = Sequence([coded(SOURCE_PURPOSE)])
    dataset.SourceImageSequence = Sequence([source])
    dataset.ImageComments = NOT_PATIENT_DATA
