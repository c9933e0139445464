"""Small inputs and small runs of the command line, for every test of what it writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from monai_diffaug.bundle import shipped_bundles
from monai_diffaug.cli import main

BUNDLE = shipped_bundles()["texture_demo"]
AFFINE = np.array([[1.5, 0, 0, -10], [0, 1, 0, 5], [0, 0, 2, 7], [0, 0, 0, 1.0]])
GATE = {"_target_": "monai_diffaug.synthesis.QualityGate", "reconstruction_error": 0.005}
REFUSING = {"gate": {**GATE, "iou": 0.9999}}  # nothing that is painted overlaps so well


def frame(seed: int = 0, *, shape: tuple[int, ...] = (96, 112, 3)) -> np.ndarray:
    """Return a slightly noisy picture that the texture bundle takes, channels last."""
    return np.random.default_rng(seed).integers(116, 125, shape).astype(np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_frames(folder: Path, *names: str) -> Path:
    """Write a frame for each name (``a.png``) and return the folder."""
    for seed, name in enumerate(names):
        write_picture(folder / name, frame(seed))
    return folder


def write_volume(path: Path, voxels: np.ndarray | None = None) -> Path:
    """Write a NIfTI file; without voxels a slightly noisy int16 volume that the texture bundle takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if voxels is None:
        voxels = np.random.default_rng(3).integers(440, 461, (44, 48, 40)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)
    return path


def lesion(shape: tuple[int, ...] = (96, 112), *, value: int = 255) -> np.ndarray:
    """Return a label map, uint8, with one square lesion near the upper left corner."""
    label = np.zeros(shape, np.uint8)
    label[10:22, 12:26] = value
    return label


def generate(images: Path, output: Path, *more: str, bundle: Path | str = "texture_demo") -> int:
    """Run ``monai-diffaug generate`` in this process and return its exit code."""
    return main(["generate", "--bundle", str(bundle), "--images", str(images), "--output", str(output), *more])


def manifest(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "manifest.jsonl").read_text("utf-8").splitlines()]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too: relative path -> bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same(one: dict[str, bytes], other: dict[str, bytes]) -> bool:
    """Whether two contents are equal; without pytest's endless comparison of bytes."""
    assert sorted(one) == sorted(other)
    differing = [name for name in one if one[name] != other[name]]
    assert not differing, differing
    return True


def bundle_copy(folder: Path, **entries: Any) -> Path:
    """Copy the texture bundle, replacing some entries of its ``common.json``."""
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("samples"))
    common = folder / "configs" / "common.json"
    common.write_text(json.dumps({**json.loads(common.read_text("utf-8")), **entries}))
    return folder


def stopping_append(monkeypatch: Any, after: int) -> None:
    """Let a run stop as by Ctrl-C when that many samples are committed, each of them whole."""
    from monai_diffaug.generation import manifest as module

    append, left = module.append, [after]

    def stop_or_append(path: Path, line: Any) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        append(path, line)

    monkeypatch.setattr(module, "append", stop_or_append)
