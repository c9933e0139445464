"""Bad input, one row each: what is done to good files, and the sentence that refuses it or what is made of it."""

from __future__ import annotations

import contextlib
import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.sequence import Sequence as Items
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from monai_diffaug.dicom import BadDicom, import_folder, pixels, read_label, read_series
from monai_diffaug.generation.placed import write_placed
from tests.dicom import phantoms
from tests.dicom.phantoms import ROOT, ct_series, endoscopy, write

Build = Callable[[Path], object]


@dataclass(frozen=True)
class Refused:
    """A row: files are built in a folder and read; the sentence holds all of these words."""

    build: Build
    words: tuple[str, ...]
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Handled:
    """A row: files are built in a folder and read; what comes fits."""

    build: Build
    fits: Callable[[list], bool]
    options: dict = field(default_factory=dict)


def edited(number: int | slice, change: Callable[[Dataset], object], series: Callable = ct_series) -> Build:
    """Return what writes a series of which some slices were changed."""

    def build(folder: Path) -> None:
        slices = series()
        for one in [slices[number]] if isinstance(number, int) else slices[number]:
            change(one)
        write(slices, folder)

    return build


def one(make: Callable[[], Dataset], **attributes: object) -> Build:
    """Return what writes one object with other attributes; None deletes one."""

    def build(folder: Path) -> None:
        dataset = make()
        for name, value in attributes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        write(dataset, folder)

    return build


def moved(step: float) -> Callable[[Dataset], None]:
    """Return what moves a slice along its normal, in mm."""

    def change(dataset: Dataset) -> None:
        directions = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        position = np.array(dataset.ImagePositionPatient, float) + step * np.cross(*directions)
        dataset.ImagePositionPatient = [f"{value:.8g}" for value in position]

    return change


def with_(**attributes: object) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for name, value in attributes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)

    return change


def missing(*numbers: int) -> Build:
    def build(folder: Path) -> None:
        write([slice_ for k, slice_ in enumerate(ct_series()) if k not in numbers], folder)

    return build


def copied(change: Callable[[Dataset], object] | None = None) -> Build:
    """Return what writes a series with a second file of its fourth instance."""

    def build(folder: Path) -> None:
        slices = ct_series()
        again = copy.deepcopy(slices[3])
        if change is not None:
            change(again)
        write([*slices, again], folder)

    return build


def brighter(dataset: Dataset) -> None:
    dataset.PixelData = (dataset.pixel_array + 1).astype(np.uint16).tobytes()


