"""The manifest: one JSON line for each planned sample, the commit point of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_diffaug.generation.files import atomic_write

NAME = "manifest.jsonl"


def part_name(rank: int, world_size: int) -> str:
    """Return the file that one of several processes appends to."""
    return NAME if world_size == 1 else f"manifest.rank{rank}.jsonl"


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Append one line and force it to the disk: from then on the sample exists."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.write(dump(line))
        stream.flush()
        os.fsync(stream.fileno())


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
    lines = []
    for number, text in enumerate(path.read_text("utf-8").split("\n")[:-1], start=1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is no valid JSON ({error.msg}); the file was changed") from error
    return lines


def recover(output: Path) -> dict[str, dict[str, Any]]:
    """Return the committed lines of an interrupted run by id, cutting a half-written last line off each part."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(output.glob("manifest*.jsonl")):
        whole, _, rest = path.read_bytes().rpartition(b"\n")
        if rest:
            os.truncate(path, len(whole) + 1 if whole else 0)
        found |= {line["id"]: line for line in map(json.loads, filter(None, whole.decode("utf-8").split("\n")))}
    return found


def finish(output: Path, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Write all parts as one manifest in planned order, remove the parts, return the lines."""
    found = recover(output)
    lines = [found[id_] for id_ in ids]
    atomic_write(output / NAME, "".join(map(dump, lines)).encode())
    for path in output.glob("manifest.rank*.jsonl"):
        path.unlink()
    return lines


def datalist(lines: Iterable[Mapping[str, Any]], passthrough: Mapping[str, Any]) -> dict[str, Any]:
    """Return a MONAI datalist: accepted samples as training entries, other given splits untouched."""
    training = [{"image": line["image"], "label": line["label"]} for line in lines if line["accepted"]]
    return {**passthrough, "training": training}
