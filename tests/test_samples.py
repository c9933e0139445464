"""The sample inputs that are shipped are what `benchmarks/draw_samples.py` draws."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_diffaug.synthesis.regions import Regions
from monai_diffaug.synthesis.rules import BlackBorder, Glare, Lumen, Overlay

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "bundles" / "texture_demo" / "samples"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        spec = importlib.util.spec_from_file_location("draw_samples", ROOT / "benchmarks" / "draw_samples.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "draw_samples", module)
        spec.loader.exec_module(module)
        yield module


def assert_nearly_equal(drawn: np.ndarray, shipped: np.ndarray) -> None:
    """Equal but for a few roundings: other processors compute sines to the last bit otherwise."""
    difference = np.abs(drawn.astype(int) - shipped.astype(int))
    assert drawn.dtype == shipped.dtype and (difference > 1).mean() < 1e-3 and (difference > 0).mean() < 1e-2


def test_everything_shipped_is_drawn_and_small(script: ModuleType) -> None:
    names = {path.relative_to(SAMPLES).as_posix() for path in SAMPLES.rglob("*") if path.is_file()}
    frames = {f"frames/frame_{n:02d}.png" for n in range(1, len(script.FRAMES) + 1)}
    volumes = {
        f"{folder}/volume_{n:02d}.nii.gz"
        for folder in ("volumes", "volume_regions")
        for n in range(1, len(script.VOLUMES) + 1)
    }
    assert names == frames | volumes
    assert sum((SAMPLES / name).stat().st_size for name in names) < 4e6


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 7])
def test_frame_is_reproduced(script: ModuleType, number: int) -> None:
    with Image.open(SAMPLES / "frames" / f"frame_{number:02d}.png") as shipped:
        assert shipped.mode == "RGB"
        assert_nearly_equal(script.draw_frame(*script.FRAMES[number - 1]), np.asarray(shipped))


def test_volume_is_reproduced(script: ModuleType) -> None:
    image, label, affine = script.draw_volume(*script.VOLUMES[1])
    for folder, drawn in (("volumes", image), ("volume_regions", label)):
        shipped = nib.load(SAMPLES / folder / "volume_02.nii.gz")
        assert_nearly_equal(drawn, np.asanyarray(shipped.dataobj))
        np.testing.assert_allclose(shipped.affine, affine, atol=1e-4)
        np.testing.assert_allclose(shipped.header.get_zooms(), script.VOLUMES[1][2], rtol=1e-5)
    assert image.min() == 0 and 500 < image.max() <= 1000
    assert set(np.unique(label)) == {0, 1} and not label[image == 0].any()


def test_same_seed_same_frame(script: ModuleType) -> None:
    frame = (5, (48, 64), (0.86, 0.47, 0.38), 1.0, (0.1, 0.1), True, "")
    first, second = script.draw_frame(*frame), script.draw_frame(*frame)
    assert first.shape == (48, 64, 3) and first.dtype == np.uint8 and not first[0, 0].any()
    np.testing.assert_array_equal(first, second)


def test_frames_leave_room_for_abnormalities() -> None:
    regions = Regions([BlackBorder(), Glare(), Lumen(), Overlay()])
    for path in sorted((SAMPLES / "frames").glob("*.png")):
        with Image.open(path) as picture:
            image = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
        allowed = regions(image)
        assert 0.35 < allowed.mean() < 1, path.name
        assert not allowed[(image < 0.02).all(0)].any(), path.name
