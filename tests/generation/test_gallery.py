"""The gallery page: one file, safe, complete, bounded in size, and the same for the same folder."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_diffaug.generation import gallery
from monai_diffaug.generation.gallery import write_gallery
from monai_diffaug.generation.gallery_card import reason_kind
from monai_diffaug.generation.slices import SIDE

SHAPE = {2: (60, 90), 3: (20, 30, 12)}
SUFFIX = {2: ".png", 3: ".nii.gz"}
LOW, HIGH = (5, 10, 4), (13, 22, 8)


class Page(HTMLParser):
    """Collect the tags of a page and their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(array).save(path, compress_level=1)
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)


def source_of(dims: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dims == 2:
        return rng.integers(60, 190, (*SHAPE[2], 3), dtype=np.uint8)
    return rng.integers(-200, 900, SHAPE[3], dtype=np.int16)


def mask_of(dims: int) -> np.ndarray:
    mask = np.zeros(SHAPE[dims], np.uint8)
    mask[tuple(slice(low, high) for low, high in zip(LOW[:dims], HIGH[:dims], strict=True))] = 1
    return mask


def sample(dims: int, name: str = "case__k00", *, accepted: bool = True, **changes) -> dict:
    """Build one line of a manifest for the sample whose files `fill` writes."""
    refused = {"seed": 1, "iou": 0.4, "accepted": False, "reasons": ["low overlap"], "stopped_early": True}
    passed = {"seed": 2, "iou": 0.8, "accepted": True, "reasons": [], "stopped_early": False}
    paths = {kind: f"{kind}s/{name}{SUFFIX[dims]}" if accepted else None for kind in ("image", "mask", "label")}
    lesion = {"class": "polyp", "value": 1, "prompt": "a polyp", "bbox": [LOW[:dims], HIGH[:dims]], "extent": 12.0}
    return {
        "id": name,
        "source": f"case{SUFFIX[dims]}",
        "seed": 7,
        "accepted": accepted,
        **paths,
        "prompt": "a small polyp",
        "iou": 0.8 if accepted else None,
        "attempts": [refused, passed] if accepted else [refused] * 4,
        "abnormalities": [{**lesion, "iou": 0.8}],
        "weights": {"model.pt": "ab" * 32},
        "unit": "mm" if dims == 3 else "pixels",
        **changes,
    }


def fill(root: Path, dims: int, lines: list[dict], *, predictions: bool = True, audit: bool = False) -> Path:
    """Write a source, an output folder with the files of every line, and return the output folder."""
    output = root / "out"
    output.mkdir(parents=True)
    image, mask, value = source_of(dims), mask_of(dims), 255 if dims == 2 else 1
    save(image, root / "in" / f"case{SUFFIX[dims]}")
    painted = np.where(mask[..., None] if dims == 2 else mask, 220, image).astype(image.dtype)
    kinds = [("images", painted), ("masks", mask * value), ("labels", mask)]
    kinds += [("predictions", np.roll(mask, 1, 0) * value)] if predictions else []
    for line in lines:
        folder = output if line["accepted"] else output / "rejected"
        for kind, array in kinds if line["accepted"] or audit else []:
            save(array, folder / kind / f"{line['id']}{SUFFIX[dims]}")
    run = {"bundle": "texture_demo", "preset": "fast", "seed": 3, "images_root": "../in", "count": len(lines)}
    (output / "run.json").write_text(json.dumps({**run, "data_terms": ["drawn by this project"]}))
    (output / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return output


def page_of(output: Path) -> tuple[str, Page]:
    text = write_gallery(output).read_text(encoding="utf-8")
    return text, Page(text)


def captions(text: str) -> list[str]:
    return re.findall(r"<figcaption>(.*?)</figcaption>", text)


class TestPage:
    def test_shows_each_plane_before_asked_after_found(self, tmp_path, spatial_dims):
        text, page = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims)]))
        rows = 2 * {2: 1, 3: 3}[spatial_dims]  # close-up and whole frame
        assert captions(text) == ["before", "asked for", "after", "found"] * rows
        assert len(page.named("image")) == 2 * rows
        assert text.count('class="found"') - 1 == text.count('class="mask"') // 2 == rows
        for word in ("texture_demo", "fast", "drawn by this project", "ab" * 32, "not for diagnosis", "low overlap"):
            assert word in text

    def test_asks_for_nothing_else(self, tmp_path, spatial_dims):
        text, page = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims)]))
        assert not re.search(r"https?://|url\(|@import", text)
        assert not {"link", "iframe", "object", "embed", "img"} & {tag for tag, _ in page.tags}
        for tag, attributes in page.tags:
            assert "src" not in attributes
            allowed = {"image": "data:image/webp;base64,", "use": "#", "a": "./"}
            assert "href" not in attributes or attributes["href"].startswith(allowed[tag])

    def test_has_a_text_for_every_picture(self, tmp_path, spatial_dims):
        _, page = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims)]))
        assert all(each.get("aria-label") or each.get("aria-hidden") for each in page.named("svg"))

    def test_uses_only_pictures_that_it_holds_and_names_each_once(self, tmp_path, spatial_dims):
        lines = [sample(spatial_dims, f"case__k{k:02d}", accepted=k != 1) for k in range(3)]
        _, page = page_of(fill(tmp_path, spatial_dims, lines))
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert {each["href"][1:] for each in page.named("use")} <= set(ids)

    def test_pictures_are_bounded(self, tmp_path, spatial_dims):
        _, page = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims)]))
        for each in page.named("image"):
            with Image.open(io.BytesIO(base64.b64decode(each["href"].partition(",")[2]))) as picture:
                assert max(picture.size) == SIDE
                assert (str(picture.width), str(picture.height)) == (each["width"], each["height"])

    def test_same_folder_same_bytes(self, tmp_path, spatial_dims):
        lines = [sample(spatial_dims), sample(spatial_dims, "case__k01", accepted=False)]
        first, second = (fill(tmp_path / name, spatial_dims, lines) for name in "ab")
        assert write_gallery(first).read_bytes() == write_gallery(second).read_bytes()
        assert write_gallery(first).read_bytes() == (second / "gallery.html").read_bytes()

    def test_without_samples_says_so(self, tmp_path):
        text, page = page_of(fill(tmp_path, 2, []))
        assert "No samples" in text
        assert not page.named("article")

    def test_without_run_file(self, tmp_path):
        output = fill(tmp_path, 2, [sample(2)])
        (output / "run.json").unlink()
        text, _ = page_of(output)
        assert "No source picture" in text

    def test_counts(self, tmp_path):
        lines = [sample(2, f"case__k{k:02d}", accepted=k > 0) for k in range(4)]
        text, page = page_of(fill(tmp_path, 2, lines))
        numbers = dict(re.findall(r"<dt>([^<]*)</dt><dd>([\d.]+)", text))
        assert numbers["planned"] == "4" and numbers["accepted"] == "3" and numbers["acceptance rate"] == "75.0"
        assert "<span>low overlap</span>" in text and "<b>7</b>" in text
        assert [each["data-verdict"] for each in page.named("article")] == ["rejected"] + ["accepted"] * 3
        assert {each["data-reasons"] for each in page.named("article")} == {"0"}


