"""What is exported: known as synthetic by every mark, without a trace of its patient, untouched but for the paint."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from highdicom.seg import Segmentation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from monai_diffaug.dicom import DicomImage, read_series
from monai_diffaug.dicom import derived as derived_module
from monai_diffaug.dicom import export as export_module
from monai_diffaug.dicom.export import DicomExporter, Painted
from monai_diffaug.dicom.identity import SiteSecret
from monai_diffaug.dicom.images import BadDicom
from tests.dicom import phantoms

SITE = SiteSecret(b"a secret of a site that is long enough")
KINDS: dict[str, Callable[[], Any]] = {
    "CT": phantoms.ct_series,
    "MR": phantoms.mr_series,
    "CR": phantoms.projection,
    "CR inverted": lambda: phantoms.projection(inverted=True),
    "DX": lambda: phantoms.projection(phantoms.DX),
    "endoscopy": phantoms.endoscopy,
    "endoscopy JPEG": lambda: phantoms.endoscopy(jpeg=True),
    "ultrasound": phantoms.ultrasound,
    "capture": phantoms.capture,
    "grey capture": lambda: phantoms.capture(colour=False),
}
CLASSES = {"CT": phantoms.CT, "MR": phantoms.MR, "CR": phantoms.CR, "CR inverted": phantoms.CR}
CLASSES |= dict.fromkeys(("endoscopy", "endoscopy JPEG"), phantoms.ENDOSCOPY)
RECORD = {"seed": 7, "prompt": "small pale polyp", "iou": 0.873, "weights": {"model.pt": "ab" * 32}}


def source_of(kind: str, folder: Path) -> DicomImage:
    phantoms.write(KINDS[kind](), folder)
    return read_series(folder)[0]


def painted(image: DicomImage, change: float = 25) -> Painted:
    """Paint a box in the middle, and ask for the half of it."""
    values, mask = image.image.copy(), np.zeros(image.stored.shape[1:], bool)
    middle = tuple(slice(n // 3, n // 3 + max(n // 4, 2)) for n in mask.shape)
    values[(slice(None), *middle)] += np.array(change, values.dtype)
    mask[(slice(middle[0].start, middle[0].stop - 1), *middle[1:])] = True
    return Painted(values, {"polyp": mask}, RECORD)


def exporter(**options: Any) -> DicomExporter:
    moment = datetime(2031, 5, 6, 7, 8, 9)
    return DicomExporter(SITE, "polyp_endoscopy", looked_at=True, clock=lambda: moment, **options)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(kind: str, tmp_path: Path) -> DicomImage:
    return source_of(kind, tmp_path / "in")


def read_back(files: list[Path]) -> tuple[list[Dataset], Dataset]:
    datasets = [pydicom.dcmread(path) for path in files]
    return datasets[:-1], datasets[-1]


def test_untouched_pixels_are_bit_exact_and_painted_ones_are_there(source: DicomImage, tmp_path: Path) -> None:
    sample = painted(source)
    images, _ = read_back(exporter()(source, sample, tmp_path / "out"))
    assert len(images) == len(source.planes)
    for index, (image, plane) in enumerate(zip(images, source.planes, strict=True)):
        before, after = source.plane_pixels(source.stored, index), image.pixel_array
        changed = source.plane_pixels((sample.image != source.image).any(0, keepdims=True), index)
        changed = np.broadcast_to(changed.reshape(*before.shape[:2], *[1] * (before.ndim - 2)), before.shape)
        assert after.dtype == before.dtype and (after[~changed] == before[~changed]).all()
        if changed.any():
            assert (after[changed] != before[changed]).all()
        if before.ndim == 2:
            wanted = source.plane_pixels(sample.image, index)
            assert np.abs(plane.values(after) - wanted).max() <= plane.slope / 2


def test_every_object_bears_every_mark(source: DicomImage, kind: str, tmp_path: Path) -> None:
    images, seg = read_back(exporter()(source, painted(source), tmp_path / "out"))
    for one in (*images, seg):
        assert one.SyntheticData == "YES" and one.ContentQualification == "RESEARCH"
        assert str(one.PatientName) == "SYNTHETIC^DIFFAUG" and one.PatientID.startswith("SYN-")
        assert one.PatientComments == "SYNTHETIC DATA - NOT A PATIENT" and one.IssuerOfPatientID == "monai_diffaug"
        assert one.StudyDescription.startswith("SYNTHETIC") and one.SeriesDescription.startswith("SYNTHETIC")
        assert one.PatientIdentityRemoved == "YES" and one.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert one.BurnedInAnnotation == "NO" and one.LongitudinalTemporalInformationModified == "REMOVED"
        assert not (one.PatientBirthDate or one.PatientSex or one.AccessionNumber or one.ReferringPhysicianName)
        assert one.StudyDate == "20310506" and one.StudyID and one.Manufacturer == "monai_diffaug"
        item = one.ContributingEquipmentSequence[0]
        assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
        assert "gate IoU 0.873" in item.ContributionDescription and "ab" * 32 in item.ContributionDescription
    for one in images:
        assert one.SOPClassUID == CLASSES.get(kind, phantoms.CAPTURE) and one.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert one.ImageComments == "SYNTHETIC IMAGE - NOT PATIENT DATA" and one.SeriesNumber == 9001
        assert "seed 7" in one.DerivationDescription and one.DerivationCodeSequence[0].CodingSchemeDesignator
        assert one.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert one.get("ConversionType") == ("SYN" if one.SOPClassUID == phantoms.CAPTURE else None)
        assert not one.file_meta.TransferSyntaxUID.is_compressed
    assert (seg.SeriesNumber, seg.Modality) == (9002, "SEG") and seg.StudyInstanceUID == images[0].StudyInstanceUID


def test_no_text_and_no_uid_of_a_source_gets_out(source: DicomImage, tmp_path: Path) -> None:
    files = exporter(pairs=tmp_path / "pairs")(source, painted(source), tmp_path / "out")
    files += sorted((tmp_path / "pairs" / "out").iterdir())
    assert len(files) == 2 * len(source.planes) + 1
    uids = {str(value) for plane in source.planes for value in (plane.sop_uid, plane.header.StudyInstanceUID)}
    parts = {part for name in ("PatientName", "OperatorsName") for part in phantoms.PERSONAL[name].split("^")}
    for path in files:
        data = path.read_bytes()
        found = [text for text in {*phantoms.SECRETS, *uids, *parts} if text.encode() in data]
        assert not found, path.name
        assert not any(element.tag.is_private for element in pydicom.dcmread(path).iterall())


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [
        *(("CT", one) for one in ("PositionReferenceIndicator", "FilterType", "RescaleType", "PatientPosition", "KVP")),
        *(("MR", one) for one in ("ScanOptions", "SequenceVariant", "BodyPartExamined")),
        *(("CR", one) for one in ("ViewPosition", "PatientOrientation", "PixelIntensityRelationship")),
        *(("grey capture", one) for one in ("Modality", "PresentationIntentType", "VOILUTFunction")),
        *(("endoscopy JPEG", one) for one in ("LossyImageCompressionMethod", "ICCProfile")),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_a_name_where_a_word_or_number_belongs_does_not_get_out(kind: str, keyword: str, tmp_path: Path) -> None:
    made = KINDS[kind]()
    for one in made if isinstance(made, list) else [made]:
        text = b"..Zyxwvut.." if keyword == "ICCProfile" else b"Zyxwvut "
        vr = dictionary_VR(tag_for_keyword(keyword))
        one.add(RawDataElement(Tag(tag_for_keyword(keyword)), vr, len(text), text, 0, False, True))
    phantoms.write(made, tmp_path / "in")
    source = read_series(tmp_path / "in")[0]
    for path in exporter()(source, painted(source), tmp_path / "out"):
        assert b"Zyxwvut" not in path.read_bytes()


def test_a_colour_profile_that_names_nobody_stays(tmp_path: Path) -> None:
    made = phantoms.endoscopy()
    made.ICCProfile = b"acsp, made by nobody"
    phantoms.write(made, tmp_path / "in")
    source = read_series(tmp_path / "in")[0]
    images, _ = read_back(exporter()(source, painted(source), tmp_path / "out"))
    assert images[0].ICCProfile == made.ICCProfile


def test_a_text_that_got_out_would_be_found_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("CT", tmp_path / "in")
    carried = derived_module.carried

    def leaky(header: Dataset, kind: Any) -> Dataset:
        kept = carried(header, kind)
        if "InstitutionName" in header:
            kept.InstitutionName = header.InstitutionName
        return kept

    monkeypatch.setattr(derived_module, "carried", leaky)
    with pytest.raises(BadDicom, match="IM00001.dcm would hold 1 text"):
        exporter()(source, painted(source), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_a_source_described_by_our_own_words_is_no_leak(tmp_path: Path) -> None:
    slices = phantoms.ct_series()
    for one in slices:
        one.SeriesDescription, one.ProtocolName, one.StudyDate = "SYNTHETIC image", "Lesion", "20310506"
    phantoms.write(slices, tmp_path / "in")
    source = read_series(tmp_path / "in")[0]
    assert exporter()(source, painted(source), tmp_path / "out")


def test_the_seg_holds_the_mask_and_points_to_synthetic_images_alone(source: DicomImage, tmp_path: Path) -> None:
    sample = painted(source)
    images, dataset = read_back(exporter()(source, sample, tmp_path / "out"))
    seg = Segmentation.from_dataset(dataset)
    uids = [one.SOPInstanceUID for one in images]
    found = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)[..., 0]
    for index, plane in enumerate(found):
        assert (plane.astype(bool) == source.plane_pixels(sample.masks["polyp"][None], index)).all()
    instances = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    referenced = {item.ReferencedSOPInstanceUID for item in instances}
    assert referenced <= set(uids)
    assert seg.get_segment_description(1).segmented_property_type.value == "68496003"
    assert seg.get_segment_description(1).segment_label == "Synthetic polyp"


def test_several_classes_become_several_segments(tmp_path: Path) -> None:
    source = source_of("CT", tmp_path / "in")
    sample = painted(source)
    other = np.roll(sample.masks["polyp"], 9, axis=0)
    both = replace(sample, masks={**sample.masks, "cyst": other})
    _, dataset = read_back(exporter()(source, both, tmp_path / "out"))
    labels = [one.SegmentLabel for one in dataset.SegmentSequence]
    assert labels == ["Synthetic polyp", "Synthetic cyst"]


def test_geometry_stays_and_the_frame_of_reference_is_new(tmp_path: Path) -> None:
    source = source_of("CT", tmp_path / "in")
    images, seg = read_back(exporter()(source, painted(source), tmp_path / "out"))
    again = read_series([tmp_path / "out" / f"IM{k:05d}.dcm" for k in range(1, 13)], synthetic=True)[0]
    np.testing.assert_allclose(again.affine, source.affine, atol=1e-6)
    frames = {one.FrameOfReferenceUID for one in (*images, seg)}
    assert len(frames) == 1 and frames != {source.planes[0].header.FrameOfReferenceUID}


def test_uids_are_repeatable_and_bound_to_pixels_seed_weights_and_site(tmp_path: Path) -> None:
    source = source_of("endoscopy", tmp_path / "in")
    sample = painted(source)
    variants = {
        "same": (exporter(), sample),
        "pixels": (exporter(), painted(source, 26)),
        "seed": (exporter(), replace(sample, record={**RECORD, "seed": 8})),
        "weights": (exporter(), replace(sample, record={**RECORD, "weights": {}})),
        "watermark": (exporter(watermark=True), sample),
        "site": (DicomExporter(SiteSecret(b"b" * 32), "polyp_endoscopy", looked_at=True), sample),
    }
    first = exporter()(source, sample, tmp_path / "first")
    for name, (export, one) in variants.items():
        other = export(source, one, tmp_path / name)
        pairs = [(pydicom.dcmread(a), pydicom.dcmread(b)) for a, b in zip(first, other, strict=True)]
        for a, b in pairs:
            equal = [a.SOPInstanceUID == b.SOPInstanceUID, a.StudyInstanceUID == b.StudyInstanceUID]
            assert equal == [name == "same"] * 2, name
            assert (a.PatientID == b.PatientID) == (name != "site")


def test_studies_without_a_patient_id_are_not_one_patient(tmp_path: Path) -> None:
    patients = set()
    for number in range(2):
        dataset = phantoms.endoscopy()
        dataset.PatientID, dataset.StudyInstanceUID = "", f"{phantoms.ROOT}.{number + 50}"
        phantoms.write(dataset, tmp_path / f"in{number}")
        source = read_series(tmp_path / f"in{number}")[0]
        files = exporter()(source, painted(source), tmp_path / f"out{number}")
        patients.add(pydicom.dcmread(files[0]).PatientID)
    assert len(patients) == 2


def test_the_same_sample_gives_the_same_bytes(source: DicomImage, tmp_path: Path) -> None:
    pairs = [exporter()(source, painted(source), tmp_path / name) for name in ("one", "two")]
    assert all(one.read_bytes() == two.read_bytes() for one, two in zip(*pairs, strict=True))


def test_what_was_lossy_stays_lossy(tmp_path: Path) -> None:
    jpeg, raw = (source_of(kind, tmp_path / kind) for kind in ("endoscopy JPEG", "endoscopy"))
    images, _ = read_back(exporter()(jpeg, painted(jpeg), tmp_path / "jpeg"))
    assert images[0].LossyImageCompression == "01" and images[0].LossyImageCompressionMethod == "ISO_10918_1"
    images, _ = read_back(exporter()(raw, painted(raw), tmp_path / "raw"))
    assert images[0].get("LossyImageCompression") in (None, "00")


def test_jpeg_that_does_not_say_so_is_told_lossy(tmp_path: Path) -> None:
    dataset = phantoms.endoscopy(jpeg=True)
    for name in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        delattr(dataset, name)
    phantoms.write(dataset, tmp_path / "in")
    source = read_series(tmp_path / "in")[0]
    images, _ = read_back(exporter()(source, painted(source), tmp_path / "out"))
    assert images[0].LossyImageCompression == "01" and float(images[0].LossyImageCompressionRatio) >= 1


def test_padding_stays_whatever_is_painted(tmp_path: Path) -> None:
    slices = phantoms.ct_series()
    for one in slices:
        pixels = one.pixel_array.copy()
        pixels[:, :20] = 0
        one.PixelPaddingValue, one.PixelData = 0, pixels.tobytes()
    phantoms.write(slices, tmp_path / "in")
    source = read_series(tmp_path / "in")[0]
    sample = painted(source)
    assert (sample.image != source.image).any(0)[source.padded].any()
    images, _ = read_back(exporter()(source, sample, tmp_path / "out"))
    assert all((one.pixel_array[:, :20] == 0).all() and one.PixelPaddingValue == 0 for one in images)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(("value", "limit"), [(0, None), (1000, 1003), (4095, 4000)])
def test_nothing_painted_becomes_padding(tmp_path: Path, value: int, limit: int | None, inverted: bool) -> None:
    made = phantoms.projection(inverted=inverted)
    pixels = np.clip(made.pixel_array, 10, 900)
    pixels[:, :3] = value
    made.PixelPaddingValue, made.PixelData = value, pixels.astype(np.uint16).tobytes()
    if limit is not None:
        made.PixelPaddingRangeLimit = limit
    phantoms.write(made, tmp_path / "in")
    source = read_series(tmp_path / "in")[0]
    low, high = sorted((value, value if limit is None else limit))
    wanted, painted_at = source.image.copy(), (0, slice(5, 25), slice(5, 15))
    wanted[painted_at] = source.planes[0].values(np.full((20, 10), (low + high) // 2))
    stored = source.restored(wanted)
    assert ((stored[painted_at] < low) | (stored[painted_at] > high)).all()
    assert np.abs(stored[painted_at].astype(int) - (low + high) // 2).max() <= (high - low) // 2 + 1
    rest = np.ones(stored.shape, bool)
    rest[painted_at] = False
    assert (stored[rest] == source.stored[rest]).all()
    assert (source.quantise(wanted)[painted_at] == source.planes[0].values(stored[painted_at])).all()


def test_the_watermark_is_seen_and_only_when_asked_for(source: DicomImage, tmp_path: Path) -> None:
    sample = painted(source)
    plain, _ = read_back(exporter()(source, sample, tmp_path / "plain"))
    marked, _ = read_back(exporter(watermark=True)(source, sample, tmp_path / "marked"))
    for a, b in zip(plain, marked, strict=True):
        differ = a.pixel_array != b.pixel_array
        assert differ[: differ.shape[0] // 2].any() and not differ[-differ.shape[0] // 4 :].any()


def test_a_pair_is_deidentified_but_not_called_synthetic(tmp_path: Path) -> None:
    source = source_of("CT", tmp_path / "in")
    exporter(pairs=tmp_path / "pairs")(source, painted(source), tmp_path / "out")
    pair = [pydicom.dcmread(path) for path in sorted((tmp_path / "pairs" / "out").iterdir())]
    assert len(pair) == 12 and {one.SyntheticData for one in pair} == {"NO"}
    assert {str(one.PatientName) for one in pair} == {"DEIDENTIFIED^DIFFAUG"} and pair[0].PatientID.startswith("DEID-")
    for index, one in enumerate(pair):
        assert (one.pixel_array == source.plane_pixels(source.stored, index)).all()


class TestRefused:
    def test_empty_masks(self, tmp_path: Path) -> None:
        source = source_of("CT", tmp_path / "in")
        empty = replace(painted(source), masks={"polyp": np.zeros(source.stored.shape[1:], bool)})
        for sample in (empty, replace(empty, masks={})):
            with pytest.raises(BadDicom, match="empty mask"):
                exporter()(source, sample, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("kind", ["ultrasound", "endoscopy"])
    def test_writing_in_the_pixels(self, kind: str, tmp_path: Path) -> None:
        dataset = KINDS[kind]()
        if kind == "endoscopy":
            dataset.BurnedInAnnotation = "YES"
        phantoms.write(dataset, tmp_path / "in")
        source = read_series(tmp_path / "in")[0]
        with pytest.raises(BadDicom, match="--burned-in-checked"):
            DicomExporter(SITE, "b")(source, painted(source), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("colour", [True, False])
    def test_letters_are_seen(self, colour: bool, tmp_path: Path) -> None:
        from monai_diffaug.dicom.burned_in import suspected
        from monai_diffaug.dicom.watermark import watermarked

        rows, columns = np.indices((240, 260))
        pixels = np.stack([160 + rows / 6, 90 + columns / 8, 80 + rows / 8], -1).astype(np.uint8)  # of tissue's colour
        dataset = phantoms._image(phantoms.CAPTURE, "OT", 1, 1, pixels if colour else pixels[..., 0].copy(), bits=8)
        phantoms.write(dataset, tmp_path / "in")
        source = read_series(tmp_path / "in")[0]
        assert not suspected(source)
        assert suspected(replace(source, stored=watermarked(source, source.stored)))

    def test_volumes_that_are_neither_ct_nor_mr(self, tmp_path: Path) -> None:
        slices = phantoms.ct_series()
        for one in slices:
            one.Modality = "PT"
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.128"
        phantoms.write(slices, tmp_path / "in")
        source = read_series(tmp_path / "in")[0]
        with pytest.raises(BadDicom, match="only CT and MR"):
            exporter()(source, painted(source), tmp_path / "out")

    def test_a_folder_that_is_there(self, tmp_path: Path) -> None:
        source = source_of("endoscopy", tmp_path / "in")
        exporter()(source, painted(source), tmp_path / "out")
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        with pytest.raises(FileExistsError):
            exporter()(source, painted(source), tmp_path / "out")
        assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def test_a_disk_that_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = source_of("CT", tmp_path / "in")

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(export_module.os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            exporter()(source, painted(source), tmp_path / "out")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


KNOWN = "(0x0008,0x001c)"  # Synthetic Data, which is younger than the checker


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_objects_conform(source: DicomImage, tmp_path: Path) -> None:
    files = exporter(pairs=tmp_path / "pairs")(source, painted(source), tmp_path / "out")
    for path in (files[0], files[-1], next((tmp_path / "pairs" / "out").iterdir())):
        done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, timeout=60)
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error") and KNOWN not in line]
        assert done.returncode == 0 and not errors, (path.name, errors)
    done = subprocess.run(["dcentvfy", *map(str, files)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_the_checker_would_see_a_wrong_object(tmp_path: Path) -> None:
    source = source_of("CT", tmp_path / "in")
    path = exporter()(source, painted(source), tmp_path / "out")[0]
    dataset = pydicom.dcmread(path)
    dataset.ContentQualification = "ZZZ"
    dataset.save_as(path)
    assert subprocess.run(["dciodvfy", str(path)], capture_output=True, timeout=60).returncode == 1


class TestSiteSecret:
    def test_it_is_made_once_for_its_owner_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "secret"
        one, two = SiteSecret.from_file(path), SiteSecret.from_file(path)
        assert one.uid("a") == two.uid("a") and path.stat().st_mode & 0o777 == 0o600
        assert str(one.uid("a")).startswith("2.25.") and len(str(one.uid("a"))) <= 64

    def test_first_runs_at_once_end_with_one_secret(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, exists = tmp_path / "secret", Path.exists
        first = SiteSecret.from_file(path)
        # What a run sees that looked before the first one wrote.
        monkeypatch.setattr(Path, "exists", lambda one: one != path and exists(one))
        assert SiteSecret.from_file(path).uid("a") == first.uid("a")
        assert [one.name for one in tmp_path.iterdir()] == ["secret"]

    def test_what_others_can_read_is_no_secret(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_bytes(b"x" * 32)
        path.chmod(0o644)
        with pytest.raises(ValueError, match="chmod 600"):
            SiteSecret.from_file(path)

    def test_short_ones_are_refused(self) -> None:
        with pytest.raises(ValueError, match="16 bytes"):
            SiteSecret(b"short")
