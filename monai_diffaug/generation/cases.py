"""Which images to draw from, with their labels and regions: from a folder or from a datalist.

`find_cases` only looks at names; what the files hold is seen when they are read.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_diffaug.generation.datalists import read_datalist
from monai_diffaug.generation.files import SUFFIXES, split_suffix
from monai_diffaug.generation.folders import REMEDIES, Partners, stem_below, unsupported, walk

LONGEST = 200  # bytes of an id: with what is added to it, a file name must stay below 255


@dataclass(frozen=True)
class Case:
    """One image to draw from.

    Args:
        id: its path below the image root without suffix, "/" as "__".
        image: the file.
        source: its path below the image root, with "/".
        label, regions: the files that go with it, or None.
    """

    id: str
    image: Path
    source: str
    label: Path | None = None
    regions: Path | None = None


@dataclass(frozen=True)
class CaseList:
    """What was found.

    Args:
        root: the image root, which sources are relative to.
        cases: sorted by id.
        bad: (source, sentence) of what cannot be used.
        passthrough: the other splits of a datalist, untouched.
        searched: whether the root was searched with its subfolders: then nothing may be written below it.
    """

    root: Path
    cases: tuple[Case, ...]
    bad: tuple[tuple[str, str], ...]
    passthrough: dict[str, Any]
    searched: bool = False

    @property
    def spatial_dims(self) -> int:
        """3 where the first case is a volume's file, else 2."""
        return 3 if self.cases and split_suffix(self.cases[0].image.name)[1] in (".nii", ".nii.gz") else 2


@dataclass(frozen=True)
class _Candidate:
    """An image before its partners are known; ``wrong`` says why it cannot be used."""

    image: Path
    label: Path | None = None
    regions: Path | None = None
    wrong: str = ""


@dataclass(frozen=True)
class _Found:
    """What a folder or a datalist names; ``bad`` and ``passthrough`` as in ``CaseList``."""

    root: Path
    candidates: list[_Candidate]
    bad: list[tuple[str, str]] = field(default_factory=list)
    passthrough: dict[str, Any] = field(default_factory=dict)


def find_cases(
    images: Path, labels: Path | None = None, regions: Path | None = None, *, split: str = "training"
) -> CaseList:
    """Find images with their labels and regions.

    Args:
        images: a folder, searched with its subfolders, or a datalist in JSON.
        labels: folder of labels, paired by path below it without suffix; a datalist's own labels come first.
        regions: folder of allowed regions, paired alike.
        split: the datalist's list to read.

    Raises:
        ValueError: when a path does not exist, nothing is found, or two images would get the same id.
    """
    given = {kind: folder for kind, folder in (("label", labels), ("regions", regions)) if folder is not None}
    partners = {kind: Partners(kind, folder) for kind, folder in given.items()}
    found = _found(images, tuple(given.values()), split)
    cases, bad = [], list(found.bad)
    for candidate in found.candidates:
        try:
            cases.append(_case(candidate, found.root, partners))
        except ValueError as error:
            bad.append((_printable(_source(candidate, found.root)), _printable(str(error))))
    if not cases and not bad:
        raise ValueError(f"{images} holds no image ({', '.join(SUFFIXES)}); check the path")
    return CaseList(found.root, _sorted_by_id(cases), tuple(sorted(bad)), found.passthrough, images.is_dir())


def _found(images: Path, others: Sequence[Path], split: str) -> _Found:
    if images.is_dir():
        return _in_folder(images, others)
    if images.is_file() and images.suffix.lower() == ".json":
        return _in_datalist(images, split)
    what = "is neither a folder nor a .json datalist" if images.exists() else "does not exist"
    raise ValueError(f"{images} {what}; give a folder of images or a MONAI datalist")


def _in_folder(root: Path, others: Sequence[Path]) -> _Found:
    """Return the images of a folder, without those in the folders of labels and regions."""
    if any(one.resolve() == root.resolve() for one in others):
        raise ValueError(
            f"{root} is given both for images and for labels or regions; keep them in folders of their own"
        )
    known = (*SUFFIXES, *REMEDIES)
    return _Found(root, [_Candidate(path) for path in walk(root, others) if split_suffix(path.name)[1] in known])


def _in_datalist(path: Path, split: str) -> _Found:
    """Return the images that a datalist names; the root is its folder, or the images' own if one lies elsewhere."""
    datalist = read_datalist(path, split)
    folder = Path(os.path.abspath(path.parent))
    named = [
        _Candidate(
            _below(folder, one.image),
            _below(folder, one.label) if one.label else None,
            _below(folder, one.regions) if one.regions else None,
            one.wrong,
        )
        for one in datalist.entries
        if one.image
    ]
    bad = [(f"{path.name}, {one.name}", one.wrong) for one in datalist.entries if not one.image]
    inside = all(one.image.is_relative_to(folder) for one in named)
    root = folder if inside else Path(os.path.commonpath([one.image.parent for one in named]))
    return _Found(root, named, bad, datalist.passthrough)


def _below(folder: Path, written: str) -> Path:
    """Return a path of a datalist in full, without "..", which `relative_to` does not understand."""
    return Path(os.path.abspath(folder / written))


def _source(candidate: _Candidate, root: Path) -> str:
    return candidate.image.relative_to(root).as_posix()


def _case(candidate: _Candidate, root: Path, partners: dict[str, Partners]) -> Case:
    """Return the case of a candidate.

    Raises:
        ValueError: in one sentence, which does not name the image.
    """
    stem = stem_below(candidate.image, root)
    id_ = _checked_id(stem.replace("/", "__"))
    if wrong := candidate.wrong or unsupported(candidate.image):
        raise ValueError(wrong)
    pair: list[Path | None] = []
    for kind, given in (("label", candidate.label), ("regions", candidate.regions)):
        pair.append(given or (partners[kind](stem) if kind in partners else None))
    for path in (candidate.image, *pair):
        if path is not None and not os.path.lexists(path):
            raise ValueError(f"{os.path.relpath(path, root)} does not exist; check the path in the datalist")
    return Case(id_, candidate.image, _source(candidate, root), *pair)


def _checked_id(id_: str) -> str:
    """Return an id that can be part of a file name and of a JSON text, or raise ValueError."""
    if any(unicodedata.category(one) in ("Cc", "Cs") for one in id_):
        raise ValueError("its name holds control characters or is not UTF-8; rename it")
    if "\\" in id_:
        raise ValueError("its name holds a backslash, which some systems take for a folder; rename it")
    if len(id_.encode()) > LONGEST:
        raise ValueError(f"its path below the image root is longer than {LONGEST} bytes; shorten it")
    return id_


def _sorted_by_id(cases: list[Case]) -> tuple[Case, ...]:
    ordered = sorted(cases, key=lambda case: (case.id, case.source))
    for one, other in zip(ordered, ordered[1:], strict=False):
        if one.id == other.id:
            raise ValueError(
                f"{one.source} and {other.source} would both have the id {one.id}; rename or leave out one of them"
            )
    return tuple(ordered)


def _printable(text: str) -> str:
    """Return text with control and undecodable characters written out, for messages."""
    return "".join(one if unicodedata.category(one) not in ("Cc", "Cs") else ascii(one)[1:-1] for one in text)
