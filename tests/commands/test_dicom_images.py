"""``dicom generate`` on images that look like something: the polyp bundle's own frames, and a real FLAIR volume."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from monai_diffaug.bundle import shipped_bundles
from monai_diffaug.cli import main
from monai_diffaug.dicom import read_label, read_series
from tests.dicom import phantoms
from tests.runs import manifest

DATA = Path(os.environ.get("MONAI_DIFFAUG_TEST_DATA", ""))
FLAIR = sorted((DATA / "open_ms_lesions").rglob("flair*.nii*")) if DATA.name else []


def generate(bundle: str, source: Path, output: Path, *more: str) -> list[Path]:
    """Run ``dicom generate`` and return the folders of accepted samples."""
    places = ("--input", str(source), "--output", str(output), "--site-secret", str(output.parent / "secret"))
    assert main(["dicom", "generate", "--bundle", bundle, *places, "--num", "4", "--device", "cpu", *more]) in (0, 3)
    folders = [output / "dicom" / line["id"] for line in manifest(output / "generated") if line["accepted"]]
    assert folders and all(folder.is_dir() for folder in folders)
    return folders


def check(folder: Path, before: np.ndarray) -> None:
    """The SEG marks what changed, nothing far from it did, and no text of the source is there."""
    files = sorted(folder.glob("IM*.dcm"))
    after = read_series(files, synthetic=True)[0]
    label = read_label(folder / "SEG.dcm", after).array > 0
    changed = (after.stored != before).any(0)
    assert label.any() and (changed & label).sum() > 0.5 * label.sum()
    near = np.argwhere(label)
    reach = 4 + 0.3 * np.ptp(near, axis=0).max()
    where = np.argwhere(changed)
    assert (where.min(0) >= near.min(0) - reach).all() and (where.max(0) <= near.max(0) + reach).all()
    for path in folder.iterdir():
        assert not [text for text in phantoms.SECRETS if text.encode() in path.read_bytes()]


@pytest.mark.slow
def test_the_polyp_bundle_on_its_own_frames(tmp_path: Path) -> None:
    sources = {}
    for number, path in enumerate(sorted((shipped_bundles()["polyp_endoscopy"] / "samples/frames").iterdir())[:3], 1):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        one = phantoms.endoscopy(instance=number)
        one.Rows, one.Columns, one.PixelData = *pixels.shape[:2], pixels.tobytes()
        phantoms.write(one, tmp_path / "in", stem=f"f{number}")
        sources[f"{number:04d}"] = np.moveaxis(pixels, -1, 0)
    for folder in generate("polyp_endoscopy", tmp_path / "in", tmp_path / "out", "--batch-size", "4"):
        check(folder, sources[folder.name.split("__k")[0][-4:]])
        assert pydicom.dcmread(folder / "SEG.dcm").SegmentSequence[0].SegmentLabel == "Synthetic polyp"


@pytest.mark.skipif(not FLAIR, reason="MONAI_DIFFAUG_TEST_DATA names no folder with open_ms_lesions")
def test_a_flair_volume_as_mr(tmp_path: Path) -> None:
    voxels = np.asanyarray(nibabel.load(FLAIR[0]).dataobj)[..., 60:100].astype(np.int16)  # (columns, rows, slices)
    across, down = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
    for k in range(voxels.shape[2]):
        one = phantoms._image(phantoms.MR, "MR", 2, k + 1, np.ascontiguousarray(voxels[:, :, k].T), bits=16)
        one.ImageType, one.RescaleSlope, one.RescaleIntercept = ["ORIGINAL", "PRIMARY", "M"], "0.1", "0"
        one.ScanningSequence, one.SequenceVariant, one.PatientPosition = "SE", "NONE", "HFS"
        phantoms._place(one, np.array([-90.0, -108.0, float(k)]), (across, down), (1.0, 1.0))
        phantoms.write(one, tmp_path / "in", stem=f"s{k:03d}")
    high = float(voxels.max()) / 10
    for folder in generate(
        "texture_demo", tmp_path / "in", tmp_path / "out", "--intensity-range", "-200", str(high + 1)
    ):
        check(folder, voxels[None])
