"""Read a MONAI/Decathlon datalist: which images to draw from, and what to pass through untouched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One entry of a split.

    Args:
        name: how to speak of it, its place counted from 1.
        image: the image's path as it is written; empty where ``wrong`` says why there is none.
        label, regions: paths as they are written; empty = none.
        wrong: why the entry cannot be used; empty = it can.
    """

    name: str
    image: str
    label: str = ""
    regions: str = ""
    wrong: str = ""


@dataclass(frozen=True)
class Datalist:
    """The entries of one split of a datalist, and its other splits as they are."""

    entries: tuple[Entry, ...]
    passthrough: dict[str, Any]


def read_datalist(path: Path, split: str = "training") -> Datalist:
    """Read a datalist file: an object with a list `training` (or another split), or a bare list.

    Raises:
        ValueError: when the file cannot be read as one; the sentence names it and the remedy.
    """
    content = _parsed(path)
    training = content.get(split) if isinstance(content, dict) else None
    if not isinstance(training, list):
        raise ValueError(
            f'{path} holds no list "{split}"; give a datalist such as {{"training": [{{"image": "a.png"}}]}}'
        )
    entries = tuple(_entry(f"entry {number}", one) for number, one in enumerate(training, start=1))
    return Datalist(entries, {key: one for key, one in content.items() if key != split and _is_split(one)})


def split_names(path: Path) -> tuple[str, ...]:
    """Return the names of a datalist file's lists that are not empty.

    Raises:
        ValueError: when the file cannot be read.
    """
    content = _parsed(path)
    return tuple(key for key, one in content.items() if one and _is_split(one)) if isinstance(content, dict) else ()


def _parsed(path: Path) -> Any:
    """Return a datalist's content; a bare list is one for training."""
    try:
        content = json.loads(path.read_text("utf-8-sig"))
        return {"training": content} if isinstance(content, list) else content
    except OSError as error:
        raise ValueError(f"{path} cannot be opened ({error.strerror}); check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}); give a folder of images or a datalist in JSON") from error


def _entry(name: str, one: Any) -> Entry:
    if isinstance(one, str):
        one = {"image": one}
    if not isinstance(one, dict) or not isinstance(one.get("image"), str) or not one["image"]:
        return Entry(name, "", wrong='it has no path under "image"; give one file per entry')
    for key in ("label", "regions"):
        if one.get(key) is not None and not isinstance(one[key], str):
            return Entry(name, one["image"], wrong=f'its "{key}" is no path; give one file of one channel')
    return Entry(name, one["image"], one.get("label") or "", one.get("regions") or "")


def _is_split(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict | str) for one in value)
