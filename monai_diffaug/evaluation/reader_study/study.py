"""Write a study: a folder for the readers that works by a double click, and beside it the key, which they never get."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.evaluation.reader_study.agreement import auc
from monai_diffaug.evaluation.reader_study.clues import compare, measure, warning
from monai_diffaug.evaluation.reader_study.framing import (
    Cut,
    Format,
    common_format,
    cut_squares,
    draw,
    encode,
    read_mask,
)
from monai_diffaug.evaluation.reader_study.selection import CALIPER, REAL, Candidate, Selection, sizes_of
from monai_diffaug.generation.files import atomic_write
from monai_diffaug.generation.scans import read_scan
from monai_diffaug.synthesis.provenance import file_digest

FORMAT = 1
MARKER = "<!-- study -->"
MOMENT = 1_600_000_000  # one time of last change for all files: the order of writing tells nothing
LETTERS = "bcdfghjkmnpqrstvwxz"  # of codes: no vowels, so that none spells a word


@dataclass(frozen=True)
class Showing:
    """One picture as it is shown: its code, what it is, and the code that it repeats, if any."""

    code: str
    candidate: Candidate
    repeats: str | None = None


@dataclass(frozen=True)
class Study:
    """Where a study was written, how many pictures it has, and what may give the kinds away.

    Args:
        folder, key: what readers get, and what they never get.
        pictures, repeats: how many, and how many of them are shown twice.
        size_auc: AUC of telling real from synthetic by the lesion's size alone.
        warning: on what the background tells, or empty.
    """

    folder: Path
    key: Path
    pictures: int
    repeats: int
    size_auc: float
    warning: str


def key_path(output: Path) -> Path:
    """Return where a study's key lies: beside its folder, so that the folder can be handed out as it is."""
    return output.with_name(f"{output.name}.key.json")


def write_study(selection: Selection, output: Path, *, close: bool, repeat: float, seed: int) -> Study:
    """Write the folder and the key; nothing is left behind when something goes wrong.

    Args:
        selection: what is shown.
        output: new folder.
        close: show close-ups around the lesions, else whole frames.
        repeat: share of the pictures that are shown twice, 0 to 0.5.
        seed: of the codes and of who is repeated; the pictures' contents enter too, so that nobody guesses codes.

    Raises:
        ValueError: when the folder or the key is there already, or a picture cannot be read.
    """
    check_output(output, repeat)
    candidates = [one for pair in selection.pairs for one in pair]
    shown, form = _look(candidates, close)
    rng = _generator(candidates, seed)
    parts = arrange(candidates, repeat, rng)
    study = _code(rng, 10)
    made = {"seed": seed, "view": "window" if close else "frame", "side": form.side}
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / "images").mkdir(parents=True)
        clues = _write_pictures(part / "images", parts, shown, form)
        key = _key(selection, parts, study, {**made, "clues": clues})
        (part / "index.html").write_text(_page(study, parts, shown, form), encoding="utf-8", newline="\n")
        for path in sorted(part.rglob("*"), reverse=True):
            os.utime(path, (MOMENT, MOMENT))
        atomic_write(key_path(output), json.dumps(key, indent=1, ensure_ascii=False).encode())
        os.replace(part, output)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        key_path(output).unlink(missing_ok=True)
        raise
    repeats = sum(one.repeats is not None for each in parts for one in each)
    alone = key["matching"]["auc_of_size_alone"]
    return Study(output, key_path(output), len(candidates), repeats, alone, warning(clues, len(selection.pairs)))


def check_output(output: Path, repeat: float) -> None:
    """Raise ValueError when the study could not be written; cheap, so that it is asked first."""
    if not 0 <= repeat <= 0.5:
        raise ValueError(f"--repeat must be between 0 and 0.5, got {repeat:g}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output {output} is there already and not empty; give a new folder")
    if key_path(output).exists():
        raise ValueError(f"{key_path(output)} is there already: the key of another study; give another folder's name")