class TestHostileText:
    NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&$bundle"

    def test_text_stays_text(self, tmp_path):
        lesion = sample(2)["abnormalities"][0] | {"class": self.NASTY}
        attempt = {"seed": 1, "iou": 0.1, "accepted": False, "reasons": [self.NASTY], "stopped_early": False}
        line = sample(2, prompt=self.NASTY, unit=self.NASTY, abnormalities=[lesion], attempts=[attempt])
        output = fill(tmp_path, 2, [line, sample(2, accepted=False, id=self.NASTY.replace("/", ""), source=self.NASTY)])
        (output / "run.json").write_text(
            json.dumps({"bundle": self.NASTY, "seed": self.NASTY, "data_terms": self.NASTY})
        )
        text, page = page_of(output)
        assert len(page.named("script")) == 1 and not page.named("img")
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert page.named("article")[0]["data-text"].startswith(self.NASTY.lower())

    @pytest.mark.parametrize("link", ["javascript:alert(1)", "host//x.png", 'x" onclick="alert(1)'])
    def test_links_stay_paths(self, tmp_path, link):
        _, page = page_of(fill(tmp_path, 2, [sample(2, label=link)]))
        for each in page.named("a"):
            assert set(each) == {"href"}
            assert each["href"].startswith("./") and ":" not in each["href"]

    @pytest.mark.parametrize(
        "change",
        [{"label": "//host/x.png"}, {"image": "../in/case.png"}, {"source": "/etc/x.png"}, {"id": "../x"}],
        ids=str,
    )
    def test_names_stay_below_their_folders(self, tmp_path, change):
        output = fill(tmp_path, 2, [sample(2)])
        with (output / "manifest.jsonl").open("a") as stream:
            stream.write(json.dumps(sample(2, **change)) + "\n")
        with pytest.raises(
            ValueError, match=rf"manifest.jsonl, line 2 names no file of the run: its {next(iter(change))} "
        ):
            write_gallery(output)
        assert not (output / "gallery.html").exists()


