"""A folder of DICOM becomes a folder to train on: values, places, labels, sidecars, names; all of it or nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from monai.data import NibabelReader, PILReader, load_decathlon_datalist

from monai_diffaug.cli import main
from monai_diffaug.dicom import BadDicom, LabelChoice, import_folder, read_series
from monai_diffaug.dicom.sidecar import check_sidecar
from monai_diffaug.generation.pairs import read_pairs
from monai_diffaug.generation.placed import write_placed
from monai_diffaug.synthesis import ImageFormat
from tests.dicom import phantoms
from tests.dicom.phantoms import write

MASK = phantoms.lesion()
SQUARE = np.array([[10.2, 20.2], [20.2, 20.2], [20.2, 30.2], [10.2, 30.2]])


def nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return values and affine, through MONAI."""
    reader = NibabelReader()
    values, meta = reader.get_data(reader.read(path))
    return values, meta["affine"]


def png(path: Path) -> np.ndarray:
    """Return pixels (columns, rows) or (columns, rows, 3), through MONAI."""
    reader = PILReader()
    return reader.get_data(reader.read(path))[0]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A CT with a SEG, an MR with an RTSTRUCT, endoscopy without a label, a report; of one patient."""
    root = tmp_path_factory.mktemp("study")
    ct, mr = phantoms.ct_series(), phantoms.mr_series()
    write(ct, root / "b")
    write(mr, root / "a")
    write(phantoms.seg_of(ct, MASK), root / "labels")
    write(phantoms.rtstruct_of(mr, {"Lesion": {4: [SQUARE]}}), root / "labels")
    write([phantoms.endoscopy(instance=1), phantoms.endoscopy(instance=2)], root / "c")
    write(phantoms.report(), root)
    return root


@pytest.fixture(scope="module")
def imported(study, tmp_path_factory):
    output = tmp_path_factory.mktemp("imported") / "out"
    return output, import_folder(study, output, write_placed)


class TestStudy:
    def test_what_is_told(self, imported):
        _, told = imported
        assert [case["image"] for case in told.cases] == [
            "images/patient001_mr01.nii.gz", "images/patient001_ct02.nii.gz",
            "images/patient001_es03_0001.png", "images/patient001_es03_0002.png",
        ]  # fmt: skip
        assert ["label" in case for case in told.cases] == [True, True, False, False]
        assert told.values == {"Lesion": 1} and not told.refused and len(told.skipped) == 1

    @pytest.mark.parametrize(("folder", "name"), [("b", "patient001_ct02"), ("a", "patient001_mr01")])
    def test_volumes_read_back_as_modality_values_in_their_place(self, study, imported, folder, name):
        [image] = read_series(study / folder)
        values, affine = nifti(imported[0] / "images" / f"{name}.nii.gz")
        np.testing.assert_array_equal(values, image.image[0])
        np.testing.assert_allclose(affine, image.affine, atol=1e-5)
        label, there = nifti(imported[0] / "labels" / f"{name}.nii.gz")
        assert label.sum() == (MASK.sum() if folder == "b" else 100)
        np.testing.assert_array_equal(there, affine)

    def test_frames_are_pictures(self, imported):
        picture = png(imported[0] / "images/patient001_es03_0001.png")
        np.testing.assert_array_equal(picture.transpose(1, 0, 2), phantoms.picture(1))

    def test_frames_and_volumes_have_a_datalist_each(self, imported):
        output, _ = imported
        for kind, count in (("2d", 2), ("3d", 2)):
            listed = load_decathlon_datalist(str(output / f"datalist_{kind}.json"), data_list_key="training")
            assert len(listed) == count and all(Path(case["image"]).is_file() for case in listed)

    def test_no_secret_is_in_any_text_or_name(self, imported):
        output, _ = imported
        for path in output.rglob("*"):
            text = path.name + (path.read_text("utf-8") if path.suffix == ".json" else "")
            text += path.read_bytes().decode("latin-1") if path.suffix == ".png" else ""
            found = [secret for secret in phantoms.SECRETS if secret in text and secret != phantoms.ROOT]
            assert not found, (path, found)

    def test_sidecars_tell_what_export_needs(self, study, imported):
        body = json.loads((imported[0] / "sidecars/patient001_ct02.json").read_text())
        [image] = read_series(study / "b")
        check_sidecar(body, image)
        assert [one["sop_uid"] for one in body["planes"]] == [plane.sop_uid for plane in image.planes]
        assert body["planes"][3]["intercept"] == -1024 and body["transfer_syntax"] == "1.2.840.10008.1.2.1"
        [other] = read_series(study / "a")
        with pytest.raises(BadDicom, match="is not what was imported: its series uid differs"):
            check_sidecar(body, other)

    def test_the_same_again(self, study, imported, tmp_path):
        import_folder(study, tmp_path / "again", write_placed)
        for path in sorted(imported[0].rglob("*.*")):
            assert path.read_bytes() == (tmp_path / "again" / path.relative_to(imported[0])).read_bytes()


def test_training_reads_it(tmp_path):
    for number in range(4):
        ct = phantoms.ct_series(number=100 + number, seed=number, slices=16)
        for one in ct:
            one.PatientID = f"someone {number}"
        write(ct, tmp_path / f"in/{number}")
        write(phantoms.seg_of(ct, phantoms.lesion((64, 48, 16)), number=200 + number), tmp_path / "in/seg")
    import_folder(tmp_path / "in", tmp_path / "out", write_placed)
    images = ImageFormat(spatial_dims=3, channels=1, intensity_range=(-1024, 3071))
    train = read_pairs(tmp_path / "out/datalist.json", images)
    held = read_pairs(tmp_path / "out/datalist.json", images, split="val")
    assert len(train) == 3 and len(held) == 1
    assert all(one["label"].sum() == MASK.sum() for one in train + held)
    assert train[0]["spacing"] == pytest.approx((0.8, 0.6, 2.5))


class TestFramesOfGrey:
    def test_ct_slices_are_16_bit_pictures_with_1024_added(self, tmp_path):
        ct = phantoms.ct_series()
        write(ct, tmp_path / "in")
        write(phantoms.seg_of(ct, MASK), tmp_path / "in")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed, frames=True)
        assert len(told.cases) == 12
        picture = png(tmp_path / "out" / told.cases[4]["image"])
        np.testing.assert_array_equal(picture.T.astype(int) - 1024, phantoms.ct_hu()[:, :, 4])
        label = png(tmp_path / "out" / told.cases[4]["label"])
        np.testing.assert_array_equal(label.T != 0, MASK[:, :, 4])
        body = json.loads((tmp_path / "out/sidecars/patient001_ct01_0005.json").read_text())
        assert (body["scale"], body["offset"]) == (1, -1024)

    def test_fractional_values_are_told_by_scale_and_offset(self, tmp_path):
        write(phantoms.mr_series(), tmp_path / "in")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed, frames=True)
        name = Path(told.cases[3]["image"]).stem
        picture = png(tmp_path / "out" / told.cases[3]["image"])
        body = json.loads((tmp_path / f"out/sidecars/{name}.json").read_text())
        values = body["scale"] * picture.T + body["offset"]
        np.testing.assert_array_equal(values, read_series(tmp_path / "in", frames=True)[3].image[0])

    @pytest.mark.parametrize("inverted", [False, True])
    def test_projections_are_upright(self, tmp_path, inverted):
        write(phantoms.projection(inverted=inverted), tmp_path / "in")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed)
        picture = png(tmp_path / "out" / told.cases[0]["image"])
        stored = phantoms.projection().pixel_array
        np.testing.assert_array_equal(picture.T, 4095 - stored.astype(int) if inverted else stored)


class TestBadSeries:
    def test_it_is_refused_and_the_others_stay(self, tmp_path):
        ct = phantoms.ct_series()
        write(ct[:4] + ct[6:], tmp_path / "in/ct")
        write(phantoms.mr_series(), tmp_path / "in/mr")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed)
        assert len(told.cases) == 1 and "2 slice(s) are missing" in told.refused[0][1]
        assert len(list((tmp_path / "out").rglob("*.nii.gz"))) == 1

    def test_nothing_is_left_of_a_series_whose_label_is_bad(self, tmp_path):
        sources = [phantoms.endoscopy(instance=number) for number in (1, 2)]
        write(sources, tmp_path / "in")
        seg = phantoms.seg_of([sources[1]], np.ones((36, 50), bool))
        seg.Rows, seg.Columns = 50, 36
        write(seg, tmp_path / "in")
        write(phantoms.capture(), tmp_path / "in")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed)
        assert len(told.cases) == 1 and len(told.refused) == 1
        assert len(list((tmp_path / "out/images").iterdir())) == len(list((tmp_path / "out/sidecars").iterdir())) == 1

    @pytest.mark.parametrize("fill", ["nothing", "bad"])
    def test_nothing_at_all_is_left_where_none_is_good(self, tmp_path, fill):
        (tmp_path / "in").mkdir()
        if fill == "bad":
            write(phantoms.ct_series()[::2] + phantoms.ct_series()[1:2], tmp_path / "in")
        with pytest.raises(BadDicom):
            import_folder(tmp_path / "in", tmp_path / "out", write_placed)
        assert [one.name for one in tmp_path.iterdir()] == ["in"]

    def test_a_full_disk_leaves_nothing(self, tmp_path):
        write(phantoms.ct_series(), tmp_path / "in")

        def full(path: Path, array: np.ndarray, affine: np.ndarray | None) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            import_folder(tmp_path / "in", tmp_path / "out", full)
        assert [one.name for one in tmp_path.iterdir()] == ["in"]

    @pytest.mark.parametrize("place", ["full", "in/below"])
    def test_the_output_must_be_new_and_elsewhere(self, tmp_path, place):
        write(phantoms.ct_series(), tmp_path / "in")
        (tmp_path / "full").mkdir()
        (tmp_path / "full/kept.txt").write_text("kept")
        with pytest.raises(ValueError, match="is not empty|lies inside"):
            import_folder(tmp_path / "in", tmp_path / place, write_placed)

    def test_several_labels_need_names(self, tmp_path):
        ct = phantoms.ct_series()
        write(ct, tmp_path / "in")
        write(phantoms.seg_of(ct, MASK, label="A"), tmp_path / "in")
        write(phantoms.seg_of(ct, np.roll(MASK, 5, 0), label="B", number=17), tmp_path / "in")
        with pytest.raises(BadDicom, match="2 objects outline structures"):
            import_folder(tmp_path / "in", tmp_path / "out", write_placed)
        told = import_folder(
            tmp_path / "in", tmp_path / "out", write_placed, labels=LabelChoice(values={"A": 1, "B": 2})
        )
        assert told.values == {"A": 1, "B": 2}
        assert set(np.unique(nifti(tmp_path / "out" / told.cases[0]["label"])[0])) == {0, 1, 2}

    def test_a_name_chooses_among_objects(self, tmp_path):
        """Each study has names of its own: what one object lacks another may have."""
        ct = phantoms.ct_series()
        write(ct, tmp_path / "in")
        write(phantoms.seg_of(ct, MASK, label="A"), tmp_path / "in")
        write(phantoms.seg_of(ct, np.roll(MASK, 5, 0), label="B", number=17), tmp_path / "in")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed, labels=LabelChoice(values={"b": 3}))
        label = nifti(tmp_path / "out" / told.cases[0]["label"])[0]
        assert set(np.unique(label)) == {0, 3} and (label > 0).sum() == MASK.sum()
        with pytest.raises(BadDicom, match="outline A, B, but not C; give names that they have"):
            import_folder(tmp_path / "in", tmp_path / "no", write_placed, labels=LabelChoice(values={"C": 1}))
        assert not (tmp_path / "no").exists()

    def test_what_was_made_is_no_source(self, tmp_path):
        write([phantoms.ct_series()[0], phantoms.capture()], tmp_path / "in")
        made = phantoms.endoscopy()
        made.SyntheticData = "YES"
        write(made, tmp_path / "in")
        told = import_folder(tmp_path / "in", tmp_path / "out", write_placed)
        assert len(told.cases) == 2 and "synthetic data" in told.refused[0][1]


class TestCommandLine:
    def test_import(self, study, tmp_path, capsys):
        command = ["dicom", "import", "--input", str(study), "--output", str(tmp_path / "out")]
        assert main([*command, "--labels-from", "seg", "--lesion", "lesion=2", "--series", f"{phantoms.ROOT}.1.1"]) == 0
        out, err = capsys.readouterr()
        assert "imported 1 images, 1 of them with a label; 0 refused" in out
        assert "skipped 1 file(s): a RTSTRUCT, which was not asked for" in err
        assert json.loads((tmp_path / "out/datalist.json").read_text())["labels"] == {"0": "background", "2": "Lesion"}

    def test_some_refused(self, tmp_path, capsys):
        write(phantoms.ct_series()[::2] + phantoms.ct_series()[1:2], tmp_path / "in")
        write(phantoms.endoscopy(), tmp_path / "in")
        assert main(["dicom", "import", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 1
        assert "refused" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["--lesion", "polyp"], "needs a name, = and a label value"),
            (["--lesion", "a=1", "--lesion", "a=2"], "given twice"),
            (["--series", "1.2.3"], "no series 1.2.3"),
        ],
    )
    def test_usage(self, study, tmp_path, capsys, more, words):
        command = ["dicom", "import", "--input", str(study), "--output", str(tmp_path / "out")]
        assert main([*command, *more]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
