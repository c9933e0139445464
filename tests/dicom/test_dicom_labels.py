"""SEG and RTSTRUCT land on the voxels that they were drawn on, and on no other series."""

from __future__ import annotations

import copy

import highdicom as hd
import numpy as np
import pytest
from pydicom.sequence import Sequence as Items

from monai_diffaug.dicom import BadDicom, read_label, read_series
from monai_diffaug.dicom.contours import enclosed
from tests.dicom import phantoms
from tests.dicom.phantoms import write

MASK = phantoms.lesion()


def on_image(slices, label, folder, values=None, **options):
    """Write a series and its label; return both as read."""
    write(slices, folder / "image")
    [path] = write(label, folder / "label")
    [image] = read_series(folder / "image")
    return image, read_label(path, image, values, **options)


def expected(image, slices, mask):
    """Return a mask, (rows, columns, slices of the list), as the image has it."""
    where = {one.SOPInstanceUID: k for k, one in enumerate(slices)}
    return np.stack([mask[:, :, where[plane.sop_uid]].T for plane in image.planes], -1)


class TestSegmentations:
    @pytest.mark.parametrize("backwards", [False, True])
    def test_a_mask_in_four_of_twelve_slices(self, tmp_path, backwards):
        slices = phantoms.ct_series()[:: -1 if backwards else 1]
        image, label = on_image(slices, phantoms.seg_of(slices, MASK), tmp_path)
        np.testing.assert_array_equal(label.array, expected(image, slices, MASK))
        assert label.values == {"Lesion": 1} and label.array.dtype == np.uint8

    def test_highdicom_reads_the_same(self, tmp_path):
        slices = phantoms.ct_series()
        image, label = on_image(slices, phantoms.seg_of(slices, MASK), tmp_path)
        seg = hd.seg.segread(next((tmp_path / "label").iterdir()))
        theirs = seg.get_pixels_by_source_instance(
            [plane.sop_uid for plane in image.planes], assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(label.array, theirs[..., 0].transpose(2, 1, 0))

    def test_by_position_where_no_frame_tells_its_source(self, tmp_path):
        slices = phantoms.ct_series()
        seg = phantoms.seg_of(slices, MASK)
        for group in seg.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence
        image, label = on_image(slices, seg, tmp_path)
        np.testing.assert_array_equal(label.array, expected(image, slices, MASK))

    def test_without_a_frame_of_reference(self, tmp_path):
        source = phantoms.endoscopy()
        mask = phantoms.picture()[..., 0] > 150
        image, label = on_image([source], phantoms.seg_of([source], mask), tmp_path)
        np.testing.assert_array_equal(label.array, mask)

    def test_frames_of_a_series_one_by_one(self, tmp_path):
        slices = phantoms.ct_series()
        write(slices, tmp_path / "image")
        [path] = write(phantoms.seg_of(slices, MASK), tmp_path / "label")
        for k, image in enumerate(read_series(tmp_path / "image", frames=True)):
            np.testing.assert_array_equal(read_label(path, image).array, MASK[:, :, k])

    @pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
    def test_other_kinds(self, tmp_path, kind):
        slices = phantoms.ct_series()
        binary = phantoms.seg_of(slices, MASK)
        frames = np.moveaxis(MASK, -1, 0)
        pixels = (0.9 * frames + 0.1).astype(np.float32) if kind == "FRACTIONAL" else frames.astype(np.uint8)
        seg = hd.seg.Segmentation(
            source_images=slices, pixel_array=pixels, segmentation_type=kind,
            segment_descriptions=[hd.seg.SegmentDescription.from_dataset(binary.SegmentSequence[0])],
            series_instance_uid=f"{phantoms.ROOT}.1.70", series_number=70, sop_instance_uid=f"{phantoms.ROOT}.1.70.1",
            instance_number=1, manufacturer="Made-up", manufacturer_model_name="Phantom", software_versions="1",
            device_serial_number="1",
        )  # fmt: skip
        image, label = on_image(slices, seg, tmp_path)
        np.testing.assert_array_equal(label.array, expected(image, slices, MASK))

    def test_values_by_name(self, tmp_path):
        slices = phantoms.ct_series()
        _, label = on_image(slices, phantoms.seg_of(slices, MASK), tmp_path, {"lesion": 300})
        assert label.array.dtype == np.uint16 and set(np.unique(label.array)) == {0, 300}

    def test_a_name_that_it_has_not(self, tmp_path):
        slices = phantoms.ct_series()
        with pytest.raises(BadDicom, match="outlines Lesion, but not polyp; give names that it has"):
            on_image(slices, phantoms.seg_of(slices, MASK), tmp_path, {"polyp": 1})

    def test_of_another_series(self, tmp_path):
        others = phantoms.ct_series(number=12)
        with pytest.raises(BadDicom, match="refers to another series"):
            on_image(phantoms.ct_series(), phantoms.seg_of(others, MASK), tmp_path)

    def test_of_another_series_in_the_same_place(self, tmp_path):
        slices, others = phantoms.ct_series(), phantoms.ct_series(number=12)
        image, label = on_image(slices, phantoms.seg_of(others, MASK), tmp_path, by_position=True)
        np.testing.assert_array_equal(label.array, expected(image, slices, MASK))

    def test_drawn_on_slices_that_were_left_out(self, tmp_path):
        slices = phantoms.ct_series()
        with pytest.raises(BadDicom, match="lie on no slice of the image; give all files"):
            on_image(slices[6:], phantoms.seg_of(slices, MASK), tmp_path)

    def test_that_lies_elsewhere_than_it_says(self, tmp_path):
        slices = phantoms.ct_series()
        seg = phantoms.seg_of(slices, MASK)
        for group in seg.PerFrameFunctionalGroupsSequence:
            group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]
        with pytest.raises(BadDicom, match="lies elsewhere than the slice"):
            on_image(slices, seg, tmp_path)

    def test_of_another_size(self, tmp_path):
        seg = phantoms.seg_of(phantoms.ct_series(), MASK)
        seg.Rows, seg.Columns = 48, 64
        with pytest.raises(BadDicom, match="48 x 64 pixels, its image 64 x 48; resample"):
            on_image(phantoms.ct_series(), seg, tmp_path)


