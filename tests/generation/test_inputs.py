"""Every input is looked at before anything is made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_diffaug import AbnormalitySynthesizer, load_synthesizer
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.generation.inputs import CheckedCases, check_cases, load_case
from tests.runs import bundle_copy, frame, lesion, write_frames, write_picture, write_volume


@pytest.fixture(scope="module")
def door() -> AbnormalitySynthesizer:
    return load_synthesizer("texture_demo")


def check(root: Path, door: AbnormalitySynthesizer, **how: bool) -> CheckedCases:
    """Check the images below a root, with its labels and regions where it has them."""
    others = [root / name if (root / name).is_dir() else None for name in ("labels", "regions")]
    return check_cases(find_cases(root / "in", *others), door, **how)


def test_good_ones_are_counted_and_bad_ones_listed(tmp_path: Path, door: AbnormalitySynthesizer) -> None:
    write_frames(tmp_path / "in", "b.png", "a.png", "sub/c.jpg")
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "in" / "scan.tif").write_bytes(b"")
    cases = check(tmp_path, door)
    assert [case.id for case in cases.usable] == ["a", "b", "sub__c"]
    assert sorted(source for source, _ in cases.bad) == ["broken.png", "scan.tif"]
    assert cases.digests["a"] == hashlib.sha256((tmp_path / "in" / "a.png").read_bytes()).hexdigest()
    assert set(cases.digests) == {"a", "b", "sub__c"} and cases.notes == () and not cases.binary_labels


def test_an_opaque_alpha_is_noted(tmp_path: Path, door: AbnormalitySynthesizer) -> None:
    opaque = np.concatenate([frame(), np.full((96, 112, 1), 255, np.uint8)], -1)
    write_picture(tmp_path / "in" / "a.png", opaque)
    cases = check(tmp_path, door)
    assert cases.notes == (("a.png", "fully opaque alpha channel dropped"),)
    assert load_case(cases.usable[0], door).stored.array.shape == (3, 96, 112)


@pytest.mark.parametrize(
    ("labels", "binary"),
    [
        (["none"], False),
        (["empty"], False),
        (["255"], True),
        (["empty", "255"], True),
        (["empty", "1"], False),
        (["255 and 1"], False),
        (["1", "255"], True),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_a_set_with_labels_of_0_and_255_is_binary(
    tmp_path: Path, door: AbnormalitySynthesizer, labels: list[str], binary: bool, skip: bool
) -> None:
    """Also when the very labels that show it are left out."""
    for number, kind in enumerate(labels):
        write_frames(tmp_path / "in", f"{number}.png")
        label = np.zeros((96, 112), np.uint8)
        for value in (255, 1):
            if str(value) in kind.split():
                label = np.maximum(label, np.roll(lesion(value=value), value, 0))
        if kind != "none":
            write_picture(tmp_path / "labels" / f"{number}.png", label)
    assert check(tmp_path, door, skip_existing=skip).binary_labels is binary


def test_skip_leaves_out_and_notes(tmp_path: Path, door: AbnormalitySynthesizer) -> None:
    write_frames(tmp_path / "in", "a.png", "b.png")
    write_picture(tmp_path / "labels" / "a.png", lesion())
    write_picture(tmp_path / "labels" / "b.png", 0 * lesion())
    assert [case.id for case in check(tmp_path, door).usable] == ["a", "b"]
    cases = check(tmp_path, door, skip_existing=True)
    assert [case.id for case in cases.usable] == ["b"]
    assert cases.notes == (("a.png", "has a lesion already, left out as asked"),) and cases.bad == ()


def test_a_class_value_that_a_label_cannot_hold_is_bad_before_anything_is_made(tmp_path: Path) -> None:
    ulcer = {"_target_": "monai_diffaug.synthesis.Abnormality", "name": "ulcer", "value": 300}
    door = load_synthesizer(bundle_copy(tmp_path / "bundle", abnormalities=[ulcer]))
    write_frames(tmp_path / "in", "a.png", "b.png", "c.png")
    write_picture(tmp_path / "labels" / "a.png", lesion(value=2))
    write_picture(tmp_path / "labels" / "b.png", lesion(value=2).astype(np.uint16))
    write_picture(tmp_path / "labels" / "c.png", lesion(value=255))  # binary, and stays so
    cases = check(tmp_path, door)
    assert [case.id for case in cases.usable] == ["b", "c"]
    assert "a.png: value 300 does not fit a label of dtype uint8" in cases.bad[0][1]


def test_fingerprint_tells_every_content_and_name(tmp_path: Path, door: AbnormalitySynthesizer) -> None:
    write_frames(tmp_path / "in", "a.png", "b.png")
    for name in ("a", "b"):
        write_picture(tmp_path / "labels" / f"{name}.png", lesion())
        write_picture(tmp_path / "regions" / f"{name}.png", lesion() * 0 + 255)
    seen = {check(tmp_path, door).fingerprint}
    assert check(tmp_path, door).fingerprint in seen
    for folder in ("in", "labels", "regions"):
        path = tmp_path / folder / "b.png"
        changed = np.array(Image.open(path))
        changed[40, 40] = 119
        write_picture(path, changed)
        seen.add(check(tmp_path, door).fingerprint)
    for folder in ("in", "labels", "regions"):
        (tmp_path / folder / "b.png").rename(tmp_path / folder / "c.png")
    seen.add(check(tmp_path, door).fingerprint)
    assert len(seen) == 5


def test_volumes_give_spacing_to_the_request(tmp_path: Path) -> None:
    door = load_synthesizer("texture_demo", variant="volume")
    write_volume(tmp_path / "in" / "v.nii.gz")
    loaded = load_case(check(tmp_path, door).usable[0], door)
    request = loaded.request(5, None, None)
    assert request.spacing == (1.5, 1.0, 2.0) and request.seed == 5 and request.label is None
    assert request.image.shape == (1, 44, 48, 40) and request.image.dtype == np.int16
