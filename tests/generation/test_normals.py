"""Frames of normal tissue from noise: what is written, kept, refused, and made again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from monai_diffaug.cli import main
from monai_diffaug.generation.normals import NormalFrames
from monai_diffaug.synthesis import Stage
from tests.runs import contents
from tests.synthesis.fakes import Always
from tests.tiny_networks import tiny_inpainter
from tests.toys import toy_synthesizer

STAGES = (Stage(32, side=32, start=1.0, steps=2), Stage(32, start=0.4, steps=1))


def frames(lesion: float = 0.0, *, channels: int = 3, **numbers):
    synthesizer = toy_synthesizer(
        2, channels=channels, inpainter=tiny_inpainter(2, channels), validator=Always(lesion), batch_size=2
    )
    return NormalFrames(synthesizer, STAGES, (64, 72), progress=False, **numbers)


def test_frames_of_the_shape_are_written_with_how_they_were_made(tmp_path):
    assert frames()(tmp_path, 2, 7, {"bundle": "toy"}) == 2
    told = json.loads((tmp_path / "normals.json").read_text())
    assert [one["file"] for one in told["frames"]] == ["images/normal_000007.png", "images/normal_000008.png"]
    assert (told["bundle"], told["shape"], told["refused_seeds"]) == ("toy", [64, 72], [])
    with Image.open(tmp_path / told["frames"][0]["file"]) as picture:
        assert np.asarray(picture).shape == (64, 72, 3)


def test_same_seed_same_bytes_and_what_is_there_stays(tmp_path):
    for name in ("a", "b"):
        frames()(tmp_path / name, 2, 3, {})
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    first = tmp_path / "a" / "images" / "normal_000003.png"
    before = first.stat().st_mtime_ns
    assert frames()(tmp_path / "a", 3, 3, {}) == 3
    assert first.stat().st_mtime_ns == before


def test_where_a_lesion_is_seen_nothing_is_kept(tmp_path):
    assert frames(1.0, tries=3)(tmp_path, 1, 0, {}) == 0
    assert json.loads((tmp_path / "normals.json").read_text())["refused_seeds"] == [0, 1, 2]
    assert not (tmp_path / "images").exists()


def test_a_folder_of_other_frames_is_refused(tmp_path):
    frames()(tmp_path, 1, 0, {})
    with pytest.raises(ValueError, match="most_lesions differs"):
        frames(most_lesions=0.5)(tmp_path, 1, 0, {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="give a new folder"):
        frames()(tmp_path / "other", 1, 0, {})


def test_what_cannot_make_frames_is_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="RGB frames"):
        frames(channels=1)
    assert main(["normals", "--bundle", "texture_demo", "--num", "1", "--output", str(tmp_path / "out")]) == 2
    assert "give a trained bundle" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
