"""NIfTI: header, scaling and stored voxels stay; every volume that cannot be used is refused."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from monai_diffaug.generation.files import (
    BadInput,
    output_suffix,
    read_image,
    read_label,
    read_map,
    write_image,
    write_label,
    write_mask,
)
from monai_diffaug.synthesis import ImageFormat

SHAPE = (16, 18, 20)
CT = ImageFormat(3, 1, (-1000.0, 1000.0))
OBLIQUE = np.array([[0.0, -1.5, 0.1, 3], [0.7, 0, 0, -4], [0.0, 0.2, 3.0, 5], [0, 0, 0, 1]])
KINDS = ["<i2", ">i2", "<u1", "<f4", ">f4", "<f8", "<u2", "<i4"]


def values(dtype: str = "<i2") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(dtype)


def volume(array: np.ndarray, affine: np.ndarray = OBLIQUE, cls: type = nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """Return an image with everything in its header that could get lost."""
    header = cls.header_class(endianness=array.dtype.newbyteorder("S").byteorder == "<" and ">" or "<")
    header.set_data_dtype(array.dtype)
    header["descrip"], header["aux_file"], header["intent_name"] = b"scanner 7", b"none.txt", b"ct"
    header["cal_min"], header["cal_max"], header["toffset"] = -100, 400, 2.5
    header.set_xyzt_units("mm", "sec")
    image = cls(array, affine, header, dtype=array.dtype)
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=1, strip_shears=True)
    return image


def stored_bytes(array: np.ndarray, *, slope: float = np.nan, inter: float = np.nan, **header: object) -> bytes:
    """Return an uncompressed file that holds the array as it is, with header fields set one by one."""
    raw = bytearray(volume(array).to_bytes())
    head = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
    head["scl_slope"], head["scl_inter"] = slope, inter
    for name, value in header.items():
        head[name] = value
    return head.binaryblock + bytes(raw[348:])


def at(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
class TestRoundTrip:
    @pytest.mark.parametrize("dtype", KINDS)
    def test_an_unchanged_image_is_the_same_file(self, tmp_path: Path, suffix: str, dtype: str) -> None:
        array = values(dtype)
        image = volume(array)
        image.header.extensions.append(Nifti1Extension("comment", b"kept"))
        path = at(tmp_path / f"a{suffix}", image.to_bytes())
        stored = read_image(path, CT)
        assert np.array_equal(stored.array[0], array)
        assert stored.array.dtype == np.dtype(dtype).newbyteorder("=")
        assert stored.array.dtype.isnative
        assert output_suffix(stored) == suffix
        write_image(tmp_path / f"b{suffix}", stored.array, stored)
        assert content(tmp_path / f"b{suffix}") == content(path)

    @pytest.mark.parametrize("dtype", KINDS)
    def test_a_changed_voxel_changes_alone(self, tmp_path: Path, suffix: str, dtype: str) -> None:
        path = at(tmp_path / f"a{suffix}", volume(values(dtype)).to_bytes())
        stored = read_image(path, CT)
        painted = stored.array.copy()
        painted[0, 3, 4, 5] = 77
        write_image(tmp_path / f"b{suffix}", painted, stored)
        before, after = nibabel.load(path), nibabel.load(tmp_path / f"b{suffix}")
        assert after.header == before.header
        assert np.array_equal(after.affine, before.affine)
        assert [int(after.header[code]) for code in ("sform_code", "qform_code")] == [2, 1]
        different = np.argwhere(np.asarray(after.dataobj) != np.asarray(before.dataobj))
        assert different.tolist() in ([[3, 4, 5]], [])
        assert np.asarray(after.dataobj)[3, 4, 5] == 77

    def test_a_second_write_gives_equal_bytes(self, tmp_path: Path, suffix: str) -> None:
        stored = read_image(at(tmp_path / f"a{suffix}", volume(values()).to_bytes()), CT)
        for name in "bc":
            write_image(tmp_path / f"{name}{suffix}", stored.array, stored)
        assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"c{suffix}").read_bytes()

    def test_nifti_2(self, tmp_path: Path, suffix: str) -> None:
        path = at(tmp_path / f"a{suffix}", volume(values(), cls=nibabel.Nifti2Image).to_bytes())
        stored = read_image(path, CT)
        write_image(tmp_path / f"b{suffix}", stored.array, stored)
        assert content(tmp_path / f"b{suffix}") == content(path)


class TestScaling:
    @pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u1", "<f4"])
    @pytest.mark.parametrize(("slope", "inter"), [(0.37, -50.5), (-2.0, 0.0), (1.0, -24.0)])
    def test_only_painted_voxels_are_stored_anew(self, tmp_path: Path, dtype: str, slope: float, inter: float) -> None:
        array = values(dtype)
        path = at(tmp_path / "a.nii.gz", stored_bytes(array, slope=slope, inter=inter))
        stored = read_image(path, CT)
        assert stored.array.dtype == np.float32
        assert np.array_equal(stored.array[0], np.asarray(nibabel.load(path).dataobj).astype(np.float32))
        painted = stored.array.copy()
        painted[0, 2:4, 2:4, 2:4] = inter + slope * 40
        write_image(tmp_path / "b.nii.gz", painted, stored)
        expected = array.copy()
        expected[2:4, 2:4, 2:4] = 40
        after = nibabel.load(tmp_path / "b.nii.gz")
        assert after.header == nibabel.load(path).header
        assert np.allclose(after.dataobj.get_unscaled(), expected, atol=0 if dtype[1] != "f" else 1e-4)
        outside = np.ones(SHAPE, bool)
        outside[2:4, 2:4, 2:4] = False
        assert np.array_equal(after.dataobj.get_unscaled()[outside], array[outside])

    def test_values_are_rounded_and_clipped_to_what_is_stored(self, tmp_path: Path) -> None:
        path = at(tmp_path / "a.nii", stored_bytes(values("<u1"), slope=2.0, inter=-10.0))
        stored = read_image(path, CT)
        painted = stored.array.copy()
        painted[0, 0, 0, :3] = (-900, 900, 31)
        write_image(tmp_path / "b.nii", painted, stored)
        assert nibabel.load(tmp_path / "b.nii").dataobj.get_unscaled()[0, 0, :3].tolist() == [0, 255, 20]

    @pytest.mark.parametrize("dtype", ["<i2", "<u1", "<f4"])
    @pytest.mark.parametrize(("slope", "inter"), [(3.0, 0.5), (-3.0, 400.5), (0.7, -0.1)])
    def test_rounding_never_leaves_the_intensity_range(
        self, tmp_path: Path, dtype: str, slope: float, inter: float
    ) -> None:
        """Else the file that was written could not be read as an image of the same bundle."""
        images = ImageFormat(3, 1, (0.2, 400.0))
        array = np.clip(values(dtype), 2, 100)
        stored = read_image(at(tmp_path / "a.nii.gz", stored_bytes(array, slope=slope, inter=inter)), images)
        painted = stored.array.copy()
        painted[0, 0, 0, :2] = images.intensity_range
        write_image(tmp_path / "b.nii.gz", painted, stored)
        again = read_image(tmp_path / "b.nii.gz", images).array
        assert np.abs(again - painted).max() < (1.01 * abs(slope) if dtype != "<u1" else 1e3)

    @pytest.mark.parametrize(("slope", "inter"), [(np.nan, np.nan), (1.0, 0.0), (0.0, 0.0), (0.0, 5.0)])
    def test_none_means_stored_values(self, tmp_path: Path, slope: float, inter: float) -> None:
        path = at(tmp_path / "a.nii", stored_bytes(values(), slope=slope, inter=inter))
        assert read_image(path, CT).array.dtype == np.int16

    def test_a_broken_intercept_is_refused(self, tmp_path: Path) -> None:
        path = at(tmp_path / "a.nii", stored_bytes(values(), slope=2.0, inter=np.inf))
        with pytest.raises(BadInput, match="scaling cannot be used .* set scl_slope to 1"):
            read_image(path, CT)


class TestSpacing:
    def test_lengths_of_the_affines_columns(self, tmp_path: Path) -> None:
        path = at(tmp_path / "a.nii", volume(values()).to_bytes())
        assert read_image(path, CT).spacing == pytest.approx((0.7, np.hypot(1.5, 0.2), np.hypot(0.1, 3.0)), abs=1e-6)

    @pytest.mark.parametrize(("code", "factor"), [(0, 1.0), (1, 1000.0), (2, 1.0), (10, 1.0), (3, 0.001), (4, 1.0)])
    def test_in_millimetres(self, tmp_path: Path, code: int, factor: float) -> None:
        path = at(tmp_path / "a.nii", stored_bytes(values(), xyzt_units=code))
        assert read_image(path, CT).spacing[0] == pytest.approx(0.7 * factor)  # type: ignore[index]

    @pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
    def test_a_broken_affine_is_refused(self, tmp_path: Path, value: float) -> None:
        row = np.zeros(4, np.float32)
        row[:3] = value
        data = stored_bytes(values(), srow_x=row, srow_y=row, srow_z=row)
        with pytest.raises(BadInput, match="gives no size to its voxels; write a valid sform"):
            read_image(at(tmp_path / "a.nii", data), CT)

    def test_axes_in_one_plane_are_refused(self, tmp_path: Path) -> None:
        rows = {f"srow_{axis}": np.array([1, 1, 1, 0], np.float32) for axis in "xyz"}
        with pytest.raises(BadInput, match="gives no size"):
            read_image(at(tmp_path / "a.nii", stored_bytes(values(), **rows)), CT)


class TestRefused:
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_truncated_anywhere(self, tmp_path: Path, suffix: str) -> None:
        whole = at(tmp_path / f"a{suffix}", volume(values()).to_bytes()).read_bytes()
        for share in (0.01, 0.03, 0.3, 0.99):
            (tmp_path / f"b{suffix}").write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(BadInput, match="truncated|header cannot be read"):
                read_image(tmp_path / f"b{suffix}", CT)

    def test_damaged_gzip(self, tmp_path: Path) -> None:
        data = bytearray(at(tmp_path / "a.nii.gz", volume(values()).to_bytes()).read_bytes())
        data[-6] ^= 255  # the checksum
        (tmp_path / "a.nii.gz").write_bytes(data)
        with pytest.raises(BadInput, match="cannot be unzipped"):
            read_image(tmp_path / "a.nii.gz", CT)

    @pytest.mark.parametrize("shape", [(16, 18), (16, 18, 20, 1), (16, 18, 20, 2), (16, 16, 16, 1, 3)])
    def test_other_than_three_dimensions(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        data = nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)).to_bytes()
        with pytest.raises(BadInput, match="exactly three dimensions are needed: save one file per volume"):
            read_image(at(tmp_path / "a.nii", data), CT)

    def test_no_voxels(self, tmp_path: Path) -> None:
        data = stored_bytes(values(), dim=[3, 16, 0, 20, 1, 1, 1, 1])
        with pytest.raises(BadInput, match="holds no voxel"):
            read_image(at(tmp_path / "a.nii", data), CT)

    @pytest.mark.parametrize("dtype", [np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])])
    def test_several_numbers_per_voxel(self, tmp_path: Path, dtype: np.dtype) -> None:
        data = nibabel.Nifti1Image(np.zeros(SHAPE, dtype), np.eye(4)).to_bytes()
        for read in (lambda path: read_image(path, CT), lambda path: read_label(path, SHAPE)):
            with pytest.raises(BadInput, match="one integer or float per voxel is needed"):
                read(at(tmp_path / "a.nii", data))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_nan_and_inf(self, tmp_path: Path, value: float) -> None:
        array = values("<f4")
        array[1, 2, 3] = value
        path = at(tmp_path / "a.nii", volume(array).to_bytes())
        with pytest.raises(BadInput, match="NaN or infinite values; replace them"):
            read_image(path, CT)
        with pytest.raises(BadInput, match="NaN or infinite values; replace them"):
            read_label(path, SHAPE)

    def test_voxels_inside_the_header(self, tmp_path: Path) -> None:
        data = bytearray(volume(values()).to_bytes())
        data[108:112] = np.float32(16).tobytes()
        with pytest.raises(BadInput, match="header"):
            read_image(at(tmp_path / "a.nii", bytes(data)), CT)

    def test_an_unknown_voxel_type(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="header cannot be read|voxel type cannot be read"):
            read_image(at(tmp_path / "a.nii", stored_bytes(values(), datatype=77)), CT)


class TestLabels:
    @pytest.mark.parametrize("dtype", KINDS)
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_an_unchanged_label_is_the_same_file(self, tmp_path: Path, suffix: str, dtype: str) -> None:
        path = at(tmp_path / f"a{suffix}", volume(values(dtype)).to_bytes())
        label = read_label(path, SHAPE)
        assert label.array.dtype == np.dtype(dtype).newbyteorder("=")
        write_label(tmp_path / f"b{suffix}", label.array[None], label)
        assert content(tmp_path / f"b{suffix}") == content(path)

    def test_without_a_label_it_is_placed_as_the_image_is(self, tmp_path: Path) -> None:
        path = at(tmp_path / "a.nii.gz", stored_bytes(values(">i2"), slope=0.5, inter=3.0))
        merged = (values("<u1") % 3).astype(np.uint8)
        write_label(tmp_path / "b.nii.gz", merged[None], read_image(path, CT))
        before, after = nibabel.load(path), nibabel.load(tmp_path / "b.nii.gz")
        assert after.get_data_dtype() == np.uint8
        assert np.array_equal(np.asarray(after.dataobj), merged)
        assert np.array_equal(after.affine, before.affine)
        assert [int(after.header[code]) for code in ("sform_code", "qform_code")] == [2, 1]
        assert after.header["cal_max"] == 0

    def test_any_volume_suffix_may_be_written(self, tmp_path: Path) -> None:
        label = read_label(at(tmp_path / "a.nii", volume(values()).to_bytes()), SHAPE)
        write_label(tmp_path / "b.nii.gz", label.array, label)
        assert content(tmp_path / "b.nii.gz") == content(tmp_path / "a.nii")

    def test_scaled_to_whole_numbers(self, tmp_path: Path) -> None:
        on = np.where(values() > 100, 255, 0).astype(np.uint8)
        label = read_label(at(tmp_path / "a.nii", stored_bytes(on, slope=np.float32(1 / 255), inter=0.0)), SHAPE)
        assert label.array.dtype == np.uint8
        assert np.array_equal(label.array, on // 255)
        write_label(tmp_path / "b.nii", label.array, label)
        assert np.array_equal(np.asarray(nibabel.load(tmp_path / "b.nii").dataobj), on // 255)

    def test_scaled_beyond_any_label_value(self, tmp_path: Path) -> None:
        label = read_label(at(tmp_path / "a.nii", stored_bytes(values(), slope=1e30, inter=0.0)), SHAPE)
        write_label(tmp_path / "b.nii", label.array, label)
        assert nibabel.load(tmp_path / "b.nii").get_data_dtype() == label.array.dtype == np.float32

    def test_values_must_be_whole(self, tmp_path: Path) -> None:
        half = at(tmp_path / "a.nii", volume(values("<f4") + np.float32(0.5)).to_bytes())
        scaled = at(tmp_path / "b.nii", stored_bytes(values(), slope=0.3, inter=0.0))
        for path in (half, scaled):
            with pytest.raises(BadInput, match="not whole numbers; save the label as integers"):
                read_label(path, SHAPE)
            assert read_map(path, SHAPE).dtype == bool

    def test_another_shape_is_refused(self, tmp_path: Path) -> None:
        path = at(tmp_path / "a.nii", volume(values()).to_bytes())
        with pytest.raises(BadInput, match=r"shape \(16, 18, 20\) but its image has \(16, 18, 21\)"):
            read_label(path, (16, 18, 21))
        with pytest.raises(ValueError, match="give one as large"):
            write_label(tmp_path / "b.nii", np.zeros((16, 18, 21), np.int16), read_label(path, SHAPE))

    @pytest.mark.parametrize("dtype", ["<i2", ">f4"])
    def test_mask_is_0_and_1_in_uint8(self, tmp_path: Path, dtype: str) -> None:
        stored = read_image(at(tmp_path / "a.nii", stored_bytes(values(dtype), slope=2.0, inter=1.0)), CT)
        mask = values() > 100
        for name in "bc":
            write_mask(tmp_path / f"{name}.nii.gz", mask[None], stored)
        after = nibabel.load(tmp_path / "b.nii.gz")
        assert after.get_data_dtype() == np.uint8
        assert np.array_equal(np.asarray(after.dataobj), mask)
        assert np.allclose(after.affine, OBLIQUE)
        assert (tmp_path / "b.nii.gz").read_bytes() == (tmp_path / "c.nii.gz").read_bytes()


class TestBombs:
    """A small file may unzip to any amount of memory: what its header does not ask for is not kept."""

    def test_what_lies_behind_the_voxels_is_not_kept(self, tmp_path: Path) -> None:
        whole = volume(values()).to_bytes()
        path = at(tmp_path / "a.nii.gz", whole + bytes(300 * 2**20))
        tracemalloc.start()
        stored = read_image(path, CT)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.array_equal(stored.array[0], values()) and peak < 20 * 2**20

    def test_a_header_that_asks_for_too_much_is_refused_first(self, tmp_path: Path) -> None:
        data = stored_bytes(values(), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
        with pytest.raises(BadInput, match="asks for 27,000,000,000,000 voxels, more than 2,147,483,648; crop it"):
            read_image(at(tmp_path / "a.nii.gz", data), CT)

    def test_members_zipped_apart_are_one_file(self, tmp_path: Path) -> None:
        whole = volume(values()).to_bytes()
        (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in (whole[:400], whole[400:])))
        assert np.array_equal(read_image(tmp_path / "a.nii.gz", CT).array[0], values())

    def test_damage_at_the_end_shows(self, tmp_path: Path) -> None:
        data = bytearray(gzip.compress(volume(values()).to_bytes()))
        data[-6] ^= 1  # of the checksum
        (tmp_path / "a.nii.gz").write_bytes(data)
        with pytest.raises(BadInput, match="cannot be unzipped"):
            read_image(tmp_path / "a.nii.gz", CT)
