"""A model's misses as a table: one row a real lesion, read into targets and written from what was measured."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_diffaug.generation.files import atomic_write
from monai_diffaug.synthesis import AbnormalitySynthesizer, LesionOutcome, MissTargets
from monai_diffaug.synthesis.attributes import TERCILES
from monai_diffaug.synthesis.provenance import file_digest

AXES = {2: ("y", "x"), 3: ("x", "y", "z")}
"""Columns of a place in the order of an image's axes: rows and columns of pictures, voxel axes of volumes."""
MISSED = 0.3  # recall below which a lesion counts as missed


def aimed(
    synthesizer: AbnormalitySynthesizer,
    misses: str | Path | None,
    cuts: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
) -> AbnormalitySynthesizer:
    """Return a synthesizer that draws after the misses of a table; without a table the one that was given.

    Args:
        synthesizer: of a bundle.
        misses: the CSV file.
        cuts: the bundle's ``attribute_cuts``.

    Raises:
        ValueError: when the table cannot be used; names the line.
    """
    if not misses:
        return synthesizer
    path = Path(misses)
    outcomes = read_outcomes(path, synthesizer.images.spatial_dims)
    return synthesizer.aimed(MissTargets(outcomes, cuts, digest=file_digest(path)))


def read_outcomes(path: Path, spatial_dims: int) -> list[LesionOutcome]:
    """Read a table of misses; other columns than those it knows do not matter.

    Raises:
        ValueError: when the file, a column or a value cannot be used.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a CSV table ({error}); see docs/targeted.md") from error
    columns = set(rows[0]) if rows else set()
    lacking = [name for name in ("case", "extent", *AXES[spatial_dims]) if name not in columns]
    if not {"recall", "missed"} & columns:
        lacking.append("recall or missed")
    if lacking:
        raise ValueError(f"{path} lacks the columns {', '.join(lacking)}; see docs/targeted.md")
    outcomes = []
    for line, row in enumerate(rows, start=2):
        try:
            outcomes.append(_outcome(row, spatial_dims))
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}") from error
    return outcomes


def write_outcomes(path: Path, outcomes: Iterable[LesionOutcome]) -> None:
    """Write a table of misses, whole or not at all."""
    rows = [_row(one) for one in outcomes]
    names = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, names)
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, stream.getvalue().encode())


def _outcome(row: Mapping[str, str | None], spatial_dims: int) -> LesionOutcome:
    recall = _number(row, "recall")
    missed = _number(row, "missed")
    if recall is None and missed is None:
        raise ValueError("neither recall nor missed has a value")
    centre = [_number(row, axis) for axis in AXES[spatial_dims]]
    extent = _number(row, "extent")
    if extent is None or None in centre:
        raise ValueError("extent and place need values")
    looks = {name: _look(row, name) for name in TERCILES if (row.get(name) or "").strip()}
    return LesionOutcome(
        case=row.get("case") or "",
        extent=extent,
        centre=tuple(one for one in centre if one is not None),
        missed=bool(missed) if missed is not None else recall is not None and recall < MISSED,
        recall=recall,
        abnormality=(row.get("class") or "").strip() or None,
        looks=looks,
    )


def _number(row: Mapping[str, str | None], name: str) -> float | None:
    text = (row.get(name) or "").strip()
    if not text:
        return None
    try:
        value = {"true": 1.0, "false": 0.0}.get(text.lower())
        value = float(text) if value is None else value
    except ValueError:
        raise ValueError(f"{name} is {text!r}; a number is needed") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} is {text!r}; a finite number is needed")
    return value


def _look(row: Mapping[str, str | None], name: str) -> float | str:
    text = (row.get(name) or "").strip()
    if text in TERCILES[name]:
        return text
    value = _number(row, name)
    return 0.0 if value is None else value


def _row(one: LesionOutcome) -> dict[str, Any]:
    place = dict(zip(AXES[len(one.centre)], (round(value, 4) for value in one.centre), strict=True))
    looks = {name: round(look, 5) if isinstance(look, float) else look for name, look in one.looks.items()}
    found = {"recall": "" if one.recall is None else round(one.recall, 4), "missed": int(one.missed)}
    head = {"case": one.case, "class": one.abnormality or "", "extent": round(one.extent, 4)}
    return {**head, **dict(sorted(place.items())), **found, **looks}
