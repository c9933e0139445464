"""The manifest: one JSON line for each planned sample, the commit point of a run."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from monai_diffaug.generation.files import atomic_write

NAME = "manifest.jsonl"
_NEEDED = ("id", "source", "source_sha256", "seed", "accepted", "image", "mask", "label", "attempts", "abnormalities")
_PATHS = ("source", "image", "mask", "label", "prediction")
_REMEDY = "the file was changed: remove that line, then generate --resume makes the sample again"


def part_name(rank: int, world_size: int) -> str:
    """Return the file that one of several processes appends to."""
    return NAME if world_size == 1 else f"manifest.rank{rank}.jsonl"


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line and force it to the disk: from then on the sample exists.

    Raises:
        OSError: when it cannot be written (disk full...); then no half line is left behind.
    """
    with open(path, "ab", buffering=0) as stream:
        before = os.fstat(stream.fileno()).st_size
        try:
            if stream.write(data := dump(line).encode()) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(stream.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                os.truncate(path, before)
            raise


def dump(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a finished manifest.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when a line is broken; names file and line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give the manifest.jsonl of a generated folder")
    return _parsed(path, path.read_bytes())


def recover(output: Path) -> dict[str, dict[str, Any]]:
    """Return the committed lines of an interrupted run by id, cutting a half-written last line off each part.

    A sample whose files are not all there (a power cut, a hand) is left out, so that it is made again.

    Raises:
        ValueError: when a line is broken that is not the last; names file and line.
    """
    return {id_: line for id_, line in _committed(output).items() if _has_files(output, line)}


def _committed(output: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(output.glob("manifest*.jsonl")):
        whole, _, rest = path.read_bytes().rpartition(b"\n")
        if rest:
            os.truncate(path, len(whole) + 1 if whole else 0)
        found |= {line["id"]: line for line in _parsed(path, whole)}
    return found


def _has_files(output: Path, line: Mapping[str, Any]) -> bool:
    named = (line.get(key) for key in ("image", "mask", "label", "prediction"))
    return all((output / name).is_file() for name in named if name is not None)


def finish(output: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Write all parts as one manifest in planned order, remove the parts, return the lines."""
    found = _committed(output)
    lines = [found[id_] for id_ in ids]
    atomic_write(output / NAME, "".join(map(dump, lines)).encode())
    for path in output.glob("manifest.rank*.jsonl"):
        path.unlink()
    return lines


def datalist(lines: Iterable[Mapping[str, Any]], passthrough: Mapping[str, Any]) -> dict[str, Any]:
    """Return a MONAI datalist: accepted samples as training entries, other given splits untouched."""
    training = [{"image": line["image"], "label": line["label"]} for line in lines if line["accepted"]]
    return {**passthrough, "training": training}


def astray(line: Mapping[str, Any]) -> str:
    """Return which name in a line is none or would lead out of its folder, or an empty text.

    A manifest may come from anyone: whoever reads one asks this before a file is opened or written by its names.
    """
    id_ = line.get("id")
    if not isinstance(id_, str) or not id_ or set(id_) & set("/\\\0"):
        return f"its id {id_!r} is no file name"
    for key in _PATHS:
        name = line.get(key)
        if name is not None and not _stays_below(name):
            return f"its {key} {name!r} is no path below its folder"
    return ""


def _stays_below(name: Any) -> bool:
    if not isinstance(name, str) or set(name) & set("\\\0"):
        return False
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _parsed(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Return the lines of a manifest, each an object with the keys that every reader here needs."""
    lines = []
    for number, text in enumerate(content.split(b"\n"), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError as error:  # no JSON, or no UTF-8
            raise ValueError(f"{path}, line {number} is no valid JSON ({error}); {_REMEDY}") from error
        missing = [key for key in _NEEDED if key not in line] if isinstance(line, dict) else _NEEDED
        if missing:
            raise ValueError(f"{path}, line {number} is no sample, it lacks {', '.join(missing)}; {_REMEDY}")
        if wrong := astray(line):
            raise ValueError(f"{path}, line {number} names no file of the run: {wrong}; {_REMEDY}")
        lines.append(line)
    return lines
