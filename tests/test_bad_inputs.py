"""Bad input: one clear sentence, no traceback, nothing half-written, and the good ones are finished.

What only `resume`, `replay` or Python can be given is in their own tests.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_diffaug.cli import main
from tests.runs import (
    AFFINE,
    REFUSING,
    bundle_copy,
    contents,
    frame,
    generate,
    lesion,
    manifest,
    same,
    write_frames,
    write_picture,
    write_volume,
)

Arrange = Callable[[Path], object]


@pytest.fixture(autouse=True)
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def sentences_with(fragment: str, captured: pytest.CaptureResult[str]) -> list[str]:
    """Return the lines that a person sees which hold a fragment; there must be no traceback among any."""
    said = captured.out + captured.err
    assert "Traceback" not in said and 'File "' not in said
    return [line for line in said.splitlines() if fragment in line]


# --- pictures, labels and regions that cannot be used: exit 1, the good ones are finished ---------------------------


def truncated(path: Path) -> None:
    """Cut a picture's last third off."""
    data = write_picture(path, frame()).read_bytes()
    path.write_bytes(data[: 2 * len(data) // 3])


def sixteen_bit_rgb(path: Path) -> None:
    """Write a PNG of 3 x 16 bits, which PIL would read as 8 without a word."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + bytes(32 * 6) for _ in range(32))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(frame()).save(path, exif=exif)


def transparent(path: Path) -> None:
    alpha = np.full((96, 112, 1), 255, np.uint8)
    alpha[3, 4] = 254
    write_picture(path, np.concatenate([frame(), alpha], -1))


def bad_image(name: str, write: Arrange) -> Arrange:
    return lambda root: write(root / "in" / name)


def bad_label(label: np.ndarray | None) -> Arrange:
    """Pair the bad case with a label; all others get an empty one."""

    def arrange(root: Path) -> None:
        write_picture(root / "in" / "bad.png", frame())
        write_picture(root / "labels" / "good.png", 0 * lesion())
        if label is not None:
            write_picture(root / "labels" / "bad.png", label)

    return arrange


def bad_label_file(data: bytes) -> Arrange:
    def arrange(root: Path) -> None:
        bad_label(lesion())(root)
        (root / "labels" / "bad.png").write_bytes(data)

    return arrange


def bad_regions(regions: np.ndarray | None, label: np.ndarray | None = None) -> Arrange:
    def arrange(root: Path) -> None:
        if label is not None:
            bad_label(label)(root)
        write_picture(root / "in" / "bad.png", frame())
        write_picture(root / "regions" / "good.png", np.full((96, 112), 1, np.uint8))
        if regions is not None:
            write_picture(root / "regions" / "bad.png", regions)

    return arrange


def jpeg_label(root: Path) -> None:
    bad_label(None)(root)
    Image.fromarray(lesion()).save(root / "labels" / "bad.jpg", quality=30)


def two_labels(root: Path) -> None:
    bad_label(lesion())(root)
    Image.fromarray(lesion()).save(root / "labels" / "bad.jpeg")


def black(path: Path) -> None:
    write_picture(path, 0 * frame())


PICTURES: dict[str, tuple[Arrange, str]] = {
    "unreadable": (bad_image("bad.png", lambda p: p.write_bytes(b"no picture at all")), "it cannot be decoded"),
    "empty": (bad_image("bad.png", lambda p: p.write_bytes(b"")), "it is empty (0 bytes); get it anew or leave it out"),
    "truncated PNG": (bad_image("bad.png", truncated), "truncated"),
    "truncated JPEG": (bad_image("bad.jpg", truncated), "truncated"),
    "dangling link": (bad_image("bad.png", lambda p: p.symlink_to(p.with_name("no"))), "it cannot be opened"),
    "other format": (bad_image("bad.tif", lambda p: p.write_bytes(b"II")), ".tif is not supported; save it as PNG"),
    "greyscale": (
        bad_image("bad.png", lambda p: write_picture(p, frame(shape=(96, 112)))),
        "image has 1 channel but this bundle takes 3 (RGB); convert it to RGB first",
    ),
    "16 bit": (
        bad_image("bad.png", lambda p: write_picture(p, frame(shape=(96, 112)).astype(np.uint16) * 200)),
        "16-bit picture but the intensity range ends at 255; rescale it to 8 bits first",
    ),
    "16 bit RGB": (bad_image("bad.png", sixteen_bit_rgb), "16 bits per channel, which would be cut to 8"),
    "CMYK": (
        bad_image("bad.jpg", lambda p: Image.fromarray(frame()).convert("CMYK").save(p)),
        "it is a CMYK picture; convert it to RGB first",
    ),
    "EXIF rotated": (bad_image("bad.jpg", turned), "its EXIF orientation is 6, so viewers turn it; apply it"),
    "real alpha": (bad_image("bad.png", transparent), "it has transparent pixels"),
    "too small": (
        bad_image("bad.png", lambda p: write_picture(p, frame(shape=(15, 80, 3)))),
        "every side must be 16 pixels or more",
    ),
    "all black": (bad_image("bad.png", black), "no region is allowed: the rules"),
    "volume": (bad_image("sub.nii", write_volume), "but this bundle takes 2D images"),
    "label of another shape": (bad_label(lesion((90, 112))), "it has shape (90, 112) but its image has (96, 112)"),
    "label full": (bad_label(np.full((96, 112), 255, np.uint8)), "the label leaves no place free"),
    "label nearly full": (bad_label(np.pad(np.ones((94, 110), np.uint8), 1)), "existing lesions with their gap"),
    "multi-channel label": (bad_label(frame()), "it has colour mode RGB, but a label or map has one channel"),
    "missing label": (bad_label(None), "it has no label: labels/bad with one of .png"),
    "two labels": (two_labels, "2 files could be its label: bad.jpeg, bad.png; keep one of them"),
    "blurred label": (jpeg_label, "JPEG compression has blurred its values"),
    "unreadable label": (bad_label_file(b"no picture"), "label labels/bad.png: it cannot be decoded"),
    "empty label file": (bad_label_file(b""), "label labels/bad.png: it is empty (0 bytes)"),
    "empty regions": (bad_regions(np.zeros((96, 112), np.uint8)), "the given regions are empty"),
    "regions of another shape": (bad_regions(np.ones((96, 110), np.uint8)), "it has shape (96, 110) but its image"),
    "missing regions": (bad_regions(None), "it has no regions: regions/bad with one of .png"),
    "regions within the lesion": (bad_regions(lesion(), lesion()), "do not meet the places that the label leaves free"),
}


def float_volume(value: float) -> Callable[[Path], object]:
    voxels = np.full((20, 20, 20), 450, np.float32)
    voxels[3, 4, 5] = value
    return lambda path: write_volume(path, voxels)


def cut_volume(path: Path) -> None:
    data = write_volume(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def bad_volume_label(label: np.ndarray) -> Arrange:
    def arrange(root: Path) -> None:
        write_volume(root / "in" / "bad.nii.gz")
        write_volume(root / "labels" / "good.nii.gz", np.zeros((44, 48, 40), np.uint8))
        write_volume(root / "labels" / "bad.nii.gz", label)

    return arrange


def rgb_volume(path: Path) -> None:
    voxels = np.zeros((20, 20, 20), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), path)


HALVES = np.full((44, 48, 40), 0.5, np.float32)
VOLUMES: dict[str, tuple[Arrange, str]] = {
    "unreadable": (bad_image("bad.nii", lambda p: p.write_bytes(b"no header")), "its NIfTI header cannot be read"),
    "empty": (bad_image("bad.nii.gz", lambda p: p.write_bytes(b"")), "it is empty (0 bytes)"),
    "no gzip": (bad_image("bad.nii.gz", lambda p: p.write_bytes(b"0123456789")), "it cannot be unzipped"),
    "truncated gzip": (bad_image("bad.nii.gz", cut_volume), "it is truncated, damaged or no gzip"),
    "truncated": (bad_image("bad.nii", cut_volume), "it is truncated: "),
    "NaN": (bad_image("bad.nii", float_volume(np.nan)), "image holds NaN or infinite values; replace them"),
    "Inf": (bad_image("bad.nii", float_volume(np.inf)), "image holds NaN or infinite values; replace them"),
    "beyond the range": (
        bad_image("bad.nii", float_volume(1001)),
        "values run from 450 to 1001 but the intensity range",
    ),
    "four dimensions": (bad_image("bad.nii", lambda p: write_volume(p, HALVES[..., None, None])), "(44, 48, 40, 1, 1)"),
    "colours": (bad_image("bad.nii", rgb_volume), "one integer or float per voxel is needed"),
    "too small": (
        bad_image("bad.nii", lambda p: write_volume(p, np.full((20, 20, 15), 450, np.int16))),
        "every side must be 16 pixels or more",
    ),
    "label of another shape": (
        bad_volume_label(HALVES[1:].astype(np.uint8)),
        "it has shape (43, 48, 40) but its image",
    ),
    "label full": (bad_volume_label(np.ones((44, 48, 40), np.uint8)), "the label leaves no place free"),
    "multi-channel label": (
        bad_volume_label(np.zeros((44, 48, 40, 2), np.uint8)),
        "exactly three dimensions are needed",
    ),
    "label of fractions": (bad_volume_label(HALVES), "it holds values that are not whole numbers"),
    "label of NaN": (bad_volume_label(HALVES * np.nan), "it holds NaN or infinite values"),
}
TABLE = [(2, what, *row) for what, row in PICTURES.items()] + [(3, what, *row) for what, row in VOLUMES.items()]
NAMES = [f"{dims}D {what}" for dims, what, *_ in TABLE]


def partners(root: Path) -> list[str]:
    return [one for name in ("labels", "regions") if (root / name).is_dir() for one in (f"--{name}", str(root / name))]


@pytest.mark.parametrize(("dims", "what", "arrange", "message"), TABLE, ids=NAMES)
def test_a_bad_file_is_listed_and_the_good_one_finished(
    tmp_path: Path, dims: int, what: str, arrange: Arrange, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside the bad case lies a good one, which sorts after it (volumes: and decides on the variant)."""
    good = "good.png" if dims == 2 else "good.nii.gz"
    write_frames(tmp_path / "in", good) if dims == 2 else write_volume(tmp_path / "in" / good)
    arrange(tmp_path)
    assert generate(tmp_path / "in", tmp_path / "out", "--ratio", "1", *partners(tmp_path)) == 1
    (sentence,) = sentences_with(message, capsys.readouterr())
    assert sentence.startswith("bad input: ") and ("bad." in sentence or "sub." in sentence)
    assert [line["source"] for line in manifest(tmp_path / "out")] == [good]
    assert manifest(tmp_path / "out")[0]["accepted"]
    written = contents(tmp_path / "out")
    assert not [name for name in written if name.endswith(".part") or "bad" in name]
    (recorded,) = json.loads(written["run.json"])["bad_inputs"]
    assert message in recorded[1] and str(tmp_path) not in recorded[1]


@pytest.mark.parametrize("what", ["unreadable", "greyscale", "label full", "missing label", "empty regions"])
def test_without_a_good_one_nothing_is_written(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    arrange, message = PICTURES[what]
    (tmp_path / "in").mkdir()
    arrange(tmp_path)
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "3", *partners(tmp_path)) == 1
    assert len(sentences_with(message, capsys.readouterr())) == 1
    assert not (tmp_path / "out").exists()


def test_every_bad_file_is_listed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "in", "good.png")
    for number, what in enumerate(("unreadable", "empty", "CMYK", "too small", "real alpha")):
        PICTURES[what][0](tmp_path)
        for path in (tmp_path / "in").glob("bad.*"):
            path.rename(path.with_name(f"b{number}{path.suffix}"))
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1") == 1
    bad = sentences_with("bad input: ", capsys.readouterr())
    assert len(bad) == 5 and all(sum(f"/b{n}." in line for line in bad) == 1 for n in range(5))


def test_datalist_entries_that_are_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path, "a.png")
    training = [{"image": "a.png"}, {"image": "gone.png"}, {"picture": "a.png"}, {"image": ["a.png", "a.png"]}]
    (tmp_path / "list.json").write_text(json.dumps({"training": training}))
    assert generate(tmp_path / "list.json", tmp_path / "out", "--num", "1") == 1
    said = capsys.readouterr()
    assert len(sentences_with("bad input: ", said)) == 3
    assert "gone.png does not exist" in said.out and "entry 3" in said.out and "entry 4" in said.out


