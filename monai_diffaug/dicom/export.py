"""A painted image and its masks to DICOM files: built, checked, and only then there, all of them or none."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from monai_diffaug.dicom.burned_in import suspected
from monai_diffaug.dicom.derived import derived_images
from monai_diffaug.dicom.identity import PATIENT_PREFIX, SiteSecret
from monai_diffaug.dicom.images import BadDicom, DicomImage, Plane
from monai_diffaug.dicom.leaks import found_in, identifiers
from monai_diffaug.dicom.marks import PRODUCT, Sample
from monai_diffaug.dicom.segmentation import segmentation
from monai_diffaug.dicom.watermark import watermarked
from monai_diffaug.dicom.whitelist import neutral_header
from monai_diffaug.synthesis.provenance import versions

ICC_PROFILE = 0x00282000
Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Painted:
    """One accepted sample.

    Args:
        image: what the synthesizer returned for ``DicomImage.image``, (C, *spatial).
        masks: class -> bool (*spatial).
        record: its record as JSON (``SynthesisRecord.to_json``).
    """

    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    record: Mapping[str, Any]


class DicomExporter:
    """Write accepted samples as derived series and DICOM SEG.

    Args:
        site: makes names and UIDs.
        bundle: name of the bundle, for the derivation's description.
        looked_at: a person has looked at the sources and found no writing burned into them.
        watermark: write SYNTHETIC into each plane, for review in a PACS; such images are not for training.
        pairs: folder for a de-identified copy of each source, below the sample's own name; None = no copies. They are
            kept apart: what is sent to an archive must be synthetic.
        clock: the time of creation.
    """

    def __init__(
        self,
        site: SiteSecret,
        bundle: str,
        *,
        looked_at: bool = False,
        watermark: bool = False,
        pairs: Path | None = None,
        clock: Clock = datetime.now,
    ) -> None:
        self.site, self.bundle, self.version = site, bundle, versions()[PRODUCT]
        self.looked_at, self.watermark, self.pairs = looked_at, watermark, pairs
        self.clock = clock

    def __call__(self, source: DicomImage, painted: Painted, folder: Path) -> list[Path]:
        """Write a sample into a new folder and return its files, images first and the SEG last.

        Args:
            source: what was painted into.
            painted: the sample.
            folder: where to; it must not be there yet.

        Raises:
            BadDicom: when the source may hold burned-in writing, a mask is empty, or a check of what was built fails;
                then nothing is left behind.
            FileExistsError: when the folder is there.
        """
        if not self.looked_at:
            check_writing(source)
        stored = source.restored(painted.image)
        shown = watermarked(source, stored) if self.watermark else stored
        sample = self.sample(source, shown, painted.record)
        self._write_pair(source, sample, folder.name)
        return write_checked(lambda image: self._objects(image, shown, painted.masks, sample), source, folder)

    @staticmethod
    def _objects(
        source: DicomImage, stored: np.ndarray, masks: Mapping[str, np.ndarray], sample: Sample
    ) -> dict[str, Dataset]:
        images = derived_images(source, stored, sample)
        objects = {f"IM{number:05d}.dcm": one for number, one in enumerate(images, 1)}
        return objects | {"SEG.dcm": segmentation(source, images, masks, sample)}

    def sample(self, source: DicomImage, stored: np.ndarray, record: Mapping[str, Any]) -> Sample:
        """Return what the objects of a sample tell.

        Args:
            source: what was painted into.
            stored: stored numbers that are written, shape of ``source.stored``: the UIDs depend on them.
            record: the sample's record as JSON.
        """
        header, weights = source.planes[0].header, dict(record.get("weights") or {})
        origin = "\n".join(f"{plane.sop_uid} {plane.frame}" for plane in source.planes)
        content = hashlib.sha256(np.ascontiguousarray(stored).tobytes()).hexdigest()
        seed = str(record["seed"])
        # Without an ID a study stands for its patient: patients must not become one.
        patient = str(header.get("PatientID") or header.get("StudyInstanceUID") or source.series_uid)
        return Sample(
            patient_id=self.site.patient_id(patient, str(header.get("IssuerOfPatientID", ""))),
            key=self.site.digest("sample", origin, seed, repr(sorted(weights.items())), content),
            text=f"{PRODUCT} {self.version}, bundle {self.bundle}, prompt '{record['prompt']}', seed {seed}, "
            f"gate IoU {record['iou']:.3f}, mask as requested",
            weights=weights,
            created=self.clock(),
            site=self.site,
            version=self.version,
        )

    def _write_pair(self, source: DicomImage, sample: Sample, name: str) -> None:
        """Write the source, rebuilt by the same whitelist under names of its own; its pixels are a patient's."""
        if self.pairs is None or (self.pairs / name).exists():
            return
        copy = replace(
            sample,
            synthetic=False,
            patient_id=sample.patient_id.replace(PATIENT_PREFIX, "DEID-"),
            key=self.site.digest("source pair", sample.key),
        )

        def objects(image: DicomImage) -> dict[str, Dataset]:
            images = derived_images(image, source.stored, copy)
            return {f"IM{number:05d}.dcm": one for number, one in enumerate(images, 1)}

        write_checked(objects, source, self.pairs / name)