SQUARE = np.array([[10.2, 20.2], [20.2, 20.2], [20.2, 30.2], [10.2, 30.2]])
HOLE = np.array([[13.2, 23.2], [16.2, 23.2], [16.2, 26.2], [13.2, 26.2]])


class TestContours:
    @pytest.mark.parametrize("make", [phantoms.ct_series, phantoms.mr_series])
    def test_a_square_with_a_hole(self, tmp_path, make):
        slices = make()
        image, label = on_image(
            slices, phantoms.rtstruct_of(slices, {"GTV": {4: [SQUARE, HOLE], 5: [SQUARE]}}), tmp_path
        )
        mask = np.zeros((slices[0].Rows, slices[0].Columns, len(slices)), bool)
        mask[21:31, 11:21, 4:6] = True
        mask[24:27, 14:17, 4] = False
        np.testing.assert_array_equal(label.array, expected(image, slices, mask))
        assert label.values == {"GTV": 1}

    def test_on_frames(self, tmp_path):
        slices = phantoms.ct_series()
        write(slices, tmp_path / "image")
        [path] = write(phantoms.rtstruct_of(slices, {"GTV": {4: [SQUARE]}}), tmp_path / "label")
        sums = [int(read_label(path, image).array.sum()) for image in read_series(tmp_path / "image", frames=True)]
        assert sums == [0, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0]

    def test_a_keyhole_contour_has_a_hole_too(self):
        keyhole = np.concatenate([SQUARE, SQUARE[:1], HOLE, HOLE[:1]])
        np.testing.assert_array_equal(
            enclosed(keyhole, (40, 40)), enclosed(SQUARE, (40, 40)) ^ enclosed(HOLE, (40, 40))
        )

    def test_several_regions_need_names(self, tmp_path):
        slices = phantoms.ct_series()
        struct = phantoms.rtstruct_of(slices, {"GTV": {4: [SQUARE]}, "Cord": {5: [HOLE]}})
        with pytest.raises(BadDicom, match="outlines GTV, Cord; tell the label value of each"):
            on_image(slices, struct, tmp_path / "none")
        _, label = on_image(slices, struct, tmp_path / "both", {"gtv": 2, "cord": 3})
        assert (label.values, set(np.unique(label.array))) == ({"GTV": 2, "Cord": 3}, {0, 2, 3})

    def test_overlap_is_told(self, tmp_path):
        slices = phantoms.ct_series()
        struct = phantoms.rtstruct_of(slices, {"GTV": {4: [SQUARE]}, "Core": {4: [HOLE]}})
        _, label = on_image(slices, struct, tmp_path, {"GTV": 1, "Core": 2})
        assert (label.array == 2).sum() == 9 and "overlap in 9 voxels" in label.notes[0]

    def test_of_another_series(self, tmp_path):
        others = phantoms.ct_series(number=12)
        struct = phantoms.rtstruct_of(others, {"GTV": {4: [SQUARE]}})
        with pytest.raises(BadDicom, match="or take it by its position"):
            on_image(phantoms.ct_series(), struct, tmp_path / "a")
        _, label = on_image(phantoms.ct_series(), struct, tmp_path / "b", by_position=True)
        assert label.array.sum() == 100

    def test_of_another_frame_of_reference(self, tmp_path):
        struct = phantoms.rtstruct_of(phantoms.ct_series(number=12), {"GTV": {4: [SQUARE]}})
        struct.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
        with pytest.raises(BadDicom, match="another frame of reference; give the label of this series"):
            on_image(phantoms.ct_series(), struct, tmp_path, by_position=True)

    def test_without_contours(self, tmp_path):
        slices = phantoms.ct_series()
        struct = phantoms.rtstruct_of(slices, {"GTV": {4: [SQUARE]}})
        struct.ROIContourSequence = Items()
        with pytest.raises(BadDicom, match="outlines no structure"):
            on_image(slices, struct, tmp_path)

    def test_polygons_side_by_side_share_no_place(self):
        left, right = np.array([[0, 0], [5, 0], [5, 8], [0, 8]]), np.array([[5, 0], [9, 0], [9, 8], [5, 8]])
        masks = [enclosed(one.astype(float), (12, 12)) for one in (left, right)]
        assert not (masks[0] & masks[1]).any() and (masks[0] | masks[1]).sum() == 72


def test_an_enhanced_series_equals_its_slices(tmp_path):
    slices = phantoms.ct_series()
    for one in copy.deepcopy(slices):
        one.BurnedInAnnotation = "NO"
    write(slices, tmp_path / "single")
    enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
        legacy_datasets=slices, series_instance_uid=f"{phantoms.ROOT}.1.60", series_number=60,
        sop_instance_uid=f"{phantoms.ROOT}.1.60.1", instance_number=1,
    )  # fmt: skip
    write(enhanced, tmp_path / "multi")
    [single], [multi] = read_series(tmp_path / "single"), read_series(tmp_path / "multi")
    np.testing.assert_array_equal(single.image, multi.image)
    np.testing.assert_allclose(single.affine, multi.affine, atol=1e-6)
    assert len({plane.frame for plane in multi.planes}) == 12