def arrange(candidates: Sequence[Candidate], repeat: float, rng: np.random.Generator) -> list[list[Showing]]:
    """Divide what is shown into three parts, each sorted by code; readers see the parts in turn, each one shuffled.

    Pictures that are shown twice are in the first part, their repeats in the last: at least the second part lies
    between them. Real and synthetic ones are repeated alike.
    """
    each = round(repeat * len(candidates) / 2)
    mixed = [candidates[index] for index in rng.permutation(len(candidates))]
    real = [one for one in mixed if one.kind == REAL]
    twice = real[:each] + [one for one in mixed if one.kind != REAL][:each]
    once = [one for one in mixed if not any(one is other for other in twice)]
    codes = _codes(len(mixed) + len(twice), rng)
    first = [Showing(next(codes), one) for one in twice]
    last = [Showing(next(codes), one.candidate, one.code) for one in first]
    others = [Showing(next(codes), one) for one in once]
    third = max((len(others) + 2 * len(twice)) // 3 - len(twice), 0)
    parts = [first + others[:third], others[2 * third :], last + others[third : 2 * third]]
    return [sorted(part, key=lambda one: one.code) for part in parts]


def _codes(count: int, rng: np.random.Generator) -> Any:
    found: dict[str, None] = {}
    while len(found) < count:
        found[_code(rng, 5)] = None
    return iter(found)


def _code(rng: np.random.Generator, length: int) -> str:
    return "".join(LETTERS[one] for one in rng.integers(len(LETTERS), size=length))


def _generator(candidates: Sequence[Candidate], seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}".encode())
    for one in candidates:
        digest.update(f"{file_digest(one.image)} {file_digest(one.mask)} ".encode())
    return np.random.default_rng(int(digest.hexdigest(), 16))


def _look(candidates: Sequence[Candidate], close: bool) -> tuple[dict[int, tuple[Cut, ...]], Format]:
    """Open every image once; return its squares by the candidate's identity, and what all pictures have in common."""
    shown, colour = {}, False
    for one in candidates:
        try:
            scan = read_scan(one.image)
            shown[id(one)] = cut_squares(scan, read_mask(one.mask, one.value), close=close)
        except ValueError as error:
            raise ValueError(f"{one.kind} image {one.image.name}: {error}") from error
        colour = colour or scan.array.shape[3] == 3
    if len({len(cuts) for cuts in shown.values()}) > 1:
        raise ValueError("pictures and volumes cannot be in one study, they would look different; make two studies")
    return shown, common_format([cut for cuts in shown.values() for cut in cuts], colour=colour)


def _write_pictures(
    folder: Path, parts: Sequence[Sequence[Showing]], shown: dict[int, tuple[Cut, ...]], form: Format
) -> dict[str, float]:
    """Write the pictures and return how well the background alone tells the kinds apart."""
    measured: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for one in sorted((one for part in parts for one in part), key=lambda one: one.code):
        cuts = shown[id(one.candidate)]
        pixels = draw(read_scan(one.candidate.image), cuts, form)
        (folder / f"{one.code}.png").write_bytes(encode(pixels))
        if one.repeats is None:
            measured[one.candidate.kind == REAL].append(measure(pixels, cuts))
    return compare(np.array(measured[True]), np.array(measured[False]))


def _page(study: str, parts: Sequence[Sequence[Showing]], shown: dict[int, tuple[Cut, ...]], form: Format) -> str:
    listed = [
        [{"code": one.code, "rings": [cut.ring for cut in shown[id(one.candidate)]]} for one in part] for part in parts
    ]
    data = json.dumps({"study": study, "side": form.side, "parts": listed}, separators=(",", ":"))
    template = files("monai_diffaug.evaluation.reader_study").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace(MARKER, data.replace("<", "\\u003c"))


def _key(selection: Selection, parts: Sequence[Sequence[Showing]], study: str, made: dict[str, Any]) -> dict[str, Any]:
    real, synthetic = (sizes_of(side) for side in zip(*selection.pairs, strict=True))
    number = {id(one): index for index, pair in enumerate(selection.pairs) for one in pair}
    matching = {
        "rule": f"root of the lesion's area over the frame's side; least sum of log ratios, {CALIPER} at most",
        "pairs": len(selection.pairs),
        "median_size_real": round(float(np.median(real)), 4),
        "median_size_synthetic": round(float(np.median(synthetic)), 4),
        "auc_of_size_alone": round(auc(real, synthetic), 4),
    }
    pictures = {one.code: _entry(one, number[id(one.candidate)]) for part in parts for one in part}
    return {"format": FORMAT, "study": study, **made, "matching": matching, "notes": [*selection.notes],
            "pictures": dict(sorted(pictures.items()))}  # fmt: skip


def _entry(one: Showing, pair: int) -> dict[str, Any]:
    what = one.candidate
    return {
        "kind": what.kind,
        "pair": pair,
        "repeats": one.repeats,
        "size": round(what.size, 5),
        **what.about,
        "image_sha256": file_digest(what.image),
        "mask_sha256": file_digest(what.mask),
    }