# --- what cannot be asked for: exit 2, nothing is written ------------------------------------------------------------


def edit(bundle: Path, old: str, new: str, name: str = "common") -> None:
    path = bundle / "configs" / f"{name}.json"
    assert old in path.read_text("utf-8")
    path.write_text(path.read_text("utf-8").replace(old, new, 1))


def with_weights(root: Path, *, recorded: str, there: bool = True) -> None:
    """Give the bundle a weight file, and metadata that say what its digest should be."""
    path = root / "bundle" / "configs" / "metadata.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "weights_sha256": {"model.pt": recorded}}))
    (root / "bundle" / "models").mkdir()
    if there:
        (root / "bundle" / "models" / "model.pt").write_bytes(b"half of it")


def duplicates(root: Path) -> None:
    write_frames(root / "in", "p/x.png", "p__x.jpg")


def broken_list(root: Path) -> None:
    (root / "list.json").write_text('{"training": [')


def no_images(root: Path) -> None:
    for path in (root / "in").iterdir():
        path.rename(root / path.name)


def all_lesions(root: Path) -> None:
    for name in ("a", "b"):
        write_picture(root / "labels" / f"{name}.png", lesion())


def nothing(root: Path) -> None:
    pass


HALF = hashlib.sha256(b"half of it").hexdigest()
# what: (arrange, arguments, fragment of the message); BUNDLE, ROOT and OUT are replaced by paths
USAGE: dict[str, tuple[Arrange, str, str]] = {
    "unknown bundle": (nothing, "--bundle polyps", "bundle 'polyps' is unknown; shipped bundles: "),
    "no bundle folder": (nothing, "--bundle ROOT/in", "is no bundle folder: it has no configs/metadata.json"),
    "missing weights": (
        lambda root: with_weights(root, recorded=HALF, there=False),
        "--bundle BUNDLE",
        "bundle/models/model.pt are missing",
    ),
    "corrupted weights": (
        lambda root: with_weights(root, recorded="00"),
        "--bundle BUNDLE",
        f"bundle/models/model.pt are corrupted or of another version: sha256 {HALF}, the bundle's metadata says 00",
    ),
    "broken config": (
        lambda r: edit(r / "bundle", "{", "{,"),
        "--bundle BUNDLE",
        "configs/common.json is no valid JSON",
    ),
    "config names no class": (
        lambda r: edit(r / "bundle", "synthesis.QualityGate", "synthesis.QualityGait"),
        "--bundle BUNDLE",
        "QualityGait",
    ),
    "config names no argument": (
        lambda r: edit(r / "bundle", '"reconstruction_error"', '"reconstruction_eror"'),
        "--bundle BUNDLE",
        "reconstruction_eror",
    ),
    "config with a wrong number": (
        lambda r: edit(r / "bundle", '"low": 0.08', '"low": 8'),
        "--bundle BUNDLE",
        "a size range must rise from above 0, got 8 to 0.4",
    ),
    "config refers to nothing": (
        lambda r: edit(r / "bundle", '"@renderer"', '"@rendrer"'),
        "--bundle BUNDLE",
        "rendrer",
    ),
    "broken metadata": (
        lambda r: edit(r / "bundle", "{", "[", "metadata"),
        "--bundle BUNDLE",
        "configs/metadata.json is no valid JSON",
    ),
    "unknown preset": (nothing, "--preset quick", "has no preset 'quick'; it has: fast, paper"),
    "a config that is no preset": (nothing, "--preset volume", "has no preset 'volume'; it has: fast, paper"),
    "unknown variant": (nothing, "--variant volumes", "has no variant 'volumes'; it has: volume"),
    "output inside the images": (nothing, "--output ROOT/in/new", "lies inside the images"),
    "output is the images": (nothing, "--output ROOT/in", "lies inside the images"),
    "output inside by a link": (lambda r: (r / "link").symlink_to(r / "in"), "--output ROOT/link/x", "lies inside"),
    "output not empty": (nothing, "--output ROOT/labelled", "is not empty (a.png ...); give a new one, or --resume"),
    "output is not ours": (nothing, "--output ROOT/labelled --resume", "has no run.json, so it was not made by this"),
    "output is a file": (nothing, "--output ROOT/file", "is a file; give a folder"),
    "output below a file": (nothing, "--output ROOT/file/below", "cannot be made"),
    "no CUDA": (nothing, "--device cuda", "device cuda was asked for but no CUDA device is available here"),
    "unknown device": (nothing, "--device gpu", "device 'gpu' is unknown; use auto, cpu or cuda"),
    "no sample": (nothing, "--num 0", "num must be positive, got 0"),
    "less than no sample": (nothing, "--num -2", "num must be positive, got -2"),
    "ratio 0": (nothing, "--ratio 0", "ratio must be positive, got 0"),
    "ratio below 0": (nothing, "--ratio -0.5", "ratio must be positive, got -0.5"),
    "no ratio": (nothing, "--ratio nan", "ratio must be positive, got nan"),
    "ratio of no sample": (nothing, "--ratio 0.1", "ratio 0.1 of 2 usable images is no sample at all"),
    "none per image": (nothing, "--per-image 0", "per_image must be positive, got 0"),
    "too few per image": (
        nothing,
        "--num 5 --per-image 2",
        "5 samples were asked for, but 2 usable images with 2 each",
    ),
    "negative seed": (nothing, "--seed -1", "seed must be an integer from 0, got -1"),
    "no batch": (nothing, "--batch-size 0", "--batch-size must be 1 or more, got 0"),
    "duplicate ids": (duplicates, "", "would both have the id p__x; rename or leave out one of them"),
    "images do not exist": (nothing, "--images ROOT/nowhere", "nowhere does not exist; give a folder of images"),
    "no images": (no_images, "", "holds no image (.png, .jpg"),
    "images are a picture": (nothing, "--images ROOT/a.png", "give a folder of images or a MONAI datalist"),
    "broken datalist": (broken_list, "--images ROOT/list.json", "list.json is no valid JSON"),
    "labels do not exist": (nothing, "--labels ROOT/nowhere", "the folder of label"),
    "regions do not exist": (nothing, "--regions ROOT/nowhere", "the folder of regions"),
    "labels are the images": (nothing, "--labels ROOT/in", "is given both for images and for labels"),
    "only lesions to skip": (
        all_lesions,
        "--labels ROOT/labels --on-existing skip",
        "every image has a lesion already",
    ),
    "unknown abnormality": (nothing, "--abnormality ulcer", "'ulcer' is unknown to this bundle; it knows: polyp"),
    "no known word": (nothing, "--prompts xyzzy", "prompt 'xyzzy' has no word that this bundle knows; use some of: "),
    "no word": (nothing, "--prompts ", "has no word that this bundle knows"),
}