def as_new(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.77"


def localizer(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    as_new(dataset)


def cut(count: int, make: Callable[[], Dataset] | None = None) -> Build:
    """Return what writes files of which one lacks its last bytes."""

    def build(folder: Path) -> None:
        [*_, path] = write(make() if make else ct_series(), folder, stem="broken")
        path.write_bytes(path.read_bytes()[:-count])

    return build


def cut_header(folder: Path) -> None:
    [path] = write(endoscopy(), folder, stem="broken")
    path.write_bytes(path.read_bytes()[:420])


def short_pixels(folder: Path) -> None:
    """The element says that it is shorter than rows x columns need."""
    write(with_all(endoscopy(), PixelData=endoscopy().PixelData[:1000]), folder, stem="short")


def with_all(dataset: Dataset, **attributes: object) -> Dataset:
    with_(**attributes)(dataset)
    return dataset


def files(**contents: bytes) -> Build:
    def build(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)

    return build


def two_series(folder: Path) -> None:
    write(ct_series(1), folder)
    write(ct_series(11), folder)


def with_report(folder: Path) -> None:
    write(ct_series(), folder)
    write(phantoms.report(), folder)
    (folder / "readme.txt").write_text("no image")


def with_dicomdir(folder: Path) -> None:
    write(ct_series(), folder)
    directory = phantoms.report()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    del directory.SOPClassUID, directory.SOPInstanceUID, directory.SeriesInstanceUID
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)


def rle(folder: Path) -> None:
    dataset = ct_series()[0]
    dataset.compress(RLELossless)
    write(dataset, folder)


def extended(folder: Path) -> None:
    dataset = ct_series()[0]
    phantoms.compress(dataset, [b"\xff\xd8\xff\xd9"], JPEGExtended12Bit, photometric="MONOCHROME2")
    write(dataset, folder, stem="extended")


def garbage_codestream(folder: Path) -> None:
    dataset = ct_series()[0]
    phantoms.compress(dataset, [bytes(200)], JPEG2000Lossless, photometric="MONOCHROME2")
    write(dataset, folder, stem="garbage")


def half_jpeg(folder: Path) -> None:
    dataset = endoscopy(jpeg=True)
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    phantoms.compress(dataset, [frame[: len(frame) // 2]], JPEGBaseline8Bit, photometric="YBR_FULL_422")
    write(dataset, folder, stem="half")


def floats(folder: Path) -> None:
    dataset = ct_series()[0]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 32, 32, 31
    dataset.FloatPixelData = bytes(4 * 64 * 48)
    del dataset.PixelData
    write(dataset, folder, stem="floats")


def lut() -> Items:
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [4, 0, 16], "US", bytes(8)
    return Items([item])


def padded(dataset: Dataset) -> None:
    array = dataset.pixel_array.copy()
    array[:4] = 0
    array[4:6] = 3
    dataset.PixelData, dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = array.tobytes(), 0, 3


def signed_padding(folder: Path) -> None:
    """Padding of a signed image written as an unsigned number, as some scanners do."""
    slices = phantoms.mr_series()
    for dataset in slices:
        array = dataset.pixel_array.copy()
        array[:2] = -2000
        dataset.PixelData = array.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 63536)
    write(slices, folder)


def overlaid(dataset: Dataset) -> None:
    """An overlay in a bit that the pixels do not use, as old files have it."""
    array = dataset.pixel_array.copy()
    array[5:9, 5:9] |= 1 << 13
    dataset.PixelData = array.tobytes()
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 13)


def palette(folder: Path) -> None:
    dataset = phantoms.capture(colour=False)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for name, table in (("Red", 1), ("Green", 2), ("Blue", 3)):
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 8])
        values = np.clip(np.arange(256) * table // 3, 0, 255).astype(np.uint8)
        setattr(dataset, f"{name}PaletteColorLookupTableData", values.tobytes())
    write(dataset, folder)


def no_uids(folder: Path) -> None:
    """Some tools empty identifiers and leave those of the file's head."""
    for dataset in ct_series():
        dataset.SOPInstanceUID = dataset.SeriesInstanceUID = dataset.StudyInstanceUID = ""
        folder.mkdir(exist_ok=True)
        dataset.preamble = bytes(128)
        dataset.save_as(folder / f"{dataset.InstanceNumber}.dcm")


def phases(dataset: Dataset) -> None:
    as_new(dataset)
    dataset.TemporalPositionIdentifier = 2


def odd_slope(dataset: Dataset) -> None:
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1000"


def volume(images: list) -> bool:
    return len(images) == 1 and images[0].stored.shape == (1, 48, 64, 12)


def noted(images: list, *words: str) -> bool:
    return all(any(word in note for note in images[0].notes) for word in words)


ROTATED = [0.0, 1, 0, 0, 0, -1]
BAD: dict[str, Refused | Handled] = {
    # the table of measured faults of other readers
    "missing slice": Refused(missing(5), ("1 slice(s) are missing", "gap of 5.00 mm", "2.50 mm", "get the missing")),
    "several missing": Refused(missing(3, 4, 8), ("3 slice(s) are missing", "7.50 mm")),
    "uneven spacing": Refused(edited(6, moved(0.9)), ("distances of slices differ", "1.600", "3.400", "frames")),
    "uneven spacing by frames": Handled(edited(6, moved(0.9)), lambda i: len(i) == 12, {"frames": True}),
    "duplicate position": Refused(copied(as_new), ("same position", "give the files of one volume")),
    "several phases": Refused(copied(phases), ("same position", "TemporalPositionIdentifier")),
    "duplicate instance": Handled(copied(), lambda i: volume(i) and noted(i, "a copy of")),
    "duplicate instance, other pixels": Refused(copied(brighter), ("same SOPInstanceUID but differ", "leave out")),
    "mixed orientation": Refused(
        edited(4, with_(ImageOrientationPatient=ROTATED)), ("another orientation", "split")
    ),
    "mixed orientation, split": Handled(
        edited(slice(6, 12), with_(ImageOrientationPatient=ROTATED, ImagePositionPatient=None)),
        lambda i: False, {"split": True},
    ),
    "localizer inside": Handled(copied(localizer), lambda i: volume(i) and noted(i, "a localizer")),
    "localizers only": Refused(edited(slice(None), localizer), ("no DICOM image", "a localizer")),
    "two series": Refused(two_series, ("2 series", f"{ROOT}.1.1 (CT, 12 files", f"{ROOT}.1.11", "choose one")),
    "two series, one chosen": Handled(two_series, volume, {"series": f"{ROOT}.1.11"}),
    "two series, none of that UID": Refused(two_series, ("no series 1.2.3", "give one of these"), {"series": "1.2.3"}),
    "mixed pixel spacing": Refused(edited(2, with_(PixelSpacing=[0.7, 0.8])), ("another pixel spacing", "0.7")),
    "mixed size": Refused(
        edited(2, lambda d: with_(Rows=32, PixelData=d.PixelData[: len(d.PixelData) // 2])(d)),
        ("another size (32, 48)", "split"),
    ),
    "no geometry": Handled(
        edited(slice(None), with_(ImagePositionPatient=None, ImageOrientationPatient=None)),
        lambda i: len(i) == 12 and i[0].affine is None and noted(i, "no geometry"),
    ),
    "a slice without position": Refused(
        edited(7, with_(ImagePositionPatient=None)), ("1 of 12 slices have no ImagePositionPatient", "ct1_49_07.dcm")
    ),
    "no orientation": Refused(
        edited(slice(None), with_(ImageOrientationPatient=None)), ("no ImageOrientationPatient", "frames")
    ),
    "no pixel spacing": Refused(edited(slice(None), with_(PixelSpacing=None)), ("no PixelSpacing", "frames")),
    "gantry tilt": Refused(lambda f: write(ct_series(tilt=0.6), f), ("sheared by 13.5 degrees", "frames")),
    "gantry tilt by frames": Handled(lambda f: write(ct_series(tilt=0.6), f), lambda i: len(i) == 12, {"frames": True}),
    "truncated pixels": Refused(short_pixels, ("short_00_00.dcm", "truncated", "get it anew")),
    "truncated file": Refused(cut(700), ("broken_77_11.dcm", "truncated", "get it anew")),
    "truncated header": Refused(cut_header, ("no DICOM image",)),
    "truncated colour file": Refused(cut(700, endoscopy), ("broken_00_00.dcm", "get it anew")),
    "MONOCHROME1": Handled(
        one(lambda: phantoms.projection(inverted=True)),
        lambda i: i[0].image[0, 0, 0] == 4095 and i[0].stored[0, 0, 0] == 0,
    ),
    "rescaling differs by slice": Handled(
        edited(5, odd_slope),
        lambda i: volume(i) and i[0].quantise is None
        and np.array_equal(i[0].image[0, ..., 5], 2.0 * i[0].stored[0, ..., 5] - 1000)
        and np.array_equal(i[0].restored(i[0].image.copy()), i[0].stored),
    ),
    "a report among the slices": Handled(with_report, volume),
    "a DICOMDIR among the slices": Handled(with_dicomdir, volume),
    "an empty folder": Refused(files(), ("no DICOM image among 0 files",)),
    "no DICOM": Refused(files(note=b"hello", table=b"a,b"), ("no DICOM image among 2 files", "no DICOM file")),
    "an empty file": Refused(files(empty=b""), ("0 bytes",)),
    "no such folder": Refused(lambda f: None, ("does not exist",)),
    "marked as synthetic": Refused(
        edited(3, with_(SyntheticData="YES")), ("ct1_21_03.dcm", "synthetic data", "allow it")
    ),
    "marked as synthetic, allowed": Handled(edited(3, with_(SyntheticData="YES")), volume, {"synthetic": True}),
    "huge": Refused(one(endoscopy, Rows=60000, Columns=60000), ("10,800,000,000 numbers", "crop it")),
    "huge number of frames": Refused(one(phantoms.ultrasound, NumberOfFrames="9999999"), ("numbers", "more than")),
    # more of the kind
    "run-length encoded": Handled(rle, lambda i: np.array_equal(i[0].stored[0], ct_series()[0].pixel_array)),
    "JPEG Extended": Refused(extended, ("extended_00_00.dcm", "JPEG Extended", "decompress it first")),
    "damaged JPEG 2000": Refused(garbage_codestream, ("garbage_00_00.dcm", "damaged")),
    "half a JPEG": Refused(half_jpeg, ("half_00_00.dcm", "get it anew")),
    "unknown transfer syntax": Refused(
        lambda f: (write(endoscopy(jpeg=True), f), _rename_syntax(f)), ("is not known", "decompress it first")
    ),
    "float pixels": Refused(floats, ("floats_00_00.dcm", "BitsAllocated 32", "convert it first")),
    "32 bits": Refused(one(lambda: ct_series()[0], BitsAllocated=32), ("BitsAllocated 32", "8 or 16")),
    "16 bits a colour": Refused(
        one(endoscopy, BitsAllocated=16, BitsStored=16, HighBit=15), ("BitsAllocated 16", "8 for each colour")
    ),
    "high bit elsewhere": Refused(one(lambda: ct_series()[0], HighBit=15), ("HighBit 15", "BitsStored - 1")),
    "high bit empty": Handled(
        edited(slice(None), lambda one: setattr(one, "HighBit", None)),
        lambda images: len(images) == 1,
    ),
    "no bits stored": Refused(one(lambda: ct_series()[0], BitsStored=None, HighBit=None), ("no BitsStored",)),
    "numbers beyond their bits": Refused(
        one(lambda: ct_series()[0], BitsStored=8, HighBit=7), ("8 stored bits", "correct it")
    ),
    "an overlay in unused bits": Handled(
        edited(slice(None), overlaid), lambda i: volume(i) and i[0].stored.max() < 4096
    ),
    "unknown colours": Refused(one(endoscopy, PhotometricInterpretation="HSV"), ("'HSV'", "convert it")),
    "no photometric interpretation": Refused(one(endoscopy, PhotometricInterpretation=None), ("missing", "convert")),
    "samples that do not fit": Refused(one(endoscopy, SamplesPerPixel=1), ("1 samples a pixel as RGB",)),
    "a modality table": Refused(
        one(phantoms.projection, ModalityLUTSequence=lut()), ("Modality LUT", "apply it")
    ),
    "slope 0": Refused(edited(0, with_(RescaleSlope="0")), ("RescaleSlope 0", "correct")),
    "orientation of no length": Refused(
        edited(0, with_(ImageOrientationPatient=[0, 0, 0, 0, 0, 0])), ("not of length 1", "correct it")
    ),
    "two numbers for a position": Refused(
        edited(0, with_(ImagePositionPatient=[1, 2])), ("ImagePositionPatient [1.0, 2.0]", "3 finite numbers")
    ),
    "pixel spacing 0": Refused(edited(0, with_(PixelSpacing=[0, 1])), ("PixelSpacing [0.0, 1.0]", "positive")),
    "slices of other sign": Refused(edited(0, with_(PixelRepresentation=1)), ("PixelRepresentation",)),
    "no pixel data": Refused(one(endoscopy, PixelData=None), ("has no pixels",)),
    "identifiers emptied": Handled(no_uids, volume),
    "padding with a range": Handled(
        edited(slice(None), padded), lambda i: int(i[0].padded[:, :6].sum()) == 48 * 6 * 12 and i[0].padded[:, :6].all()
    ),
    "padding in the other sense": Handled(signed_padding, lambda i: i[0].padded[:, :2].all()),
    "a palette": Handled(
        palette,
        lambda i: i[0].stored.shape == (3, 36, 50) and noted(i, "palette")
        and np.array_equal(i[0].stored[2], phantoms.picture(7)[..., 0]),
    ),
    "a single slice": Handled(missing(*range(1, 12)), lambda i: i[0].affine is None and noted(i, "single slice")),
}  # fmt: skip
BAD["mixed orientation, split"] = Handled(
    lambda f: (write(ct_series(), f), write([_turned(d) for d in ct_series()], f, stem="turned")),
    lambda i: [one.stored.shape for one in i] == [(1, 48, 64, 12)] * 2,
    {"split": True},
)


def _turned(dataset: Dataset) -> Dataset:
    """Return a slice of the same series, sagittal."""
    dataset.ImageOrientationPatient = ROTATED
    dataset.ImagePositionPatient = [3.0 * int(dataset.InstanceNumber), 0, 0]
    number = int(dataset.InstanceNumber)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{ROOT}.78.{number}"
    return dataset


def _rename_syntax(folder: Path) -> None:
    [path] = folder.iterdir()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.10008.1.2.4.99", 1))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.filterwarnings("ignore::UserWarning:_pytest")
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, tmp_path):
    row, folder = BAD[name], tmp_path / "in"
    row.build(folder)
    if isinstance(row, Refused):
        with pytest.raises(BadDicom) as caught:
            read_series(folder, **row.options)
        sentence = str(caught.value)
        assert [word for word in row.words if word not in sentence] == [], sentence
        assert not any(secret in sentence for secret in phantoms.PERSONAL.values())
    else:
        assert row.fits(read_series(folder, **row.options))


@pytest.mark.parametrize(
    ("kind", "keyword"),
    [
        *(("seg", one) for one in ("Rows", "ReferencedSOPInstanceUID", "SeriesInstanceUID")),
        *(("rtstruct", one) for one in ("ReferencedROINumber", "ROINumber", "SeriesInstanceUID")),
    ],
)
def test_a_damaged_label_does_not_stop_an_import(kind, keyword, tmp_path):
    slices = ct_series()
    if kind == "seg":
        label = phantoms.seg_of(slices, phantoms.lesion())
    else:
        label = phantoms.rtstruct_of(slices, {"polyp": {3: [np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0]])]}})
    if kind == "seg" and keyword == "Rows":
        del label.Rows

    def cut(dataset: Dataset, element: DataElement) -> None:
        if element.keyword == keyword and dataset is not label:
            del dataset[element.tag]

    label.walk(cut)
    write(slices, tmp_path / "in")
    write(label, tmp_path / "in")
    with contextlib.suppress(BadDicom):  # one sentence; no error of another kind
        import_folder(tmp_path / "in", tmp_path / "out", write_placed)


