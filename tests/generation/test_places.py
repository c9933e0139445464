"""Maps must lie where their image lies, and a file's steps are what the gate judges."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_diffaug.cli import main
from monai_diffaug.generation.files import BadInput, quantiser, read_image, read_label, read_map
from monai_diffaug.synthesis import ImageFormat

VOLUMES = ImageFormat(3, 1, (0.0, 1000.0))
AFFINE = np.array([[1.5, 0.1, 0, -20], [-0.1, 1.2, 0, 5], [0, 0, 2, 7], [0, 0, 0, 1.0]])


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE, slope: float | None = None) -> Path:
    volume = nibabel.Nifti1Image(voxels, affine)
    if slope is not None:
        volume.header.set_slope_inter(slope, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(volume, path)
    return path


@pytest.fixture
def image(tmp_path):
    return read_image(save(tmp_path / "image.nii.gz", np.full((20, 24, 18), 300, np.int16)), VOLUMES)


def test_a_map_in_the_same_place_is_read(tmp_path, image):
    moved = AFFINE.copy()
    moved[0, 3] += 0.05  # a rounding of the header, far below a voxel
    label = save(tmp_path / "label.nii", np.ones((20, 24, 18), np.uint8), moved)
    assert read_label(label, (20, 24, 18), image).array.all() and read_map(label, (20, 24, 18), image).all()


@pytest.mark.parametrize("change", [(0, 3, 3.0), (0, 0, -1.5), (2, 2, 2.2)])
def test_a_map_that_lies_elsewhere_is_refused(tmp_path, image, change):
    row, column, value = change
    moved = AFFINE.copy()
    moved[row, column] = value
    label = save(tmp_path / "label.nii", np.ones((20, 24, 18), np.uint8), moved)
    for read in (read_label, read_map):
        with pytest.raises(BadInput, match="voxels away from its image; resample it onto the image"):
            read(label, (20, 24, 18), image)


def test_only_scaled_volumes_have_steps(tmp_path, image):
    assert quantiser(image) is None
    scaled = read_image(save(tmp_path / "s.nii", np.full((20, 24, 18), 2, np.uint8), slope=100.0), VOLUMES)
    rounded = quantiser(scaled)(np.array([149.0, 151.0, 1000.0, 0.0], np.float32))
    assert rounded.tolist() == [100.0, 200.0, 1000.0, 0.0]


def test_no_accepted_sample_is_without_its_abnormality(tmp_path):
    """With steps of 250 most paint rounds to nothing: what is accepted must show in the file."""
    rng = np.random.default_rng(0)
    save(tmp_path / "in" / "a.nii.gz", rng.integers(1, 3, (60, 60, 50)).astype(np.uint8), slope=250.0)
    order = f"generate --bundle texture_demo --images {tmp_path / 'in'} --num 8 --output {tmp_path / 'out'}"
    assert main(order.split()) in (0, 3)
    before = np.asanyarray(nibabel.load(tmp_path / "in" / "a.nii.gz").dataobj)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        if line["accepted"]:
            after = np.asanyarray(nibabel.load(tmp_path / "out" / line["image"]).dataobj)
            mask = np.asanyarray(nibabel.load(tmp_path / "out" / line["mask"]).dataobj) > 0
            assert (after != before)[mask].mean() > 0.3
    if any(line["accepted"] for line in lines):
        replay = f"replay {tmp_path / 'out' / 'manifest.jsonl'} --output {tmp_path / 'again'}"
        assert main(replay.split()) == 0
