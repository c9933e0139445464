"""Find one sample's pictures on disk and draw them as the rows of tiles of its card."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.generation.scans import READERS, Scan, read_scan
from monai_diffaug.generation.slices import View


@dataclass(frozen=True)
class Pictures:
    """Hold what was found on disk for one sample, masks as booleans (X, Y, Z), and what a person must know about it.

    `planned` says that `mask` is only the planned boxes.
    """

    before: Scan | None
    after: Scan | None
    mask: np.ndarray | None
    prediction: np.ndarray | None
    planned: bool
    notes: tuple[str, ...]


def _find(output: Path, line: Mapping[str, Any], kind: str) -> Path | None:
    """Find a sample's file of one kind: where the line says, else among the predictions or the refused ones."""
    named = line.get({"images": "image", "masks": "mask", "predictions": "prediction"}[kind])
    folder = output / kind if line["accepted"] else output / "rejected" / kind
    names = [output / named] if isinstance(named, str) else [folder / f"{line['id']}{suffix}" for suffix in READERS]
    return next((path for path in names if path.is_file()), None)


def _read(path: Path | None, like: Scan | None, notes: list[str]) -> Scan | None:
    """Read a file if it is there; what cannot be read or has another shape than `like` becomes a note."""
    if path is None:
        return None
    try:
        scan = read_scan(path)
    except (ValueError, FileNotFoundError) as error:
        notes.append(f"{error}.")
        return None
    if like is not None and scan.array.shape[:3] != like.array.shape[:3]:
        notes.append(f"{path.name} has another size than the other pictures of this sample.")
        return None
    return scan


def collect_pictures(line: Mapping[str, Any], output: Path, root: Path | None) -> Pictures:
    """Read the pictures of one line of the manifest; what is missing or damaged becomes a note, never an error.

    Args:
        line: one line of the manifest.
        output: the folder that holds the manifest.
        root: the folder that holds the sources, or None.
    """
    notes: list[str] = []
    after = _read(_find(output, line, "images"), None, notes)
    source = root / str(line.get("source")) if root is not None else None
    before = _read(source if source is not None and source.is_file() else None, after, notes)
    scan = after or before
    if scan is None:
        notes.append("No picture of this sample was found.")
    mask, prediction = (_read(_find(output, line, kind), scan, notes) for kind in ("masks", "predictions"))
    boxes = [lesion["bbox"] for lesion in line.get("abnormalities") or [] if lesion.get("bbox")]
    if len(boxes) > 1:
        notes.append(f"Of {len(boxes)} planned abnormalities the close-up shows the largest that was painted.")
    planned = scan.boxes(boxes) if scan is not None and mask is None and boxes else None
    asked = planned if mask is None else _covered(mask)
    found = None if prediction is None else _covered(prediction)
    return Pictures(before, after, asked, found, planned is not None, tuple(notes))


def _covered(scan: Scan) -> np.ndarray:
    return (scan.array != 0).max(axis=-1)


def draw_rows(number: int, views: Sequence[View], pictures: Pictures, verdict: str) -> str:
    """Draw one row of four tiles per view; style sheets show either the close-ups or the whole frames."""
    close = any(view.close for view in views)
    rows = []
    for index, view in enumerate(views):
        kind = "close" if view.close else "frame" if close else "close frame"
        tiles = "".join(_tiles(f"{number}.{index}", view, pictures, verdict))
        plane = f'<span class="plane">{view.plane.name}</span>' if view.plane.name else ""
        rows.append(f'<div class="row {kind}">{plane}{tiles}</div>')
    return f'<div class="pictures">{"".join(rows)}</div>'


def _tiles(key: str, view: View, pictures: Pictures, verdict: str) -> Iterator[str]:
    """Draw before, mask, after, prediction; a picture is held once and used by every tile that shows it."""
    where = f"{view.plane.name} {'close-up' if view.close else 'whole frame'}".strip()
    before, after = f"b{key}", f"a{key}"
    mask = f'<path class="mask" d="{view.mask}"/>' if view.mask else ""
    found = f'<path class="found" d="{view.prediction}"/>' if view.prediction else ""
    asked = "planned place" if pictures.planned else "asked for"
    if view.before is not None:
        yield _tile(view, _image(before, view, view.before), "before", f"before, {where}")
        yield _tile(view, f'<use href="#{before}"/>{mask}', asked, f"{asked}, outlined over before, {where}")
    else:
        yield '<div class="none">No source picture: it is not below the image root any more, or it does not fit.</div>'
    if view.after is not None:
        result = "after" if verdict == "accepted" else "after, refused"
        peek = f'<use class="peek" href="#{before}"/>' if view.before is not None else ""
        yield _tile(view, _image(after, view, view.after) + peek, result, f"{result}, {where}")
        outlined = "found" if pictures.prediction is not None else "outlined"
        yield _tile(view, f'<use href="#{after}"/>{mask}{found}', outlined, f"{outlined}, over after, {where}")
    elif verdict == "rejected":
        yield '<div class="none">The source was left as it is. Refused attempts are kept with --audit only.</div>'
    else:
        yield '<div class="none">The picture of this sample is missing.</div>'


def _image(key: str, view: View, data: bytes) -> str:
    uri = f"data:image/webp;base64,{base64.b64encode(data).decode('ascii')}"
    return f'<image id="{key}" width="{view.size[0]}" height="{view.size[1]}" href="{uri}"/>'


def _tile(view: View, content: str, caption: str, alt: str) -> str:
    left = f' data-left="{view.plane.left}"' if view.plane.left else ""
    return (
        f'<figure{left}><svg viewBox="0 0 {view.size[0]} {view.size[1]}" role="img" aria-label="{alt}">{content}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def draw_locators(number: int, views: Sequence[View]) -> str:
    """Draw each whole frame once more, small, with the close-up's window; pointing at it shows the source."""
    drawn = []
    for index, view in enumerate(views):
        if view.close or view.window is None:
            continue
        x, y, width, height = view.window
        keys = [f"{letter}{number}.{index}" for letter, data in (("a", view.after), ("b", view.before)) if data]
        uses = "".join(f'<use{" class=peek" * (place > 0)} href="#{key}"/>' for place, key in enumerate(keys))
        drawn.append(
            f'<svg viewBox="0 0 {view.size[0]} {view.size[1]}" role="img" aria-label="place of the close-up">{uses}'
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/></svg>'
        )
    return f'<div class="where">{"".join(drawn)}</div>' if drawn else ""
