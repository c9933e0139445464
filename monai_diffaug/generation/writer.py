"""Write one sample's files, then its manifest line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.generation.files import output_suffix, write_image, write_label, write_mask
from monai_diffaug.generation.inputs import LoadedCase
from monai_diffaug.generation.order import PlannedSample
from monai_diffaug.synthesis import SynthesisResult

FOLDERS = ("images", "masks", "labels", "predictions")


class SampleWriter:
    """Write results below an output folder; every file appears whole or not at all.

    Args:
        output: the run's folder.
        binary_labels: lesions are written as 255, as in the other labels of the set.
        audit: write refused samples too, below ``rejected/``; they never enter the datalist.
    """

    def __init__(self, output: Path, *, binary_labels: bool = False, audit: bool = False) -> None:
        self.output = output
        self.binary_labels = binary_labels
        self.audit = audit

    def write(self, sample: PlannedSample, digest: str, loaded: LoadedCase, result: SynthesisResult) -> dict[str, Any]:
        """Write the files of a sample and return its manifest line."""
        name = sample.id + output_suffix(loaded.stored)
        files: dict[str, str | None] = dict.fromkeys(("image", "mask", "label", "prediction"))
        if result.record.accepted:
            label = loaded.label or loaded.stored  # a label keeps its own format
            files = {kind: f"{folder}/{name}" for kind, folder in zip(files, FOLDERS, strict=True)}
            files["label"] = label_file = f"labels/{sample.id}{output_suffix(label)}"
            write_image(self._path(f"images/{name}"), result.image, loaded.stored)
            write_mask(self._path(f"masks/{name}"), result.mask, loaded.stored)
            write_label(self._path(label_file), self._label(loaded, result), label)
            write_mask(self._path(f"predictions/{name}"), result.prediction, loaded.stored)
        elif self.audit:
            write_mask(self._path(f"rejected/masks/{name}"), result.planned, loaded.stored)
            write_mask(self._path(f"rejected/predictions/{name}"), result.prediction, loaded.stored)
            if result.refused is not None:
                write_image(self._path(f"rejected/images/{name}"), result.refused, loaded.stored)
        record = result.record.to_json()
        if self._binary(loaded):
            for abnormality in record["abnormalities"]:
                abnormality["value"] = 255
        return manifest_line(sample, digest, record, files)

    def _path(self, relative: str) -> Path:
        path = self.output / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _label(self, loaded: LoadedCase, result: SynthesisResult) -> np.ndarray:
        label = result.label.reshape(result.mask.shape[1:])
        return np.where(result.mask[0] > 0, np.array(255, label.dtype), label) if self._binary(loaded) else label

    def _binary(self, loaded: LoadedCase) -> bool:
        """Whether this label is one of 0 and 255: an empty one is, where others of the set are."""
        label = loaded.label_map
        if not self.binary_labels or label is None:
            return self.binary_labels
        return np.can_cast(np.uint8, label.dtype) and bool(((label == 0) | (label == 255)).all())


def manifest_line(
    sample: PlannedSample, digest: str, record: dict[str, Any], files: dict[str, str | None]
) -> dict[str, Any]:
    """Return one manifest line: where it came from, where it lies, how it was made."""
    head = {"id": sample.id, "source": sample.case.source, "source_sha256": digest}
    return {**head, "seed": record.pop("seed"), "accepted": record.pop("accepted"), **files, **record}
