"""What is read is what is stored, in its place: against formulas, MONAI's reader, dcm2niix and pydicom's files."""

from __future__ import annotations

import shutil
import subprocess
import warnings

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from monai.data import PydicomReader
from pydicom.data import get_testdata_file

from monai_diffaug.dicom import list_folder, read_series
from monai_diffaug.dicom.geometry import grid_of, place_of
from tests.dicom import phantoms

SERIES = {"oblique CT": phantoms.ct_series, "sagittal MR": phantoms.mr_series}


@pytest.fixture(params=SERIES)
def slices(request):
    return SERIES[request.param]()


class TestVolumes:
    def test_stored_numbers_are_transposed_slices(self, slices, tmp_path):
        phantoms.write(slices, tmp_path)
        [image] = read_series(tmp_path)
        assert image.stored.dtype == slices[0].pixel_array.dtype
        by_uid = {one.SOPInstanceUID: one.pixel_array for one in slices}
        for k, plane in enumerate(image.planes):
            np.testing.assert_array_equal(image.stored[0, :, :, k], by_uid[plane.sop_uid].T)

    def test_every_voxel_lies_where_its_header_says(self, slices, tmp_path):
        phantoms.write(slices, tmp_path)
        [image] = read_series(tmp_path)
        by_uid = {one.SOPInstanceUID: one for one in slices}
        for k, plane in enumerate(image.planes):
            header = by_uid[plane.sop_uid]
            across, down = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
            rows, columns = header.PixelSpacing
            lps = np.array(header.ImagePositionPatient, float) + 5 * columns * across + 9 * rows * down
            ras = image.affine @ [5, 9, k, 1]
            np.testing.assert_allclose(ras[:3], lps * [-1, -1, 1], atol=1e-6)

    def test_equals_monai(self, slices, tmp_path):
        phantoms.write(slices, tmp_path)
        [image] = read_series(tmp_path)
        reader = PydicomReader()
        theirs, meta = reader.get_data(reader.read(str(tmp_path)))
        ours_in_theirs = np.linalg.inv(meta["affine"]) @ image.affine
        where = np.array([[3, 4, 2, 1], [20, 11, 7, 1], [0, 0, 0, 1], [31, 30, 9, 1]]).T
        for ours, index in zip(where.T, (ours_in_theirs @ where).T, strict=True):
            there = np.rint(index).astype(int)
            np.testing.assert_allclose(index, there, atol=1e-4)
            assert float(theirs[tuple(there[:3])]) == pytest.approx(image.image[0][tuple(ours[:3])], abs=1e-3)
        assert image.spacing == pytest.approx(tuple(np.linalg.norm(image.affine[:3, :3], axis=0)))

    @pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
    def test_lies_where_dcm2niix_puts_it(self, slices, tmp_path):
        phantoms.write(slices, tmp_path / "in")
        (tmp_path / "out").mkdir()
        command = ["dcm2niix", "-o", str(tmp_path / "out"), "-f", "x", "-z", "n", "-b", "n", str(tmp_path / "in")]
        assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
        [image] = read_series(tmp_path / "in")
        theirs = nibabel.load(next((tmp_path / "out").glob("x*.nii")))
        values, there = theirs.get_fdata(), np.linalg.inv(theirs.affine) @ image.affine
        for index in np.ndindex(*image.stored.shape[1:]):
            if sum(index) % 13 == 0:
                where = there @ [*index, 1]
                np.testing.assert_allclose(where, np.rint(where), atol=1e-2)
                voxel = tuple(np.rint(where[:3]).astype(int))
                assert values[voxel] == pytest.approx(image.image[0][index], abs=1e-3)

    def test_highdicom_agrees_that_it_is_a_volume(self, slices):
        spacing, order = hd.spatial.get_series_volume_positions(slices)
        grid = grid_of([place_of(one, "slice") for one in slices])
        assert spacing == pytest.approx(grid.spacing[2], abs=1e-6)
        assert sorted(grid.order) == sorted(order)

    def test_values_and_back(self, slices, tmp_path):
        phantoms.write(slices, tmp_path)
        [image] = read_series(tmp_path)
        slope, intercept = float(slices[0].RescaleSlope), float(slices[0].RescaleIntercept)
        np.testing.assert_array_equal(image.image, (image.stored * slope + intercept).astype(np.float32))
        np.testing.assert_array_equal(image.restored(image.image.copy()), image.stored)

    def test_the_order_of_files_does_not_matter(self, slices, tmp_path):
        paths = phantoms.write(slices, tmp_path)
        [one], [other] = read_series(paths), read_series(paths[::-1])
        np.testing.assert_array_equal(one.stored, other.stored)
        np.testing.assert_array_equal(one.affine, other.affine)

    def test_slices_one_by_one(self, slices, tmp_path):
        phantoms.write(slices, tmp_path)
        images = read_series(tmp_path, frames=True)
        assert [one.planes[0].sop_uid for one in images] == [one.SOPInstanceUID for one in slices]
        for image, one in zip(images, slices, strict=True):
            assert image.affine is None
            np.testing.assert_array_equal(image.stored[0], one.pixel_array)

    def test_headers_hold_no_pixels(self, slices, tmp_path):
        phantoms.write(slices, tmp_path)
        [image] = read_series(tmp_path)
        assert not any("PixelData" in plane.header for plane in image.planes)


