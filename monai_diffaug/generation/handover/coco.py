"""COCO annotations of pictures, one for each lesion, with masks that are exact.

Segmentations are uncompressed run lengths (https://cocodataset.org/#format-data), since polygons would cut pixels.
``iscrowd`` is 0, as each is one lesion: evaluation ignores crowds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.generation.files import BadInput, read_map
from monai_diffaug.generation.handover.case_files import LoadedPair, common_suffix, load_pair, put_image
from monai_diffaug.generation.handover.case_sets import CaseSet, SyntheticCase, left_out
from monai_diffaug.generation.handover.class_table import ClassTable
from monai_diffaug.generation.handover.instances import Instance, painted, standing
from monai_diffaug.generation.handover.notice import write_notice
from monai_diffaug.generation.handover.real import RealCase
from monai_diffaug.generation.handover.staging import staged

NAMES = {"training": "train", "validation": "val", "test": "test"}


def write_coco(cases: CaseSet, classes: ClassTable, output: Path, *, link: bool = False) -> str:
    """Write ``images/`` and ``annotations/instances_SPLIT.json``, and return what is to be said.

    Args:
        cases: what is handed over; synthetic ones are for training.
        classes: of the labels.
        output: new or empty folder.
        link: make hard links to images in place of copies.

    Raises:
        ValueError: when a file or the output cannot be used; then nothing is written.
    """
    synthetic = cases.beside(cases.of("validation", "test"))
    suffix = common_suffix(cases.real, synthetic)
    if suffix != ".png":
        raise BadInput(f"{cases.synthetic[0].image} is a volume; COCO describes pictures: use monai or nnunet")
    told = []
    with staged(output, cases.generated.folder) as folder:
        for name in ("images", "annotations"):
            (folder / name).mkdir()
        for split, name in NAMES.items():
            members = [*cases.of(split), *(synthetic if split == "training" else ())]
            if members:
                body = _Annotations(folder / "images", classes, link)
                for case in members:
                    body.add(case)
                path = folder / "annotations" / f"instances_{name}.json"
                path.write_text(json.dumps(body.to_json(cases), ensure_ascii=False), encoding="utf-8")
                told.append(f"{len(body.images)} images and {len(body.lesions)} lesions in {path.name}")
        write_notice(folder, cases.generated, synthetic=len(synthetic), real=len(cases.real))
    return f"wrote {output}: {', '.join(told)}; {len(synthetic)} images are synthetic" + left_out(cases, synthetic)


class _Annotations:
    """Collect the images and lesions of one file."""

    def __init__(self, folder: Path, classes: ClassTable, link: bool) -> None:
        self.folder, self.classes, self.link = folder, classes, link
        self.images: list[dict[str, Any]] = []
        self.lesions: list[dict[str, Any]] = []

    def add(self, case: RealCase | SyntheticCase) -> None:
        """Put a case's image, and note its lesions."""
        pair = load_pair(case.image, case.label, self.classes)
        put_image(pair, self.folder / f"{case.id}.png", link=self.link)
        made = isinstance(case, SyntheticCase)
        height, width = pair.image.array.shape[1:]
        number = len(self.images) + 1
        self.images.append(
            {
                "id": number,
                "width": width,
                "height": height,
                "file_name": f"{case.id}.png",
                "license": 1 if made else 2,
                "synthetic": made,
                **({"source": case.line["source"]} if isinstance(case, SyntheticCase) else {}),
            }
        )
        for one in self._instances(case, pair):
            self.lesions.append({"id": len(self.lesions) + 1, "image_id": number, **annotation(one)})

    def _instances(self, case: RealCase | SyntheticCase, pair: LoadedPair) -> list[Instance]:
        """Return the painted lesions by the manifest, then all else that the label shows by its connected parts."""
        if pair.label is None:
            return []
        label, found = pair.label.copy(), []
        if isinstance(case, SyntheticCase):
            found = list(painted(read_map(case.mask, label.shape, pair.image), case.line, self.classes))
            for one in found:
                label[one.mask] = 0
        return [*found, *standing(label)]

    def to_json(self, cases: CaseSet) -> dict[str, Any]:
        """Return the file's content."""
        made = cases.generated
        licenses = [{"id": 1, "name": "data terms of the bundle", "url": "", "text": made.data_terms}]
        if cases.real:
            licenses.append({"id": 2, "name": "terms of the real data, as their owner states them", "url": ""})
        return {
            "info": {
                "description": "With synthetic images, for research and training only; see SYNTHETIC.txt",
                "contributor": made.made_by,
                "version": str(made.run["versions"].get("monai_diffaug", "")),
                "weights_sha256": dict(made.run["weights"]),
            },
            "licenses": licenses,
            "categories": [
                {"id": value, "name": name, "supercategory": "abnormality"}
                for name, value in self.classes.values.items()
            ],
            "images": self.images,
            "annotations": self.lesions,
        }


def annotation(one: Instance) -> dict[str, Any]:
    """Return a lesion's annotation, without ids; its box is [x, y, width, height] and as exact as its mask."""
    rows, columns = (np.flatnonzero(one.mask.any(axis)) for axis in (1, 0))
    x, y = int(columns[0]), int(rows[0])
    body = {
        "category_id": one.value,
        "bbox": [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        "area": int(one.mask.sum()),
        "segmentation": {"size": list(one.mask.shape), "counts": run_lengths(one.mask)},
        "iscrowd": 0,
        "synthetic": one.record is not None,
    }
    return body if one.record is None else {**body, "prompt": one.record["prompt"], "iou": one.record["iou"]}


def run_lengths(mask: np.ndarray) -> Sequence[int]:
    """Return how many pixels are off, on, off ..., down the columns from the left.

    Example:
        >>> run_lengths(np.array([[0, 1], [0, 1], [1, 1]]))
        [2, 4]
    """
    flat = np.concatenate([[False], mask.astype(bool).ravel(order="F")])
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff([0, *starts, flat.size - 1]).tolist()