def test_there_are_many():
    assert len(BAD) >= 35


def test_without_a_decoder_the_extra_is_named(tmp_path, monkeypatch):
    write(endoscopy(jpeg=True), tmp_path)
    monkeypatch.setattr(get_decoder(JPEGBaseline8Bit), "_available", {})
    with pytest.raises(BadDicom, match=r"pip install 'monai_diffaug\[dicom\]'"):
        read_series(tmp_path)


def test_the_cap_counts_the_whole_series(tmp_path, monkeypatch):
    write(ct_series(), tmp_path)
    monkeypatch.setattr(pixels, "LARGEST", 48 * 64 * 11)
    with pytest.raises(BadDicom, match="more than"):
        read_series(tmp_path)


def outlined(folder: Path, **changes: object) -> tuple[Path, Path]:
    slices = ct_series()
    write(slices, folder / "image")
    square = np.array([[10.0, 20], [20, 20], [20, 30], [10, 30]])
    struct = phantoms.rtstruct_of(slices, {"GTV": {4: [square]}})
    contour = struct.ROIContourSequence[0].ContourSequence[0]
    for name, value in changes.items():
        setattr(contour, name, value)
    [path] = write(struct, folder / "label")
    return folder / "image", path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ContourGeometricType": "OPEN_PLANAR"}, ("OPEN_PLANAR", "close it")),
        ({"ContourData": ["1", "2", "3", "4"]}, ("4 numbers", "corners")),
        ({"ContourData": ["0", "0", "0", "0", "0", "9", "5", "5", "5"]}, ("not lie in the plane", "draw it")),
    ],
)
def test_bad_contours(changes, words, tmp_path):
    folder, path = outlined(tmp_path, **changes)
    with pytest.raises(BadDicom) as caught:
        read_label(path, read_series(folder)[0])
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_contour_outside_the_image(tmp_path):
    folder, path = outlined(tmp_path)
    for file in sorted(folder.iterdir(), key=lambda one: one.name[-6:])[3:6]:
        file.unlink()
    shutil.rmtree(folder)
    write(ct_series()[6:], folder)
    with pytest.raises(BadDicom, match="lies outside the image; give all files"):
        read_label(path, read_series(folder)[0])
