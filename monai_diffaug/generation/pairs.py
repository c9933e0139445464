"""Labelled images for training, read whole into memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_diffaug.generation.cases import Case, CaseList, find_cases
from monai_diffaug.generation.datalists import read_datalist
from monai_diffaug.generation.files import read_image, read_label
from monai_diffaug.generation.folders import stem_below
from monai_diffaug.generation.splits import NAMES, divide
from monai_diffaug.synthesis import ImageFormat

LABEL_FOLDERS = ("labels", "masks")
TOLD = 5  # bad files that an error names


def read_pairs(
    data: str | Path, images: ImageFormat, *, split: str = "train", patient: str | None = None
) -> list[dict[str, Any]]:
    """Read the images and labels of one split.

    Args:
        data: a folder with ``images`` and ``labels`` (or ``masks``) inside, or with one such folder for each split
            (``train``, ``val``, ``test``), or a MONAI datalist in JSON (``training``, ``validation``, ``test``). Where
            there is one set alone it is divided by name: a tenth for ``val`` and one for ``test`` (``splits.divide``).
        images: what the bundle takes.
        split: the split to read.
        patient: regular expression that finds the patient in a case's path, so that none is in two splits.

    Returns:
        Dictionaries with ``name``, ``image`` (C, *spatial) and ``label`` (*spatial) as stored, and ``spacing``.

    Raises:
        ValueError: when nothing is found or a file cannot be used; names the first of them.
    """
    return read_found(find_split(Path(data), split, patient=patient), images, name=split)


def read_found(found: CaseList, images: ImageFormat, *, name: str = "images") -> list[dict[str, Any]]:
    """Read cases that were found, as ``read_pairs`` does; ``name`` is for the progress bar."""
    pairs, bad = [], list(found.bad)
    for case in tqdm(found.cases, desc=f"read {name}", disable=None):
        try:
            pairs.append(_pair(case, images))
        except ValueError as error:
            bad.append((case.source, str(error)))
    if bad:
        first = "; ".join(one if source in one else f"{source}: {one}" for source, one in bad[:TOLD])
        more = f"; and {len(bad) - TOLD} more" if len(bad) > TOLD else ""
        raise ValueError(f"{len(bad)} files cannot be used: {first}{more}")
    return pairs


def read_splits(
    data: str | Path, images: ImageFormat, *, patient: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Read ``train``, ``val`` and, where there is one, ``test``; see ``read_pairs``."""
    there = ["train", "val"]
    try:
        find_split(Path(data), "test", patient=patient)
        there.append("test")
    except ValueError:  # training needs none
        pass
    return {split: read_pairs(data, images, split=split, patient=patient) for split in there}


def find_split(data: Path, split: str, *, patient: str | None = None) -> CaseList:
    """Find the files of one split; arguments and errors are those of ``read_pairs``."""
    if data.is_file():
        return _listed(data, split, patient)
    named = {name: [data / one for one in of if (data / one).is_dir()] for name, of in NAMES.items()}
    if not any(named.values()):
        return _divided(find_labelled(data), split, patient)
    return find_labelled(next(iter(named.get(split, ())), data / split))


def find_labelled(folder: Path) -> CaseList:
    """Find the cases of a folder with ``images`` and ``labels`` (or ``masks``) inside.

    Raises:
        ValueError: when it has not both.
    """
    labels = next((folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()), None)
    if not (folder / "images").is_dir() or labels is None:
        raise ValueError(
            f"{folder} needs the folders images and {' or '.join(LABEL_FOLDERS)}; give such a folder, one that holds "
            "train, val and test, or a MONAI datalist"
        )
    return find_cases(folder / "images", labels)


def _listed(data: Path, split: str, patient: str | None) -> CaseList:
    """Return one split of a datalist; where it has no validation cases, its training cases are divided."""
    there = {"training": True, **read_datalist(data).passthrough}
    keys = {name: next((key for key in of if there.get(key)), None) for name, of in NAMES.items()}
    if keys["val"] is None:
        return _divided(find_cases(data), split, patient)
    if keys.get(split) is None:
        raise ValueError(f"{data} has no cases under {' or '.join(NAMES.get(split, (split,)))}; add them")
    found = {name: find_cases(data, split=key) for name, key in keys.items() if key is not None}
    return _named_alike(found[split], found.values())


def _named_alike(found: CaseList, others: Iterable[CaseList]) -> CaseList:
    """Return cases with ids below the root of all splits: else two of them might have the same in two splits."""
    roots = {str(one.root) for one in others}
    if len(roots) == 1:
        return found
    root = Path(os.path.commonpath(roots))
    cases = tuple(replace(case, id=stem_below(case.image, root).replace("/", "__")) for case in found.cases)
    return replace(found, root=root, cases=cases)


def _divided(found: CaseList, split: str, patient: str | None) -> CaseList:
    """Return one split of a set that has none of its own."""
    chosen = divide([case.id for case in found.cases], patient=patient).get(split, frozenset())
    cases = tuple(case for case in found.cases if case.id in chosen)
    if found.cases and not cases:
        raise ValueError(f"{len(found.cases)} images of {found.root} are too few to have a split {split}; add images")
    return replace(found, cases=cases)


def _pair(case: Case, images: ImageFormat) -> dict[str, Any]:
    image = read_image(case.image, images)
    if case.label is None:
        raise ValueError(f"{case.image} has no label; training needs one for each image, empty where it is normal")
    label = read_label(case.label, image.array.shape[1:], image)
    return {"name": case.id, "image": image.array, "label": label.array, "spacing": image.spacing}
