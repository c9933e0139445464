"""JSON config files of bundles: read and checked before MONAI parses them, with errors that name the file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

MONAI_KEYS = ("_target_", "_requires_", "_disabled_", "_desc_", "_mode_")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        ValueError: when it is no valid JSON, or no object; names the file.
    """
    try:
        body = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ValueError(f"{path} holds a {type(body).__name__}; a JSON object is needed")
    return body


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Write a JSON file of a bundle, replaced as a whole."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(dict(body), indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_configs(files: Sequence[Path]) -> Any:
    """Return MONAI's ``ConfigParser`` of config files, later ones over earlier ones.

    Raises:
        ValueError: when one is no valid JSON, or has a misspelt key; names the file.
    """
    from monai.bundle import ConfigParser

    for file in files:
        # MONAI's own message for broken JSON does not name the file, and a misspelt key builds a plain dict.
        _check_keys(file, read_json(file))
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    return parser


def cause_of(error: BaseException) -> BaseException:
    """Return what a component raised, out of the RuntimeErrors that MONAI wraps it in."""
    while type(error) is RuntimeError and error.__cause__ is not None:
        error = error.__cause__
    return error


def _check_keys(file: Path, part: Any, place: str = "") -> None:
    """Raise ValueError for a key that looks like one of MONAI's, such as ``_target_``, but is none."""
    entries = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in entries:
        here = f"{place}::{key}" if place else str(key)
        if isinstance(key, str) and _misspelt(key, value):
            raise ValueError(f"the config {file} has the unknown key {here}; MONAI's are {', '.join(MONAI_KEYS)}")
        _check_keys(file, value, here)


def _misspelt(key: str, value: Any) -> bool:
    if key in MONAI_KEYS:
        return False
    dotted = isinstance(value, str) and value.startswith(("monai", "torch")) and "." in value
    return key.startswith("_") or key.endswith("_") or (dotted and bool(get_close_matches(key, ["_target_"])))
