"""``run.json``: what a run is, and whom an output folder belongs to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monai_diffaug.generation.runfile import check_output, claim_output, read_run, relative

RUN = {
    **dict.fromkeys(("bundle", "bundle_root", "preset", "prompts", "images_root"), "x"),
    "variant": None,
    "intensity_range": [0, 255],
    "batch_size": 1,
    "weights": {},
    "environment": {"threads": 1},
    "versions": {"torch": "2"},
    "order": {"seed": 0},
}


@pytest.fixture
def claimed(tmp_path: Path) -> Path:
    claim_output(tmp_path / "a" / "out", RUN, resume=False)
    return tmp_path / "a" / "out"


def test_a_new_folder_is_claimed(claimed: Path) -> None:
    assert [path.name for path in claimed.iterdir()] == ["run.json"]
    assert read_run(claimed) == RUN


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("there", ["nothing", "empty", "killed in the first write"])
def test_what_counts_as_new(tmp_path: Path, there: str, resume: bool) -> None:
    output = tmp_path / "out"
    if there != "nothing":
        output.mkdir()
    if there == "killed in the first write":
        (output / ".run.json.part").write_bytes(b"{")
    claim_output(output, RUN, resume=resume)
    assert [path.name for path in output.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"environment": {"threads": 2}},
            r"threads was 1, now 2; resume .* \(threads: OMP_NUM_THREADS=1\) or give a new",
        ),
        ({"versions": {"torch": "3"}}, "torch was '2', now '3'; resume under the same ones or give a new"),
        ({"environment": {"threads": 1, "device": "cuda"}}, "device was None, now 'cuda'"),
    ],
)
def test_other_conditions_are_refused(claimed: Path, change: dict[str, object], said: str) -> None:
    """The rest of the samples could come out with other bytes than the first run's."""
    before = (claimed / "run.json").read_bytes()
    with pytest.raises(ValueError, match="under other conditions, so the bytes could differ: " + said):
        claim_output(claimed, {**RUN, **change}, resume=True)
    assert (claimed / "run.json").read_bytes() == before


def test_a_moved_folder_goes_on_and_tells_its_new_places(claimed: Path) -> None:
    places = {"bundle_root": "../../y", "images_root": "../../z"}
    claim_output(claimed, {**RUN, **places}, resume=True)
    assert read_run(claimed) == {**RUN, **places}


def test_left_over_parts_are_removed(claimed: Path) -> None:
    (claimed / "images").mkdir()
    for name in (".gallery.html.123.part", "images/.a__k00.png.part"):
        (claimed / name).write_bytes(b"half")
    claim_output(claimed, RUN, resume=True)
    assert sorted(path.name for path in claimed.rglob("*")) == ["images", "run.json"]


def test_another_run_is_refused_and_named(claimed: Path) -> None:
    with pytest.raises(ValueError, match="made by another run: order differ") as caught:
        claim_output(claimed, {**RUN, "order": {"seed": 1}}, resume=True)
    assert "{'seed': 0}, now {'seed': 1}" in str(caught.value)
    with pytest.raises(ValueError, match="audit differ"):
        claim_output(claimed, {**RUN, "audit": True}, resume=True)


def test_what_is_not_ours_is_refused(claimed: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not empty \(run.json ...\); give a new one, or --resume"):
        check_output(claimed, resume=False)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        check_output(tmp_path / "file", resume=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_bytes(b"")
    with pytest.raises(ValueError, match="has no run.json, so it was not made by this tool"):
        claim_output(tmp_path / "other", RUN, resume=True)
    with pytest.raises(ValueError, match="cannot be made"):
        claim_output(tmp_path / "file" / "below", RUN, resume=False)
    assert check_output(claimed, resume=True) and not check_output(tmp_path / "new", resume=True)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "no valid JSON"), ("[]", "lacks bundle, "), ('{"bundle": "x"}', "lacks bundle_root, ")]
)
def test_a_broken_run_file_is_named(claimed: Path, text: str, message: str) -> None:
    (claimed / "run.json").write_text(text)
    with pytest.raises(ValueError, match="run.json") as caught:
        read_run(claimed)
    assert message in str(caught.value)
    with pytest.raises(ValueError, match="run.json"):
        claim_output(claimed, RUN, resume=True)
    assert (claimed / "run.json").read_text() == text


@pytest.mark.parametrize("key", ["preset", "variant", "prompts"])
def test_what_names_a_part_of_a_bundle_is_a_name(claimed: Path, key: str) -> None:
    (claimed / "run.json").write_text(json.dumps({**RUN, key: "../../evil"}))
    with pytest.raises(ValueError, match=f"has the {key} '../../evil', which is no name"):
        read_run(claimed)


def test_missing_run_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run.json is missing; give a folder"):
        read_run(tmp_path)


def test_paths_are_relative_with_forward_slashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(Path("in/a"), Path("out")) == "../in/a"
    assert relative(tmp_path / "in", Path("out/deep")) == "../../in"
    assert json.dumps(relative(Path("."), Path("."))) == '"."'