def check_writing(source: DicomImage) -> None:
    """Raise BadDicom where writing may be burned into a source: only a person can tell that it names nobody."""
    if why := suspected(source):
        raise BadDicom(
            f"series {source.series_uid} may hold burned-in writing ({why}); look at it, and if nothing names a "
            "patient say so: --burned-in-checked"
        )


def anonymous(source: DicomImage) -> DicomImage:
    """Return an image with headers that hold nothing but what is carried over on purpose."""
    planes = tuple(replace(plane, header=neutral_header(plane.header)) for plane in source.planes)
    return replace(source, planes=planes)


def without_telling_profiles(source: DicomImage, texts: Set[str]) -> DicomImage:
    """Return an image without colour profiles that hold a text: whoever calibrates a device may write into them."""

    def cleaned(plane: Plane) -> Plane:
        if not found_in(bytes(plane.header.get("ICCProfile") or b""), b"", texts):
            return plane
        header = Dataset({tag: one for tag, one in plane.header.items() if tag != ICC_PROFILE})
        header.file_meta = plane.header.file_meta
        return replace(plane, header=header)

    return replace(source, planes=tuple(cleaned(plane) for plane in source.planes))


Build = Callable[[DicomImage], Mapping[str, Dataset]]


def write_checked(build: Build, source: DicomImage, folder: Path) -> list[Path]:
    """Build objects by file name, search them for identifiers of the source, and write them into a new folder.

    A source may be described by words that every object of ours has. Whatever is found is looked for again in the
    objects of a source without names: what is there too did not come from the source.

    Raises:
        BadDicom: when an object holds a text of its source that it would not hold without one.
    """
    texts = identifiers([plane.header for plane in source.planes])
    source = without_telling_profiles(source, texts)
    files = {name: encoded(dataset) for name, dataset in build(source).items()}
    found = {name: found_in(*file, texts) for name, file in files.items()}
    neutral = build(anonymous(source)) if any(found.values()) else {}
    for name, dataset in neutral.items():
        if hits := found[name] - found_in(*encoded(dataset), found[name]):
            raise BadDicom(
                f"{name} would hold {len(hits)} text(s) of its source; nothing was written: report this as a fault"
            )
    return write_all({name: data for name, (data, _) in files.items()}, folder)


def encoded(dataset: Dataset) -> tuple[bytes, bytes]:
    """Return the bytes of a file, and of its pixels."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue(), bytes(dataset.PixelData)


def write_all(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write files below a new folder, which appears whole or not at all; return their paths in order."""
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; give a new folder")
    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for name, data in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(data)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return [folder / name for name in files]
