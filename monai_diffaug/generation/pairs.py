"""Labelled images for training, read whole into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_diffaug.generation.cases import CaseList, find_cases
from monai_diffaug.generation.files import read_image, read_label
from monai_diffaug.synthesis import ImageFormat

LABEL_FOLDERS = ("labels", "masks")


def read_pairs(data: str | Path, images: ImageFormat, *, split: str = "train") -> list[dict[str, Any]]:
    """Read the images and labels of one split.

    Args:
        data: a folder with ``images`` and ``labels`` (or ``masks``) inside, or with one such folder for each split
            (``train``, ``val``, ``test``), or a MONAI datalist in JSON.
        images: what the bundle takes.
        split: the split to read, where there are several.

    Returns:
        Dictionaries with ``name``, ``image`` (C, *spatial) and ``label`` (*spatial) as stored, and ``spacing``.

    Raises:
        ValueError: when nothing is found or a file cannot be used; names the first of them.
    """
    found = _find(Path(data), split)
    if found.bad:
        source, sentence = found.bad[0]
        raise ValueError(f"{len(found.bad)} training files cannot be used, the first is {source}: {sentence}")
    pairs = []
    for case in tqdm(found.cases, desc=f"read {split}", disable=None):
        image = read_image(case.image, images)
        if case.label is None:
            raise ValueError(f"{case.image} has no label; training needs one for each image, empty where it is normal")
        label = read_label(case.label, image.array.shape[1:], image)
        pairs.append({"name": case.id, "image": image.array, "label": label.array, "spacing": image.spacing})
    return pairs


def _find(data: Path, split: str) -> CaseList:
    if data.is_file():
        return find_cases(data)
    root = data / split if (data / split).is_dir() else data
    labels = next((root / name for name in LABEL_FOLDERS if (root / name).is_dir()), None)
    if not (root / "images").is_dir() or labels is None:
        raise ValueError(
            f"{root} needs the folders images and {' or '.join(LABEL_FOLDERS)}; give such a folder, one that holds "
            "train, val and test, or a MONAI datalist"
        )
    return find_cases(root / "images", labels)
