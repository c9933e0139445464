"""Pictures and outlines of the gallery: true proportions, one window for before and after, closed lines."""

from __future__ import annotations

import io
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_diffaug.generation.outlines import trace
from monai_diffaug.generation.scans import Scan, read_scan
from monai_diffaug.generation.slices import cut_views, find_lesion


def stored(array: np.ndarray, folder: Path) -> Scan:
    """Write an array as PNG (H, W[, 3]) or, from int16, as NIfTI of 1 x 1 x 3 mm, and read it back."""
    if array.dtype == np.int16:
        path = folder / "volume.nii.gz"
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    else:
        path = folder / "picture.png"
        Image.fromarray(array).save(path)
    return read_scan(path)


class TestSlices:
    def test_planned_box_is_the_mask_of_a_box(self, tmp_path, spatial_dims):
        low, high = (5, 10, 4)[:spatial_dims], (13, 22, 8)[:spatial_dims]
        mask = np.zeros((20, 30, 12)[:spatial_dims], {2: np.uint8, 3: np.int16}[spatial_dims])
        mask[tuple(map(slice, low, high))] = 1
        scan = stored(mask, tmp_path)
        np.testing.assert_array_equal(scan.boxes([(low, high)]), scan.array[..., 0] > 0)

    def test_volumes_keep_their_proportions(self, tmp_path):
        scan = stored(np.zeros((20, 30, 12), np.int16), tmp_path)
        sizes = {view.plane.name: view.size for view in cut_views(scan, scan, None, None)}
        assert sizes == {"axial": (128, 192), "coronal": (107, 192), "sagittal": (160, 192)}  # 20 x 30 x 36 mm

    def test_patients_right_front_and_head_come_first(self, tmp_path):
        volume = np.zeros((20, 30, 12), np.int16)
        volume[-1, -1, -1] = 1  # in this file the axes point to the right, the front and the head
        assert stored(volume, tmp_path).array[0, 0, 0, 0] == 1

    def test_same_limits_before_and_after(self, tmp_path, spatial_dims):
        rng = np.random.default_rng(0)
        shape, dtype = {2: ((60, 90), np.uint16), 3: ((20, 30, 12), np.int16)}[spatial_dims]
        before = rng.integers(100, 900, shape).astype(dtype)
        after = before.copy()
        middle = tuple(slice(n // 2 - 3, n // 2 + 3) for n in shape)
        after[middle] += 3000
        one, other = stored(before, tmp_path), stored(after, tmp_path)
        for view in cut_views(one, other, one.boxes([[[p.start for p in middle], [p.stop for p in middle]]]), None):
            assert view.before is not None and view.after is not None
            corners = [
                np.asarray(Image.open(io.BytesIO(each)).convert("L"), int)[:8, :8] for each in (view.before, view.after)
            ]
            assert abs(corners[0].mean() - corners[1].mean()) < 6

    def test_eight_bit_pictures_are_shown_as_they_are(self, tmp_path):
        (view,) = cut_views(stored(np.full((60, 90, 3), 40, np.uint8), tmp_path), None, None, None)
        assert view.before is not None
        with Image.open(io.BytesIO(view.before)) as picture:
            assert abs(np.asarray(picture).astype(int) - 40).max() <= 2

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_, np.int16])
    def test_any_pixel_type_even_a_constant_one(self, tmp_path, dtype):
        shape = (60, 90, 1) if dtype == np.int16 else (60, 90)
        for array in (np.arange(5400).reshape(shape), np.full(shape, 7)):
            (view, *_) = cut_views(stored(array.astype(dtype), tmp_path), None, None, None)
            assert max(view.size) == 192

    def test_lesion_is_the_largest_part_and_its_centre_is_met(self, spatial_dims):
        mask = np.zeros((40, 40, 40 if spatial_dims == 3 else 1), bool)
        mask[2:4, 2:4] = True
        mask[20:31, 20:31] = True
        mask[22:29, 22:29] = False  # a ring: its middle is empty
        lesion = find_lesion(mask)
        assert lesion is not None
        assert lesion.low[:2] == (20, 20) and lesion.high[:2] == (31, 31)
        assert all(mask.take(index, axis=axis).any() for axis, index in enumerate(lesion.centre))

    def test_no_lesion(self):
        assert find_lesion(np.zeros((4, 4, 1), bool)) is None

    def test_unknown_suffix(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.nii\.gz"):
            read_scan(tmp_path / "picture.gif")


def area(path: str) -> float:
    """Enclosed area of SVG path data as `trace` writes it, in pixels."""
    total = 0.0
    for loop in path.split("z")[:-1]:
        start, _, moves = loop.partition("l")
        steps = np.array([int(each) for each in re.findall(r"-?\d+", moves)]).reshape(-1, 2)
        points = np.vstack([[int(each) for each in re.findall(r"\d+", start)], steps]).cumsum(0) / 4
        x, y = points.T
        total += abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    return total


class TestOutline:
    def test_disc_has_its_area(self):
        y, x = np.mgrid[:64, :64]
        disc = ((x - 30) ** 2 + (y - 34) ** 2 < 20**2).astype(float)
        assert area(trace(disc)) == pytest.approx(disc.sum(), rel=0.02)

    def test_every_part_and_hole_has_its_line(self):
        mask = np.zeros((30, 30))
        mask[2:12, 2:12] = mask[15:29, 15:29] = 1
        mask[20:24, 20:24] = 0
        assert trace(mask).count("M") == 3

    @pytest.mark.parametrize("seed", range(5))
    def test_any_mask_closes(self, seed):
        mask = np.random.default_rng(seed).random((24, 31)) > 0.5
        assert re.fullmatch(r"(M\d+ \d+l[-\d ]+z)+", trace(mask.astype(float)))

    def test_full_and_faint_masks_are_still_drawn(self):
        assert area(trace(np.ones((8, 8)))) == pytest.approx(64, rel=0.1)
        faint = np.zeros((8, 8))
        faint[4, 4] = 0.1
        assert trace(faint)
