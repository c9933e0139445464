"""Which patient a case is of, where that matters: cases of one patient are held out together."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from monai_diffaug.generation.files import BadInput

COLUMNS = ("id", "group")

Grouping = Callable[[str], str | None]
"""Case id -> its group, None where it has none."""


def each_alone(id_: str) -> str | None:
    """Return no group: every case stands for itself."""
    return None


def read_groups(given: str) -> Grouping:
    """Return the grouping that a CSV file or a regular expression gives.

    Args:
        given: a CSV file's path (columns ``id`` and ``group``), or an expression that is searched in the id; its first
            pair of parentheses is the group, or all of it where there is none.

    Raises:
        ValueError: when it is neither.

    Example:
        >>> read_groups(r"^(p\\d+)_")("p07_frame_3"), read_groups(r"^p\\d+")("normal_3")
        ('p07', None)
    """
    if given.lower().endswith(".csv"):
        return _table(Path(given)).get
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise ValueError(f"groups {given!r} is no regular expression ({error}); give one, or a .csv file") from error

    def group(id_: str) -> str | None:
        found = pattern.search(id_)
        return found[1 if pattern.groups else 0] if found else None

    return group


def _table(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(f"groups {path} cannot be opened ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"groups {path} is no CSV in UTF-8 ({error}); save it as one") from error
    if not rows or any(not row.get(column) for row in rows for column in COLUMNS):
        raise BadInput(f"groups {path} needs the columns {' and '.join(COLUMNS)}, filled in every row")
    return {row["id"]: row["group"] for row in rows}
