"""Four doors, one synthesizer: the same seed gives the same bytes through each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_diffaug import RandDiffusionAbnormality, RandDiffusionAbnormalityd, load_synthesizer
from monai_diffaug.bundle import shipped_bundles
from monai_diffaug.cli import main
from monai_diffaug.synthesis import AbnormalitySynthesizer

BUNDLE = shipped_bundles()["texture_demo"]
VARIANT = {2: None, 3: "volume"}
SUFFIX = {2: ".png", 3: ".nii.gz"}
AFFINE = np.diag([1.5, 1.0, 2.0, 1.0])


def write_case(folder: Path, spatial_dims: int, name: str = "case") -> np.ndarray:
    """Write a file that the texture bundle takes and return it as the synthesizer sees it, (C, *spatial)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    if spatial_dims == 2:
        picture = rng.integers(100, 140, (150, 170, 3)).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{name}.png")
        return np.moveaxis(picture, -1, 0)
    volume = rng.integers(400, 500, (60, 70, 50)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, AFFINE), folder / f"{name}.nii.gz")
    return volume[None]


def read(path: Path) -> np.ndarray:
    """Return a written file as an array, channels first."""
    if path.name.endswith(".png"):
        pixels = np.asarray(Image.open(path))
        return np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None]
    return np.asanyarray(nibabel.load(path).dataobj)[None]


def accepted(output: Path) -> dict:
    """Return the first accepted line of a manifest."""
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()]
    return next(line for line in lines if line["accepted"])


def generate(images: Path, output: Path, *more: str) -> int:
    return main(["generate", "--bundle", "texture_demo", "--images", str(images), "--output", str(output), *more])


def config_files(spatial_dims: int) -> list[str]:
    names = ["common", *(["volume"] if spatial_dims == 3 else []), "inference"]
    return [str(BUNDLE / "configs" / f"{name}.json") for name in names]


@pytest.fixture
def door(spatial_dims) -> AbnormalitySynthesizer:
    return load_synthesizer("texture_demo", variant=VARIANT[spatial_dims])


def test_command_line_equals_python(tmp_path, spatial_dims, door):
    array = write_case(tmp_path / "in", spatial_dims)
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "2", "--seed", "5") == 0
    line = accepted(tmp_path / "out")
    spacing = None if spatial_dims == 2 else (1.5, 1.0, 2.0)
    result = door(array, seed=line["seed"], spacing=spacing)
    assert result.image.dtype == array.dtype
    assert (read(tmp_path / "out" / line["image"]) == result.image).all()
    assert ((read(tmp_path / "out" / line["mask"]) > 0) == (result.mask > 0)).all()
    assert (read(tmp_path / "out" / line["label"]) == result.label).all()
    assert line["prompt"] == result.record.prompt
    assert line["attempts"] == json.loads(json.dumps(result.record.to_json()))["attempts"]


def test_transform_equals_python(spatial_dims, door, tmp_path):
    array = write_case(tmp_path, spatial_dims)
    transform = RandDiffusionAbnormality(door, prob=1.0).set_random_state(11)
    image, label = transform(torch.from_numpy(array))
    result = door(array, seed=image.meta["diffaug"]["seed"])
    assert image.meta["diffaug"]["accepted"] == result.record.accepted
    assert (image.numpy() == result.image).all() and (label.numpy() == result.label).all()


def test_dictionary_transform_takes_spacing_from_the_affine(tmp_path, door, spatial_dims):
    array = write_case(tmp_path, spatial_dims)
    affine = AFFINE if spatial_dims == 3 else np.eye(4)
    item = {"image": MetaTensor(torch.from_numpy(array), affine=affine)}
    made = RandDiffusionAbnormalityd("image", "label", door, prob=1.0).set_random_state(2)(item)
    spacing = (1.5, 1.0, 2.0) if spatial_dims == 3 else None
    result = door(array, seed=made["image"].meta["diffaug"]["seed"], spacing=spacing)
    assert (made["image"].numpy() == result.image).all() and (made["label"].numpy() == result.label).all()


def test_bundle_equals_command_line(tmp_path, spatial_dims):
    from monai.bundle import run

    write_case(tmp_path / "in", spatial_dims)
    assert generate(tmp_path / "in", tmp_path / "cli", "--num", "2", "--seed", "3") == 0
    run(
        config_file=config_files(spatial_dims),
        bundle_root=str(BUNDLE),
        dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "bundle"),
        num=2,
        seed=3,
    )
    assert same_files(tmp_path / "cli", tmp_path / "bundle")


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files with the same bytes; pages of pictures are made from them."""
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    differing = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
    assert not differing, differing
    return True


@pytest.mark.slow
def test_bundle_runs_from_any_folder(tmp_path, spatial_dims):
    names = ",".join(f"'{path}'" for path in config_files(spatial_dims))
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"[{names}]", "--bundle_root", str(BUNDLE)]
    command += ["--output_dir", str(tmp_path / "out"), "--num", "2"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": ""}
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert accepted(tmp_path / "out")["source"].endswith(SUFFIX[spatial_dims])


@pytest.mark.slow
def test_the_module_is_the_command(tmp_path, spatial_dims):
    write_case(tmp_path / "in", spatial_dims)
    command = [sys.executable, "-m", "monai_diffaug", "generate", "--bundle", str(BUNDLE), "--images", "in"]
    done = subprocess.run([*command, "--output", "out", "--num", "1"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert generate(tmp_path / "in", tmp_path / "here", "--num", "1") == 0
    line = accepted(tmp_path / "here")
    assert (tmp_path / "out" / line["image"]).read_bytes() == (tmp_path / "here" / line["image"]).read_bytes()