class TestMissingFiles:
    def test_source_gone(self, tmp_path, spatial_dims):
        output = fill(tmp_path, spatial_dims, [sample(spatial_dims)])
        (tmp_path / "in" / f"case{SUFFIX[spatial_dims]}").unlink()
        text, _ = page_of(output)
        assert "No source picture" in text
        assert set(captions(text)) == {"after", "found"}

    def test_source_of_another_size(self, tmp_path, spatial_dims):
        output = fill(tmp_path, spatial_dims, [sample(spatial_dims)])
        path = tmp_path / "in" / f"case{SUFFIX[spatial_dims]}"
        save(source_of(spatial_dims)[:-1], path)
        text, _ = page_of(output)
        assert "another size" in text
        assert set(captions(text)) == {"after", "found"}

    def test_damaged_picture(self, tmp_path, spatial_dims):
        line = sample(spatial_dims)
        output = fill(tmp_path, spatial_dims, [line])
        (output / line["image"]).write_bytes(b"nonsense")
        text, _ = page_of(output)
        assert "cannot be read" in text
        assert set(captions(text)) == {"before", "asked for"}

    def test_decompression_bomb(self, tmp_path, monkeypatch):
        output = fill(tmp_path, 2, [sample(2)])
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        text, _ = page_of(output)
        assert "case__k00.png cannot be read: it has more than 100 pixels" in text

    def test_another_format_under_a_known_suffix(self, tmp_path):
        line = sample(2)
        output = fill(tmp_path, 2, [line])
        Image.fromarray(source_of(2)).save(output / line["image"], "TIFF")
        assert "cannot be read: it cannot be decoded" in page_of(output)[0]

    def test_nothing_left(self, tmp_path):
        output = fill(tmp_path, 2, [sample(2, source="gone.png", image="gone.png", mask="gone.png")])
        text, page = page_of(output)
        assert "No picture of this sample" in text
        assert len(page.named("article")) == 1

    def test_without_prediction(self, tmp_path, spatial_dims):
        text, _ = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims)], predictions=False))
        assert "outlined" in captions(text) and 'class="found" d=' in text.partition("<main>")[0]
        assert 'class="found"' not in text.partition("<main>")[2]

    def test_nifti_2(self, tmp_path):
        """Its header is another one than that of most volumes."""
        line = sample(3)
        output = fill(tmp_path, 3, [line])
        for path in (tmp_path / "in" / "case.nii.gz", output / line["image"]):
            nibabel.save(nibabel.Nifti2Image(source_of(3), np.diag([1.0, 1.0, 3.0, 1.0])), path)
        text, _ = page_of(output)
        assert set(captions(text)) == {"before", "asked for", "after", "found"} and "cannot be read" not in text


class TestRejected:
    def test_without_files_shows_the_planned_place(self, tmp_path, spatial_dims):
        text, _ = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims, accepted=False)]))
        assert set(captions(text)) == {"before", "planned place"}
        assert "--audit" in text

    def test_with_audit_shows_what_was_refused(self, tmp_path, spatial_dims):
        text, _ = page_of(fill(tmp_path, spatial_dims, [sample(spatial_dims, accepted=False)], audit=True))
        assert set(captions(text)) == {"before", "asked for", "after, refused", "found"}


class TestBadInput:
    def test_no_manifest(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="output folder"):
            write_gallery(tmp_path)

    @pytest.mark.parametrize("bad", ["{", "[1]", "{}", '{"id": "a", "accepted": true, "attempts": [3]}'])
    def test_bad_line_is_named(self, tmp_path, bad):
        output = fill(tmp_path, 2, [sample(2)])
        with (output / "manifest.jsonl").open("a") as stream:
            stream.write(f"\n{bad}\n")
        with pytest.raises(ValueError, match=r"manifest\.jsonl, line 3 "):
            write_gallery(output)

    def test_bad_run_file_is_named(self, tmp_path):
        output = fill(tmp_path, 2, [sample(2)])
        (output / "run.json").write_text("{")
        with pytest.raises(ValueError, match=r"run\.json"):
            write_gallery(output)

    def test_a_failure_leaves_the_old_page_alone(self, tmp_path, monkeypatch):
        output = fill(tmp_path, 2, [sample(2), sample(2, "case__k01")])
        before = write_gallery(output).read_bytes()

        def fail(number, *rest):
            if number == 1:
                raise OSError("disk full")
            return "half a page"

        monkeypatch.setattr(gallery, "render_card", fail)
        with pytest.raises(OSError, match="disk full"):
            write_gallery(output)
        assert (output / "gallery.html").read_bytes() == before
        assert not [path for path in output.iterdir() if path.name.endswith(".part")]


def test_reasons_that_differ_in_numbers_alone_are_one_kind():
    assert reason_kind("IoU 0.52 is not above 0.7") == reason_kind("IoU 0.1 is not above 0.7")
    assert reason_kind("low overlap") == "low overlap"


@pytest.mark.slow
def test_a_thousand_samples(tmp_path):
    lines = [sample(2, f"case__k{k:04d}", accepted=k % 3 > 0, prompt=f"polyp {k}") for k in range(1000)]
    output = fill(tmp_path, 2, lines)
    start = time.perf_counter()
    page = write_gallery(output)
    assert time.perf_counter() - start < 60
    assert page.stat().st_size < 45e6
    assert page.read_text(encoding="utf-8").count("<article") == 1000