@pytest.mark.parametrize("what", USAGE)
def test_what_cannot_be_asked_for(tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    arrange, arguments, message = USAGE[what]
    write_frames(tmp_path / "in", "a.png", "b.png")
    write_frames(tmp_path / "labelled", "a.png")
    (tmp_path / "file").write_text("mine")
    bundle_copy(tmp_path / "bundle")
    arrange(tmp_path)
    before = contents(tmp_path)
    more = [
        one.replace("ROOT", str(tmp_path)).replace("BUNDLE", str(tmp_path / "bundle")) for one in arguments.split(" ")
    ]
    how_many = [] if "--num" in more or "--ratio" in more else ["--num", "2"]
    output = tmp_path / "out"
    assert generate(tmp_path / "in", output, *how_many, *(more if arguments else [])) == 2
    said = capsys.readouterr()
    (sentence,) = sentences_with(message, said)
    assert sentence.startswith("monai-diffaug generate: ") and sentence in said.err
    assert not said.out.strip()
    assert same(contents(tmp_path), before) and not output.exists()


@pytest.mark.parametrize("text", ["small large polyp", "a medium or large polyp"])
def test_text_whose_size_words_contradict_each_other(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(write_frames(tmp_path / "in", "a.png"), tmp_path / "out", "--num", "2", "--prompts", text) == 2
    assert len(sentences_with(f"monai-diffaug generate: prompt {text!r} names the sizes ", capsys.readouterr())) == 1
    assert not (tmp_path / "out").exists()


def test_greyscale_bundles_refuse_colour(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = {"_target_": "monai_diffaug.synthesis.ImageFormat", "spatial_dims": 2, "channels": 1}
    bundle = bundle_copy(tmp_path / "bundle", images={**images, "intensity_range": "$tuple(@intensity_range)"})
    write_picture(tmp_path / "in" / "grey.png", frame(shape=(96, 112)))
    write_picture(tmp_path / "in" / "colour.png", frame())
    assert generate(tmp_path / "in", tmp_path / "out", "--num", "1", bundle=bundle) == 1
    assert (
        "image has 3 channels but this bundle takes 1 (greyscale); convert it to greyscale" in capsys.readouterr().out
    )
    assert [line["id"] for line in manifest(tmp_path / "out")] == ["grey__k00"]


def test_bad_inputs_come_before_refused_samples(tmp_path: Path) -> None:
    """Exit 1 where both happened; 3 is for clean inputs."""
    write_frames(tmp_path / "in", "a.png")
    bundle = bundle_copy(tmp_path / "bundle", **REFUSING)
    assert generate(tmp_path / "in", tmp_path / "three", "--num", "1", bundle=bundle) == 3
    (tmp_path / "in" / "bad.png").write_bytes(b"")
    assert generate(tmp_path / "in", tmp_path / "one", "--num", "1", bundle=bundle) == 1


# --- the gallery -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("", "", "no manifest.jsonl in"),
        ("manifest.jsonl", "{\n", "manifest.jsonl, line 1 is not JSON"),
        ("manifest.jsonl", "[]\n", "manifest.jsonl, line 1 is not a sample"),
        ("run.json", "{", "run.json is not JSON"),
    ],
)
def test_gallery_of_what_is_no_run(
    tmp_path: Path, name: str, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    if name == "run.json":
        (tmp_path / "out" / "manifest.jsonl").write_text("")
    if name:
        (tmp_path / "out" / name).write_text(text)
    before = contents(tmp_path)
    assert main(["gallery", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert len(sentences_with(message, said)) == 1 and said.err.startswith("monai-diffaug gallery: ")
    assert same(contents(tmp_path), before)