class TestFrames:
    @pytest.mark.parametrize("jpeg", [False, True])
    def test_endoscopy(self, tmp_path, jpeg):
        phantoms.write(phantoms.endoscopy(jpeg=jpeg), tmp_path)
        [image] = read_series(tmp_path)
        assert image.stored.shape == (3, 36, 50) and image.stored.dtype == np.uint8
        apart = np.abs(image.stored.astype(int) - np.moveaxis(phantoms.picture(1), -1, 0))
        assert apart.max() <= (6 if jpeg else 0)

    def test_multi_frame_ultrasound_by_plane(self, tmp_path):
        phantoms.write(phantoms.ultrasound(), tmp_path)
        images = read_series(tmp_path)
        assert [one.planes[0].frame for one in images] == [0, 1, 2]
        for seed, image in enumerate(images):
            np.testing.assert_array_equal(image.stored, np.moveaxis(phantoms.picture(seed), -1, 0))

    def test_several_files_of_a_series_in_their_order(self, tmp_path):
        phantoms.write([phantoms.endoscopy(instance=number) for number in (3, 1, 2)], tmp_path)
        images = read_series(tmp_path)
        assert [int(one.planes[0].header.InstanceNumber) for one in images] == [1, 2, 3]

    @pytest.mark.parametrize("colour", [False, True])
    def test_secondary_capture(self, tmp_path, colour):
        phantoms.write(phantoms.capture(colour=colour), tmp_path)
        [image] = read_series(tmp_path)
        assert image.stored.shape == (3 if colour else 1, 36, 50)

    @pytest.mark.parametrize("kind", [phantoms.CR, phantoms.DX])
    def test_projections(self, tmp_path, kind):
        upright, inverted = phantoms.projection(kind), phantoms.projection(kind, inverted=True)
        images = []
        for name, one in (("upright", upright), ("inverted", inverted)):
            phantoms.write(one, tmp_path / name)
            [image] = read_series(tmp_path / name)
            np.testing.assert_array_equal(image.stored[0], one.pixel_array)
            np.testing.assert_array_equal(image.restored(image.image.copy()), image.stored)
            images.append(image)
        np.testing.assert_array_equal(images[0].image, 4095 - images[1].image)


class TestListing:
    def test_a_study_is_sorted_into_series(self, tmp_path):
        ct = phantoms.ct_series()
        phantoms.write(ct, tmp_path / "a")
        phantoms.write(phantoms.mr_series(), tmp_path / "b")
        phantoms.write(phantoms.seg_of(ct, phantoms.lesion()), tmp_path / "c")
        phantoms.write(phantoms.report(), tmp_path)
        (tmp_path / "notes.txt").write_text("no image")
        listing = list_folder(tmp_path)
        assert {one.modality: len(one.files) for one in listing.series} == {"CT": 12, "MR": 10}
        assert len(listing.labels) == 1
        assert sorted(reason for _, reason in listing.skipped) == [
            "no DICOM file", "no image but Basic Text SR Storage",
        ]  # fmt: skip

    def test_a_list_of_series_tells_nothing_personal(self, tmp_path):
        phantoms.write(phantoms.ct_series(), tmp_path)
        text = list_folder(tmp_path).series[0].described
        assert not any(secret in text for secret in phantoms.PERSONAL.values())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("CT_small.dcm", (1, 128, 128)),
        ("MR_small.dcm", (1, 64, 64)),
        ("MR_small_RLE.dcm", (1, 64, 64)),
        ("MR_small_bigendian.dcm", (1, 64, 64)),
        ("MR_small_jp2klossless.dcm", (1, 64, 64)),
        ("MR_small_jpeg_ls_lossless.dcm", (1, 64, 64)),
        ("JPEG2000.dcm", (1, 1024, 256)),
        ("examples_ybr_color.dcm", (3, 240, 320)),
        ("examples_rgb_color.dcm", (3, 240, 320)),
        ("examples_palette.dcm", (3, 350, 800)),
        ("SC_rgb.dcm", (3, 100, 100)),
        ("SC_rgb_rle.dcm", (3, 100, 100)),
        ("SC_rgb_rle_2frame.dcm", (3, 100, 100)),
        ("SC_rgb_jpeg_dcmtk.dcm", (3, 100, 100)),
        ("SC_rgb_small_odd.dcm", (3, 3, 3)),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", (3, 100, 100)),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", (3, 100, 100)),
        ("SC_rgb_gdcm_KY.dcm", (3, 100, 100)),
        ("693_J2KR.dcm", (1, 512, 512)),
        ("rtplan.dcm", None),
        ("eCT_Supplemental.dcm", (1, 512, 512, 2)),
    ],
)
def test_files_that_come_with_pydicom(name, shape):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"{name} does not come with this pydicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, of values that are not to the standard
        if shape is None:
            with pytest.raises(ValueError, match="no DICOM image"):
                read_series(path)
            return
        image = read_series(path)[0]
        assert image.stored.shape == shape
        if len(shape) == 3 and shape[0] == 1:
            np.testing.assert_array_equal(image.stored[0], pydicom.dcmread(path).pixel_array)


def test_frames_of_a_series_are_held_within_a_bound(tmp_path, monkeypatch):
    from monai_diffaug.dicom import BadDicom, pixels, reader

    phantoms.write([phantoms.endoscopy(instance=number) for number in (1, 2, 3)], tmp_path)
    monkeypatch.setattr(pixels, "LARGEST_SERIES", 3 * 36 * 50 * 3)
    assert len(reader.read_series(tmp_path)) == 3
    monkeypatch.setattr(pixels, "LARGEST_SERIES", 3 * 36 * 50 * 3 - 1)
    monkeypatch.setattr(reader, "decode", None)  # nothing is decoded
    with pytest.raises(BadDicom, match="take it in parts"):
        reader.read_series(tmp_path)
