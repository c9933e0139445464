"""A folder of DICOM -> images, labels and sidecars to train on, with a MONAI datalist; all of it is there or nothing.

Files are named by a running number of the patient and the series: nothing of a header goes into a name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from monai_diffaug.dicom.grouping import SEG, DicomFile, Listing, Series, list_folder
from monai_diffaug.dicom.images import BadDicom, DicomImage
from monai_diffaug.dicom.labels import LabelMap, Outlined, label_on, open_label
from monai_diffaug.dicom.reader import read_series
from monai_diffaug.dicom.sidecar import sidecar_of
from monai_diffaug.dicom.written import picture_values, volume_values

__all__ = ["LabelChoice", "Imported", "Write", "import_folder"]


class Write(Protocol):
    """Writes an array, (C, *spatial) or (*spatial): PNG without an affine, NIfTI with one."""

    def __call__(self, path: Path, array: np.ndarray, affine: np.ndarray | None) -> None: ...


@dataclass(frozen=True)
class LabelChoice:
    """Which labels are taken.

    Args:
        kind: ``seg``, ``rtstruct``, ``auto`` (SEG where there is one) or ``none``.
        values: label value of each structure by its name; see ``read_label``.
        by_position: labels drawn on another series count too, where they lie in the same frame of reference.
    """

    kind: str = "auto"
    values: Mapping[str, int] | None = None
    by_position: bool = False


@dataclass
class Imported:
    """What became of a folder.

    Args:
        cases: entries of the datalist, paths below the output folder.
        values: label values by the name of their structure.
        refused: series that cannot be used, with the reason.
        skipped: files that are no images, with the reason.
        notes: what else is to be known.
    """

    cases: list[dict[str, str]] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_folder(
    source: Path,
    output: Path,
    write: Write,
    *,
    series: str | None = None,
    labels: LabelChoice | None = None,
    frames: bool = False,
    split: bool = False,
    synthetic: bool = False,
) -> Imported:
    """Write the images of a folder, their labels and sidecars, and ``datalist.json``.

    Args:
        source: searched with the folders below it.
        output: new or empty folder; it appears when all is written.
        write: writes one array.
        series: only this one, by its UID.
        labels: which labels are taken; all by default.
        frames, split, synthetic: as for ``read_series``.

    Raises:
        BadDicom: when nothing can be imported; a series that cannot be used is told of in what is returned.
        ValueError: when the output folder is not empty, or lies where the files do.
    """
    _check_output(source, output)
    listing = list_folder(source)
    chosen = listing.series if series is None else (listing.choose(series),)
    if not chosen:
        listing.choose()
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        done = _Import(part, write, labels or LabelChoice(), listing)
        done.check_names()
        for name, one in _named(listing, chosen):
            done.take(name, one, frames=frames, split=split, synthetic=synthetic)
        done.finish()
        if output.is_dir():
            output.rmdir()
        os.replace(part, output)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return done.told


def _check_output(source: Path, output: Path) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} is not empty; give a new folder")
    if output.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{output} lies inside {source}; give a folder of its own")
    output.absolute().parent.mkdir(parents=True, exist_ok=True)


def _named(listing: Listing, chosen: tuple[Series, ...]) -> Iterator[tuple[str, Series]]:
    """Yield each chosen series with a name: the number of its patient, its modality, its number there."""
    patients: dict[str, list[str]] = {}
    for one in listing.series:
        patients.setdefault(one.patient, []).append(one.uid)
    numbers = {patient: number for number, patient in enumerate(patients, start=1)}
    for one in chosen:
        kind = "".join(letter for letter in one.modality.lower() if letter.isalnum())[:8]
        within = patients[one.patient].index(one.uid) + 1
        yield f"patient{numbers[one.patient]:03d}_{kind}{within:02d}", one


class _Import:
    """One run: where it writes, and what it has to tell."""

    def __init__(self, root: Path, write: Write, choice: LabelChoice, listing: Listing) -> None:
        self.root, self.write, self.choice = root, write, choice
        self.told = Imported(skipped=list(listing.skipped))
        self._outlined: list[Outlined] = []
        for file in listing.labels:
            self._open(file)
        for folder in ("images", "labels", "regions", "sidecars"):
            (root / folder).mkdir(parents=True)

    def _open(self, file: DicomFile) -> None:
        kind = "seg" if str(file.header.SOPClassUID) in SEG else "rtstruct"
        if self.choice.kind not in ("auto", kind):
            self.told.skipped.append((file.path, f"a {kind.upper()}, which was not asked for"))
            return
        if str(file.header.get("SyntheticData", "")).upper() == "YES":
            self.told.skipped.append((file.path, "a label that is marked as synthetic data"))
            return
        try:
            self._outlined.append(open_label(file))
        except ValueError as error:
            self.told.refused.append((file.name, str(error)))

    def take(self, name: str, series: Series, *, frames: bool, split: bool, synthetic: bool) -> None:
        """Write the images of a series, or none of them."""
        begun = len(self.told.cases)
        try:
            images = read_series(series, frames=frames, split=split, synthetic=synthetic)
            outlined = self._of(images)
            several = len(images) > 1
            for number, image in enumerate(images, start=1):
                self._take_one(f"{name}_{number:04d}" if several else name, image, outlined)
            self.told.notes += [f"{name}: {note}" for note in images[0].notes]
        except ValueError as error:
            for case in self.told.cases[begun:]:
                self._remove(case)
            del self.told.cases[begun:]
            self.told.refused.append((series.described, str(error)))

    def _of(self, images: list[DicomImage]) -> list[Outlined]:
        """Return what outlines structures on a series; of SEG and RTSTRUCT the first, where both are there."""
        mine = [one for one in self._outlined if any(one.belongs_to(image) for image in images)]
        mine = mine or [one for one in self._outlined if any(self._fits(one, image) for image in images)]
        segs = [one for one in mine if str(one.file.header.SOPClassUID) in SEG]
        found = segs or mine
        if self.choice.values is not None:
            return [one for one in found if self._wanted(one)]
        if len(found) > 1:
            told = "; ".join(f"{one.file.name}: {', '.join(one.names)}" for one in found)
            raise BadDicom(
                f"{len(found)} objects outline structures on it ({told}); tell the label value of each that is wanted "
                "(NAME=VALUE)"
            )
        return found

    def _wanted(self, outlined: Outlined) -> bool:
        """Whether an object has a structure of a name that was given."""
        return bool({name.lower() for name in outlined.names} & {name.lower() for name in self.choice.values or {}})

    def check_names(self) -> None:
        """Raise BadDicom when no object has any of the names that were given."""
        if self.choice.values and self._outlined and not any(self._wanted(one) for one in self._outlined):
            there = sorted({name for one in self._outlined for name in one.names})
            raise BadDicom(
                f"the SEG and RTSTRUCT objects outline {', '.join(there)}, but not {', '.join(self.choice.values)}; "
                "give names that they have"
            )

    def _fits(self, outlined: Outlined, image: DicomImage) -> bool:
        return outlined.belongs_to(image) or (self.choice.by_position and outlined.lies_with(image))

    def _take_one(self, name: str, image: DicomImage, outlined: list[Outlined]) -> None:
        flat = image.affine is None
        values = picture_values(image) if flat else volume_values(image)
        label = self._label(image, outlined)
        suffix = ".png" if flat else ".nii.gz"
        case = {"image": f"images/{name}{suffix}"}
        self.told.cases.append(case)
        self.write(self.root / case["image"], values.array, image.affine)
        if label is not None:
            case["label"] = f"labels/{name}{suffix}"
            self.write(self.root / case["label"], label.array, image.affine)
            self.told.values |= label.values
            self.told.notes += [f"{name}: {note}" for note in label.notes]
        if image.padded.any():  # nothing may be painted where there is no image
            case["regions"] = f"regions/{name}{suffix}"
            self.write(self.root / case["regions"], (~image.padded).astype(np.uint8), image.affine)
        sidecar = sidecar_of(image, scale=values.scale, offset=values.offset)
        (self.root / "sidecars" / f"{name}.json").write_text(json.dumps(sidecar, indent=1) + "\n", "utf-8")
        self.told.notes += [f"{name}: {note}" for note in values.notes]

    def _label(self, image: DicomImage, outlined: list[Outlined]) -> LabelMap | None:
        """Return the label of an image, or None where nothing outlines it."""
        maps = [
            label_on(one, image, self.choice.values, by_position=self.choice.by_position)
            for one in outlined
            if self._fits(one, image)
        ]
        if not maps:
            return None
        array, values, notes = maps[0].array, dict(maps[0].values), maps[0].notes
        for one in maps[1:]:
            array = np.where(one.array != 0, one.array, array).astype(np.result_type(one.array, array))
            values, notes = {**values, **one.values}, (*notes, *one.notes)
        return LabelMap(array, values, notes)

    def _remove(self, case: dict[str, str]) -> None:
        stem = Path(case["image"]).name.partition(".")[0]
        for path in (*self.root.glob(f"*/{stem}.*"),):
            path.unlink()

    def finish(self) -> None:
        """Write the datalist, or one for frames and one for volumes where there are both."""
        told = self.told
        if not told.cases:
            raise BadDicom(f"nothing was imported: {'; '.join(f'{name}: {why}' for name, why in told.refused[:4])}")
        kinds = {".png": "2d", ".nii.gz": "3d"}
        parts: dict[str, list[dict[str, str]]] = {
            kind: [case for case in told.cases if case["image"].endswith(suffix)] for suffix, kind in kinds.items()
        }
        both = all(parts.values())
        for kind, cases in parts.items():
            if cases:
                name = f"datalist_{kind}.json" if both else "datalist.json"
                (self.root / name).write_text(json.dumps(self._datalist(cases), indent=1) + "\n", "utf-8")
        for kind, folder in (("label", "labels"), ("regions", "regions")):
            if not any(kind in case for case in told.cases):
                (self.root / folder).rmdir()

    def _datalist(self, cases: list[dict[str, str]]) -> dict[str, Any]:
        names: dict[str, str] = {}
        for name, value in sorted(self.told.values.items(), key=lambda one: one[1]):
            names[str(value)] = f"{names[str(value)]}, {name}" if str(value) in names else name
        return {"labels": {"0": "background", **names}, "training": cases}
