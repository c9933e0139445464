"""A painted image and its masks to DICOM files: built, checked, and only then there, all of them or none."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from monai_diffaug.dicom.burned_in import suspected
from monai_diffaug.dicom.derived import derived_images
from monai_diffaug.dicom.identity import SiteSecret
from monai_diffaug.dicom.images import BadDicom, DicomImage
from monai_diffaug.dicom.leaks import found_in, identifiers
from monai_diffaug.dicom.marks import PRODUCT, Sample
from monai_diffaug.dicom.segmentation import segmentation
from monai_diffaug.dicom.watermark import watermarked
from monai_diffaug.dicom.whitelist import neutral_header

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
        version: of this product.
        looked_at: a person has looked at the sources and found no writing burned into them.
        watermark: write SYNTHETIC into each plane, for review in a PACS; such images are not for training.
        source_pair: write a de-identified copy of the source beside, in ``source``.
        clock: the time of creation.
    """

    def __init__(
        self,
        site: SiteSecret,
        bundle: str,
        version: str,
        *,
        looked_at: bool = False,
        watermark: bool = False,
        source_pair: bool = False,
        clock: Clock = datetime.now,
    ) -> None:
        self.site, self.bundle, self.version = site, bundle, version
        self.looked_at, self.watermark, self.source_pair = looked_at, watermark, source_pair
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
        self.check(source)
        stored = source.restored(painted.image)
        sample = self.sample(source, stored, painted.record)
        shown = watermarked(source, stored) if self.watermark else stored
        files = self._files(source, shown, painted.masks, sample)
        self._search(files, source, lambda: self._files(anonymous(source), shown, painted.masks, sample))
        return write_all({name: data for name, (data, _) in files.items()}, folder)

    def _files(
        self, source: DicomImage, stored: np.ndarray, masks: Mapping[str, np.ndarray], sample: Sample
    ) -> dict[str, tuple[bytes, bytes]]:
        """Return path -> (bytes of the file, its pixel bytes)."""
        images = derived_images(source, stored, sample)
        objects = {f"IM{number:05d}.dcm": one for number, one in enumerate(images, 1)}
        objects["SEG.dcm"] = segmentation(source, images, masks, sample)
        if self.source_pair:
            objects |= self._pair(source, sample)
        return {name: (encoded(one), bytes(one.PixelData)) for name, one in objects.items()}

    @staticmethod
    def _search(
        files: Mapping[str, tuple[bytes, bytes]],
        source: DicomImage,
        neutral: Callable[[], Mapping[str, tuple[bytes, bytes]]],
    ) -> None:
        """Raise BadDicom when a file holds a text of its source that it would not hold without one.

        A source may be described by words that every object of ours has. Whatever is found is looked for again in the
        files of a source without names: what is there too did not come from the source.
        """
        texts = identifiers([plane.header for plane in source.planes])
        found = {name: found_in(data, texts, pixels=pixels) for name, (data, pixels) in files.items()}
        if not any(found.values()):
            return
        for name, (data, pixels) in neutral().items():
            if hits := set(found[name]) - set(found_in(data, found[name], pixels=pixels)):
                raise BadDicom(
                    f"{name} would hold {len(hits)} text(s) of its source; nothing was written: report this as a fault"
                )

    def check(self, source: DicomImage) -> None:
        """Raise BadDicom where writing may be burned into a source, unless a person has looked."""
        if not self.looked_at and (why := suspected(source)):
            raise BadDicom(
                f"series {source.series_uid} may hold burned-in writing ({why}); look at it, and if nothing names a "
                "patient say so: --burned-in-checked"
            )

    def sample(self, source: DicomImage, stored: np.ndarray, record: Mapping[str, Any]) -> Sample:
        """Return what the objects of a sample tell."""
        header, weights = source.planes[0].header, dict(record.get("weights") or {})
        origin = "\n".join(f"{plane.sop_uid} {plane.frame}" for plane in source.planes)
        content = hashlib.sha256(np.ascontiguousarray(stored).tobytes()).hexdigest()
        seed = str(record["seed"])
        return Sample(
            patient_id=self.site.patient_id(str(header.get("PatientID", "")), str(header.get("IssuerOfPatientID", ""))),
            key=self.site.digest("sample", origin, seed, repr(sorted(weights.items())), content),
            text=f"{PRODUCT} {self.version}, bundle {self.bundle}, prompt '{record['prompt']}', seed {seed}, "
            f"gate IoU {record['iou']:.3f}, mask as requested",
            weights=weights,
            created=self.clock(),
            site=self.site,
            version=self.version,
        )

    def _pair(self, source: DicomImage, sample: Sample) -> dict[str, Dataset]:
        """Return the source, rebuilt by the same whitelist under names of its own; its pixels are a patient's."""
        copy = replace(
            sample,
            synthetic=False,
            patient_id=sample.patient_id.replace("SYN-", "DEID-"),
            key=self.site.digest("source pair", sample.key),
        )
        return {f"source/IM{n:05d}.dcm": one for n, one in enumerate(derived_images(source, source.stored, copy), 1)}


def anonymous(source: DicomImage) -> DicomImage:
    """Return an image with headers that hold nothing but what is carried over on purpose."""
    planes = tuple(replace(plane, header=neutral_header(plane.header)) for plane in source.planes)
    return replace(source, planes=planes)


def encoded(dataset: Dataset) -> bytes:
    """Return the bytes of a file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


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
