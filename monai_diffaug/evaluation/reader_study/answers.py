"""Read a study's key and what its readers answered."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_diffaug.evaluation.reader_study.agreement import LEVELS
from monai_diffaug.evaluation.reader_study.selection import REAL, SYNTHETIC

COLUMNS = ("study", "reader", "position", "code", "realism", "usefulness", "remark", "seconds", "ring", "answered")
SCALES = ("realism", "usefulness")


@dataclass(frozen=True)
class Shown:
    """One picture of a study: what it is, how large its lesion is, and the code that it repeats, if any."""

    kind: str
    size: float
    repeats: str | None


@dataclass(frozen=True)
class Key:
    """What every code of a study stands for."""

    study: str
    pictures: Mapping[str, Shown]


@dataclass(frozen=True)
class Answer:
    """What a reader said of a picture; None where nothing."""

    realism: int | None
    usefulness: int | None
    seconds: float | None


@dataclass(frozen=True)
class Reader:
    """One reader's answers, by code."""

    name: str
    answers: Mapping[str, Answer]


def read_key(path: Path) -> Key:
    """Read a study's key.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is no key, or was changed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give the STUDY.key.json that `reader-study make` wrote")
    try:
        content = json.loads(path.read_bytes())
        pictures = {code: _shown(entry) for code, entry in content["pictures"].items()}
        study = str(content["study"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no key of a study ({error!r}); give what `reader-study make` wrote") from error
    for code, one in pictures.items():
        if one.kind not in (REAL, SYNTHETIC) or (one.repeats is not None and one.repeats not in pictures):
            raise ValueError(f"{path} is no key of a study (picture {code}); the file was changed, get it anew")
    return Key(study, pictures)


def _shown(entry: Mapping[str, Any]) -> Shown:
    return Shown(entry["kind"], float(entry["size"]), entry["repeats"])


def read_all(paths: Sequence[Path], key: Key) -> list[Reader]:
    """Read the answers of several readers, one file each.

    Raises:
        ValueError: when a file is bad, or two are of one reader; one sentence that names the file.
    """
    found: dict[str, tuple[Path, Reader]] = {}
    for path in paths:
        reader = read_answers(path, key)
        if (same := reader.name.casefold()) in found:
            raise ValueError(f"{found[same][0]} and {path} are both of reader {reader.name}; give one file a reader")
        found[same] = (path, reader)
    return [reader for _, reader in found.values()]


def read_answers(path: Path, key: Key) -> Reader:
    """Read the answers of one reader.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is of another study, holds unknown codes, values outside 1 to 5, or no answer.
    """
    rows = _rows(path)
    names = sorted({row["reader"].strip() for row in rows})
    if len(names) > 1:
        raise ValueError(f"{path} holds answers of {len(names)} readers ({', '.join(names)}); give one file a reader")
    answers: dict[str, Answer] = {}
    for number, row in enumerate(rows, start=2):
        where, code = f"{path}, row {number}", row["code"].strip()
        if row["study"].strip() != key.study:
            raise ValueError(
                f"{where} is of study {row['study']!r}, the key is of {key.study!r}; give files of one study"
            )
        if code not in key.pictures:
            raise ValueError(f"{where} names picture {code!r}, which is not in the study; the file was changed")
        if code in answers:
            raise ValueError(f"{where} answers picture {code} a second time; keep one row a picture")
        answers[code] = Answer(_level(row, "realism", where), _level(row, "usefulness", where), _number(row["seconds"]))
    if not names[0]:
        raise ValueError(f"{path} names no reader; write a name or code into its column reader")
    if all(one.realism is None and one.usefulness is None for one in answers.values()):
        raise ValueError(f"{path} holds no answers; give a file that the page of the study has written")
    return Reader(names[0], answers)


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file; a spreadsheet may have put semicolons between the columns."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give the files that readers have downloaded")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}); give the file as it was downloaded") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if head.count(";") > head.count(",") else ",")
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"{path} is no file of answers, it lacks {', '.join(missing)}; give it as it was downloaded")
    rows = [{name: row[name] or "" for name in COLUMNS} for row in reader]
    if not rows:
        raise ValueError(f"{path} holds no answers; give a file that the page of the study has written")
    return rows


def _level(row: Mapping[str, str], scale: str, where: str) -> int | None:
    text = row[scale].strip()
    if not text:
        return None
    if text not in {str(level) for level in range(1, LEVELS + 1)}:
        raise ValueError(f"{where} has {scale} {text!r}; answers are whole numbers from 1 to {LEVELS}, or empty")
    return int(text)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
