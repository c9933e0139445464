"""Real cases in three splits, and a set painted into them, of two classes, in 2D and 3D."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from monai_diffaug.cli import main
from tests.runs import bundle_copy, frame, generate, lesion, write_picture, write_volume

CLASSES = {"tumour": 2, "cyst": 5}
SPLITS = {"a": "train", "b": "train", "c": "val", "d": "test"}
SUFFIXES = {2: ".png", 3: ".nii.gz"}


@dataclass(frozen=True)
class Sets:
    """Folders: ``real`` in splits, ``out`` as generated from it and from the normal image n, and the files' suffix."""

    real: Path
    out: Path
    suffix: str


def make_sets(root: Path, spatial_dims: int) -> Sets:
    """Write real cases with a label of each class, and paint two samples into each image; a's copy is called x."""
    suffix = SUFFIXES[spatial_dims]
    for index, (name, split) in enumerate({**SPLITS, "n": ""}.items()):
        image, label = _case(root / "pool" / f"{name}{suffix}", root / "marks", index, spatial_dims)
        if split:
            for kind, file in (("images", image), ("labels", label)):
                (root / "real" / split / kind).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / "real" / split / kind)
    for folder in ("pool", "marks"):
        (root / folder / f"a{suffix}").rename(root / folder / f"x{suffix}")
    more = ("--labels", str(root / "marks"), "--num", "10", "--seed", "4")
    assert generate(root / "pool", root / "out", *more, bundle=two_classes(root / "bundle")) == 0
    return Sets(root / "real", root / "out", suffix)


def two_classes(folder: Path) -> Path:
    """Return a copy of the texture bundle that paints small lesions of two classes, two in an image."""
    kind = "monai_diffaug.synthesis.Abnormality"
    classes = [{"_target_": kind, "name": name, "value": value} for name, value in CLASSES.items()]
    changes = {"abnormalities": classes, "counts": [0.0, 1.0]}
    bundle = bundle_copy(folder, **changes)
    volume = bundle / "configs" / "volume.json"
    body = json.loads(volume.read_text("utf-8"))
    body["masks"]["size"]["high"] = 14
    volume.write_text(json.dumps({**body, **changes}))
    return bundle


def export(kind: str, out: Path, output: Path, *more: str) -> int:
    """Run ``monai-diffaug export`` in this process and return its exit code."""
    return main(["export", kind, str(out), "--output", str(output), *more])


def _case(image: Path, labels: Path, index: int, spatial_dims: int) -> tuple[Path, Path]:
    value = list(CLASSES.values())[index % 2]
    if spatial_dims == 2:
        write_picture(image, frame(index, shape=(128, 144, 3)))
        return image, write_picture(labels / image.name, lesion((128, 144), value=value))
    voxels = np.random.default_rng(index).integers(440, 461, (44, 48, 40)).astype(np.int16)
    label = np.zeros(voxels.shape, np.uint8)
    label[3:9, 4:9, 2:6] = value
    return write_volume(image, voxels), write_volume(labels / image.name, label)
