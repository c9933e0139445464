"""Squares, rings and bytes: alike for whatever comes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from monai_diffaug.evaluation.reader_study.clues import CLUES, compare, measure, warning
from monai_diffaug.evaluation.reader_study.framing import UNITS, common_format, cut_squares, draw, encode, read_mask
from monai_diffaug.generation.scans import read_scan
from tests.reader_studies import disc
from tests.runs import frame, write_picture, write_volume


@pytest.fixture
def case(tmp_path, spatial_dims):
    """An image and its label as scan and mask, flat or a volume of unequal spacing."""
    if spatial_dims == 2:
        image = write_picture(tmp_path / "a.png", frame(shape=(120, 140, 3)))
        label = write_picture(tmp_path / "l.png", disc(12))
    else:
        voxels = np.zeros((44, 48, 40), np.uint8)
        voxels[10:20, 30:46, 5:11] = 2
        voxels[30:33, 5:8, 20:23] = 1
        image, label = write_volume(tmp_path / "a.nii.gz"), write_volume(tmp_path / "l.nii.gz", voxels)
    return read_scan(image), read_mask(label)


@pytest.mark.parametrize("close", [True, False])
def test_every_square_is_square_inside_and_holds_the_lesion(case, close):
    scan, mask = case
    for cut in cut_squares(scan, mask, close=close):
        others = [axis for axis in range(3) if axis != cut.axis]
        left, upper, right, lower = cut.box
        width, height = (right - left) * scan.spacing[others[0]], (lower - upper) * scan.spacing[others[1]]
        assert width == pytest.approx(height)
        assert min(left, upper) >= -1e-9
        assert right <= mask.shape[others[0]] + 1e-9 and lower <= mask.shape[others[1]] + 1e-9
        x, y, major, minor, _ = cut.ring
        assert 0 < x < UNITS and 0 < y < UNITS and 0 < minor <= major


def test_the_ring_lies_around_the_lesion(tmp_path):
    scan = read_scan(write_picture(tmp_path / "a.png", frame(shape=(120, 140, 3))))
    cut = cut_squares(scan, read_mask(write_picture(tmp_path / "l.png", disc(12))), close=False)[0]
    x, y, major, minor, _ = cut.ring
    assert cut.box == (10, 0, 130, 120)  # the middle of a wide frame
    assert (x, y) == pytest.approx((1000 * 70.5 / 120, 1000 * 55.5 / 120), abs=1)
    assert major == pytest.approx(1.35 * 1000 * 12 / 120, rel=0.05) and minor == pytest.approx(major, rel=0.02)
    assert cut.share == pytest.approx(np.sqrt(np.pi) * 12 / 120, rel=0.03)


def test_the_slice_with_the_largest_extent_is_shown(tmp_path):
    voxels = np.zeros((44, 48, 40), np.uint8)
    voxels[10:12, 10:12, 5:12] = 1
    voxels[8:16, 8:16, 9] = 1
    scan = read_scan(write_volume(tmp_path / "l.nii.gz", voxels))
    mask = read_mask(tmp_path / "l.nii.gz")
    for cut in cut_squares(scan, mask, close=True):
        shown = mask[(slice(None),) * cut.axis + (cut.index,)].sum()
        assert shown == mask.sum(axis=tuple(axis for axis in range(3) if axis != cut.axis)).max()


def test_one_value_of_a_label(tmp_path):
    voxels = np.zeros((44, 48, 40), np.uint8)
    voxels[:20], voxels[30:33, 5:8, 20:23] = 1, 2
    path = write_volume(tmp_path / "l.nii.gz", voxels)
    assert read_mask(path, 2).sum() == 27 and read_mask(path).sum() == (voxels > 0).sum()


def test_what_cannot_be_cut_is_refused(case):
    scan, mask = case
    with pytest.raises(ValueError, match="holds no lesion"):
        cut_squares(scan, np.zeros_like(mask), close=True)
    with pytest.raises(ValueError, match="must be equal"):
        cut_squares(scan, mask[1:], close=True)


@pytest.mark.parametrize("colour", [True, False])
def test_pictures_of_one_size_have_the_same_number_of_bytes_and_no_metadata(case, colour):
    scan, mask = case
    cuts = cut_squares(scan, mask, close=True)
    form = common_format(cuts, colour=colour)
    pixels = draw(scan, cuts, form)
    files = [encode(pixels), encode(np.zeros_like(pixels))]
    assert len(files[0]) == len(files[1])
    with Image.open(io.BytesIO(files[0])) as picture:
        assert picture.size == (form.side * len(cuts), form.side) and picture.mode == ("RGB" if colour else "L")
        assert not picture.info


def test_a_finer_frame_is_brought_to_the_resolution_of_a_coarser_one(tmp_path):
    """The same scene taken with twice the pixels looks the same, in close-ups too."""
    coarse = np.kron(np.random.default_rng(0).integers(60, 190, (30, 35)), np.ones((4, 4)))
    coarse = ndimage.gaussian_filter(coarse, 2).astype(np.uint8)
    scans, cuts = [], []
    for name, by in (("a", 1), ("b", 2)):
        size = (140 * by, 120 * by)
        write_picture(
            tmp_path / f"{name}.png", np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
        )
        label = np.asarray(Image.fromarray(disc(12)).resize(size, Image.Resampling.NEAREST))
        write_picture(tmp_path / f"{name}_label.png", label)
        scans.append(read_scan(tmp_path / f"{name}.png"))
        cuts.append(cut_squares(scans[-1], read_mask(tmp_path / f"{name}_label.png"), close=True))
    form = common_format([cut for each in cuts for cut in each], colour=False)
    assert form.frame == 120
    one, other = (draw(scan, each, form).astype(int) for scan, each in zip(scans, cuts, strict=True))
    assert abs(one - other).mean() < 3
    assert np.abs(np.diff(one)).mean() == pytest.approx(np.abs(np.diff(other)).mean(), rel=0.1)


class TestClues:
    def test_what_lies_in_the_ring_is_no_clue(self, tmp_path):
        label = disc(12)
        cuts = cut_squares(read_scan(write_picture(tmp_path / "l.png", label)), label.T[..., None] > 0, close=False)
        plain = np.full((120, 120, 3), 90, np.uint8)
        painted = np.where(label[:, 10:130, None] > 0, 250, plain).astype(np.uint8)
        assert measure(painted, cuts).tolist() == measure(plain, cuts).tolist()
        assert (measure(plain // 2, cuts) != measure(plain, cuts)).any()

    def test_a_strong_one_is_spoken_of(self):
        rng = np.random.default_rng(0)
        real, synthetic = rng.normal(size=(30, len(CLUES))), rng.normal(size=(30, len(CLUES)))
        assert not warning(compare(real, synthetic), 30)
        synthetic[:, 2] -= 4
        found = compare(real, synthetic)
        assert found["sharpness"] > 0.95 and "by its sharpness" in warning(found, 30)
        assert not warning(found, 3)
