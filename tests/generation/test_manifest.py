"""The manifest: appended line by line, recovered after a kill, finished in planned order."""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monai_diffaug.generation import manifest


def line(id_: str, *, accepted: bool = True, **more: Any) -> dict[str, Any]:
    """Return the least that is a line."""
    kinds = {kind: f"{kind}s/{id_}.png" if accepted else None for kind in ("image", "mask", "label")}
    head = {"id": id_, "source": "a.png", "source_sha256": "00", "seed": 1, "accepted": accepted}
    return {**head, **kinds, "attempts": [], "abnormalities": [], **more}


def written(folder: Path, one: dict[str, Any]) -> dict[str, Any]:
    """Write the files of a line, empty, and return the line."""
    for kind in ("image", "mask", "label"):
        if one[kind] is not None:
            (folder / one[kind]).parent.mkdir(exist_ok=True)
            (folder / one[kind]).touch()
    return one


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    written = [line("a"), line("b", accepted=False), line("ü\u2028\x85", prompt='"\n')]
    for one in written:
        manifest.append(tmp_path / "manifest.jsonl", one)
    assert manifest.read(tmp_path / "manifest.jsonl") == written
    assert (tmp_path / "manifest.jsonl").read_bytes().count(b"\n") == 3


def test_a_last_line_without_newline_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(manifest.dump(line("a")) + manifest.dump(line("b")).rstrip("\n"))
    assert [one["id"] for one in manifest.read(tmp_path / "manifest.jsonl")] == ["a", "b"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b'{"id": "a", "sou', "line 2 is no valid JSON"),
        (b"\xff\xfe", "line 2 is no valid JSON"),
        (b"[]", "line 2 is no sample, it lacks id, source"),
        (b"3", "line 2 is no sample"),
        (b'{"id": "a", "accepted": true}', "it lacks source, source_sha256, seed, image, mask, label, attempts"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, broken: bytes, message: str) -> None:
    path = tmp_path / "manifest.jsonl"
    whole = manifest.dump(line("a")).encode()
    path.write_bytes(whole + broken + b"\n" + whole)
    for act in (lambda: manifest.read(path), lambda: manifest.recover(tmp_path)):
        with pytest.raises(ValueError, match="manifest.jsonl, ") as caught:
            act()
        assert message in str(caught.value)
        assert "remove that line, then generate --resume" in str(caught.value)


ASTRAY = [
    {"id": "../a"},
    {"id": "a\\b"},
    {"id": ""},
    {"id": 3},
    {"image": "../escaped.png"},
    {"mask": "/tmp/escaped.png"},
    {"label": "labels/../../escaped.png"},
    {"prediction": "..\\escaped.png"},
    {"source": "../a.png"},
    {"image": "."},
    {"image": ["a.png"]},
]


@pytest.mark.parametrize("change", ASTRAY, ids=str)
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(manifest.dump(line("a")) + manifest.dump({**line("b"), **change}))
    for act in (lambda: manifest.read(path), lambda: manifest.recover(tmp_path)):
        with pytest.raises(ValueError, match=r"manifest.jsonl, line 2 names no file of the run: its ") as caught:
            act()
        assert next(iter(change)) in str(caught.value)


def test_names_of_all_kinds_below_the_folder_are_fine() -> None:
    for change in ({"source": "p/..a/b c.png"}, {"id": "..a"}, {"image": "./images/a.png"}, {"prediction": None}):
        assert not manifest.astray({**line("a"), **change})


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="manifest.jsonl is missing; give"):
        manifest.read(tmp_path / "manifest.jsonl")


@pytest.mark.parametrize("cut", [1, 5, 40, -1])
def test_recover_cuts_a_half_line_off_each_part(tmp_path: Path, cut: int) -> None:
    """Wherever the kill fell, also within one letter; a line without its newline was not committed."""
    parts = {name: tmp_path / name for name in ("manifest.jsonl", "manifest.rank0.jsonl", "manifest.rank1.jsonl")}
    for name, path in parts.items():
        path.write_bytes(
            manifest.dump(written(tmp_path, line(f"{name}ü"))).encode() + manifest.dump(line("üüüü")).encode()[:cut]
        )
    assert set(manifest.recover(tmp_path)) == {f"{name}ü" for name in parts}
    assert all(path.read_bytes().endswith(b"}\n") for path in parts.values())
    assert set(manifest.recover(tmp_path)) == {f"{name}ü" for name in parts}


@pytest.mark.parametrize("kind", ["image", "mask", "label"])
def test_recover_leaves_out_what_lost_a_file(tmp_path: Path, kind: str) -> None:
    for one in (line("a"), line("b"), line("c", accepted=False)):
        manifest.append(tmp_path / "manifest.jsonl", written(tmp_path, one))
    (tmp_path / line("a")[kind]).unlink()
    assert list(manifest.recover(tmp_path)) == ["b", "c"]


def test_recover_of_nothing_but_a_half_line(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_bytes(b'{"id": ')
    assert manifest.recover(tmp_path) == {}
    assert (tmp_path / "manifest.jsonl").read_bytes() == b""
    assert manifest.recover(tmp_path / "nowhere") == {}


def test_finish_orders_and_joins_the_parts(tmp_path: Path) -> None:
    manifest.append(tmp_path / manifest.part_name(1, 2), line("c"))
    manifest.append(tmp_path / manifest.part_name(0, 2), line("b"))
    manifest.append(tmp_path / manifest.part_name(0, 1), line("a"))
    lines = manifest.finish(tmp_path, ["a", "b", "c"])
    assert [one["id"] for one in lines] == ["a", "b", "c"]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]
    assert manifest.read(tmp_path / "manifest.jsonl") == lines
    assert manifest.finish(tmp_path, ["a", "b", "c"]) == lines


def test_datalist_holds_accepted_samples_and_what_was_passed_through() -> None:
    others = {"validation": [{"image": "v.png", "label": "vl.png"}], "test": ["t.png"]}
    listed = manifest.datalist([line("a"), line("b", accepted=False)], others)
    assert listed == {**others, "training": [{"image": "images/a.png", "label": "labels/a.png"}]}


@contextlib.contextmanager
def full_at(size: int) -> Iterator[None]:
    """Let files grow to that many bytes and no further, as on a disk that fills up within a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_leaves_no_half_line(tmp_path: Path, room: int) -> None:
    path = tmp_path / "manifest.jsonl"
    manifest.append(path, line("a"))
    before = path.read_bytes()
    with full_at(len(before) + room), pytest.raises(OSError, match="(?i)no space|too large") as caught:
        manifest.append(path, line("b"))
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    assert path.read_bytes() == before
