"""``misses`` measures, ``generate --misses`` follows, and both doors alike."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import run as run_bundle

from monai_diffaug.cli import main
from monai_diffaug.generation.misses import read_outcomes, write_outcomes
from monai_diffaug.synthesis import LesionOutcome
from tests.runs import BUNDLE, contents, frame, generate, lesion, manifest, same, write_frames, write_picture

HEAD = "case,extent,x,y,missed"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two frames with a lesion in the upper left corner; the second one was found."""
    for seed, name in enumerate("ab"):
        write_picture(tmp_path / "images" / f"{name}.png", frame(seed))
        write_picture(tmp_path / "labels" / f"{name}.png", lesion())
        write_picture(tmp_path / "found" / f"{name}.png", lesion() * np.uint8(seed))
    return tmp_path


def misses(data: Path, *more: str) -> int:
    places = [f"--{kind}" for kind in ("images", "labels", "predictions")]
    named = [
        part for flag, kind in zip(places, ("images", "labels", "found"), strict=True) for part in (flag, data / kind)
    ]
    return main(["misses", "--bundle", "texture_demo", *map(str, named), "--output", str(data / "m.csv"), *more])


def test_each_lesion_is_a_row(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert misses(data) == 0
    rows = list(csv.DictReader((data / "m.csv").read_text("utf-8").splitlines()))
    assert [(row["case"], row["class"], row["missed"], float(row["recall"])) for row in rows] == [
        ("a", "polyp", "1", 0.0),
        ("b", "polyp", "0", 1.0),
    ]
    assert float(rows[0]["x"]) == pytest.approx(19 / 112, abs=1e-3)
    assert float(rows[0]["y"]) == pytest.approx(16 / 96, abs=1e-3) and float(rows[0]["extent"]) == pytest.approx(
        14 / 96, abs=1e-3
    )
    assert "1 of 2 lesions missed" in capsys.readouterr().out
    assert misses(data) == 2 and "is there already" in capsys.readouterr().err


def test_generate_paints_where_it_misses(data: Path, tmp_path: Path) -> None:
    assert misses(data) == 0
    frames = write_frames(tmp_path / "normal", *(f"{name}.png" for name in "cdef"))
    assert generate(frames, tmp_path / "aimed", "--num", "8", "--misses", str(data / "m.csv")) in (0, 3)
    lines = manifest(tmp_path / "aimed")
    assert all(line["target"]["case"] == "a" for line in lines)
    boxes = [np.array(one["bbox"]) for line in lines for one in line["abnormalities"]]
    assert all((box.mean(0) < (48, 56)).all() for box in boxes)  # the upper left quarter
    run = json.loads((tmp_path / "aimed" / "run.json").read_text())
    assert run["targets"]["missed"] == 1 and len(run["targets"]["sha256"]) == 64


def test_a_run_is_not_resumed_with_other_misses(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert misses(data) == 0
    frames = write_frames(tmp_path / "normal", "c.png")
    arguments = (frames, tmp_path / "aimed", "--num", "2", "--misses")
    assert generate(*arguments, str(data / "m.csv")) in (0, 3)
    assert generate(*arguments, str(data / "m.csv"), "--resume") in (0, 3)
    (data / "other.csv").write_text(f"{HEAD}\nz,0.1,0.5,0.5,1\n")
    assert generate(*arguments, str(data / "other.csv"), "--resume") == 2
    assert "targets differ" in capsys.readouterr().err


def test_both_doors_give_the_same_bytes(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert misses(data) == 0
    frames = write_frames(tmp_path / "normal", "c.png", "d.png")
    assert generate(frames, tmp_path / "one", "--num", "2", "--misses", str(data / "m.csv")) == 0
    run_bundle(
        config_file=[str(BUNDLE / "configs" / f"{name}.json") for name in ("common", "inference")],
        bundle_root=str(BUNDLE),
        dataset_dir=str(frames),
        output_dir=str(tmp_path / "two"),
        num=2,
        misses=str(data / "m.csv"),
    )
    one, other = contents(tmp_path / "one"), contents(tmp_path / "two")
    pictures = [{name: files[name] for name in files if name.endswith(".png")} for files in (one, other)]
    same(*pictures)


def test_a_table_is_read_as_it_was_written(tmp_path: Path, spatial_dims: int) -> None:
    outcomes = [
        LesionOutcome(
            "a, b", 0.25, (0.5,) * spatial_dims, True, 0.1, "polyp", {"colour": 0.02, "border": "soft border"}
        ),
        LesionOutcome("c", 0.5, (0.25,) * spatial_dims, False, None),
    ]
    write_outcomes(tmp_path / "m.csv", outcomes)
    assert read_outcomes(tmp_path / "m.csv", spatial_dims) == outcomes


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("case,extent,x,missed\na,0.1,0.5,1", "lacks the columns y;"),
        ("case,extent,x,y\na,0.1,0.5,0.5", "lacks the columns recall or missed"),
        (f"{HEAD}\na,0.1,0.5,0.5,", "line 2: neither recall nor missed has a value"),
        (f"{HEAD}\na,big,0.5,0.5,1", "line 2: extent is 'big'; a number is needed"),
        (f"{HEAD}\na,0.1,1.5,0.5,1", "line 2: a centre must be fractions"),
        (f"{HEAD}\na,,0.5,0.5,1", "line 2: extent and place need values"),
        (f"{HEAD}\na,0.1,0.5,0.5,0", "none of 1 lesions was missed"),
    ],
)
def test_a_table_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    (tmp_path / "m.csv").write_text(text + "\n")
    frames = write_frames(tmp_path / "normal", "c.png")
    assert generate(frames, tmp_path / "out", "--num", "1", "--misses", str(tmp_path / "m.csv")) == 2
    assert sentence in capsys.readouterr().err and not (tmp_path / "out").exists()
