"""Draw one sample of a manifest as one card of the gallery."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import quote

from monai_diffaug.generation.gallery_pictures import collect_pictures, draw_locators, draw_rows
from monai_diffaug.generation.slices import cut_views

SIZES = ("small", "medium", "large")


def is_number(value: Any) -> TypeGuard[float]:
    """Say whether a value read from JSON is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def size_of(extent: float, cuts: tuple[float, float]) -> str:
    """Name the part of the run's extents that one extent falls into."""
    return SIZES[(extent >= cuts[0]) + (extent > cuts[1])]


def reason_kind(reason: str) -> str:
    """Reduce a reason to its kind, so that reasons that differ in their numbers alone count as one."""
    return re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "…", reason).strip()


def reasons_of(attempt: Mapping[str, Any]) -> list[str]:
    """List the kinds of reasons for which one attempt was refused, each once."""
    reasons = [] if attempt.get("accepted") else attempt.get("reasons") or []
    return list(dict.fromkeys(reason_kind(str(reason)) for reason in reasons))


def was_painted(lesion: Mapping[str, Any], line: Mapping[str, Any]) -> bool:
    """Say whether one abnormality was accepted: by its own last attempt, else by the sample's verdict."""
    attempts = lesion.get("attempts")
    return bool(attempts[-1].get("accepted") if isinstance(attempts, list) and attempts else line["accepted"])


def best_iou(line: Mapping[str, Any]) -> float | None:
    """Return the sample's recorded IoU, or that of its best attempt, or None."""
    attempts = [attempt.get("iou") for attempt in line.get("attempts") or []]
    recorded = line.get("iou")
    return max((float(iou) for iou in (attempts if recorded is None else [recorded]) if is_number(iou)), default=None)


def render_card(
    number: int,
    line: Mapping[str, Any],
    output: Path,
    root: Path | None,
    kinds: Mapping[str, int],
    cuts: Mapping[str, tuple[float, float]],
) -> str:
    """Write one sample as an HTML `article`.

    Args:
        number: place in the manifest, from 0; makes the ids in the page unique.
        line: one line of the manifest.
        output: the folder that holds the manifest.
        root: the folder that holds the sources, or None.
        kinds: number of every kind of reason in the page's filter.
        cuts: per unit, the two extents between small, medium and large.
    """
    pictures = collect_pictures(line, output, root)
    verdict = "accepted" if line["accepted"] else "rejected"
    data = {"verdict": verdict} | _sortable(line, kinds, cuts)
    attributes = "".join(f' data-{key}="{escape(value)}"' for key, value in data.items())
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in pictures.notes)
    views = list(cut_views(pictures.before, pictures.after, pictures.mask, pictures.prediction))
    return (
        f'<article class="{verdict}" aria-labelledby="h{number}" tabindex="-1"{attributes}>'
        f'<header><span class="verdict">{verdict}</span><h3 id="h{number}">{escape(line["id"])}</h3>'
        f"{_iou(line)}</header>"
        f"{draw_rows(number, views, pictures, verdict)}"
        f'<div class="about">{draw_locators(number, views)}<div>'
        f'<p class="prompt">{escape(str(line.get("prompt") or ""))}</p>{_lesions(line)}'
        f"{notes}{_origin(line)}</div></div></article>\n"
    )


def _unit(line: Mapping[str, Any]) -> str:
    return str(line.get("unit") or "pixels")


def _sortable(
    line: Mapping[str, Any], kinds: Mapping[str, int], cuts: Mapping[str, tuple[float, float]]
) -> dict[str, str]:
    """Write what the page filters and sorts by; a sample with lesions of two sizes belongs to both."""
    extents = [float(each["extent"]) for each in line.get("abnormalities") or [] if is_number(each.get("extent"))]
    sizes = {size_of(extent, cuts[_unit(line)]) for extent in extents if _unit(line) in cuts}
    refusals = {kinds[kind] for each in line.get("attempts") or [] for kind in reasons_of(each) if kind in kinds}
    iou = best_iou(line)
    return {
        "iou": "" if iou is None else f"{iou:.4f}",
        "extent": f"{max(extents):.4g}" if extents else "",
        "sizes": " ".join(sorted(sizes)),
        "reasons": " ".join(map(str, sorted(refusals))),
        "id": line["id"],
        "text": f"{line.get('prompt') or ''} {line['id']}".lower(),
    }


def _iou(line: Mapping[str, Any]) -> str:
    iou = best_iou(line)
    if iou is None:
        return '<span class="iou">IoU <b>–</b></span>'
    name = "best IoU" if line.get("iou") is None else "IoU"
    return f'<span class="iou">{name} <b>{iou:.2f}</b><i style="--share:{min(max(iou, 0), 1):.3f}"></i></span>'


def _lesions(line: Mapping[str, Any]) -> str:
    """List the abnormalities, and the attempts after them; of several abnormalities each has its own attempts."""
    lesions = line.get("abnormalities") or []
    apart = len(lesions) > 1 and all(isinstance(lesion.get("attempts"), list) for lesion in lesions)
    items = [
        f"<li>{_lesion(lesion, _unit(line), apart)}{_attempts(lesion['attempts']) if apart else ''}</li>"
        for lesion in lesions
    ]
    found = f'<ul class="lesions">{"".join(items)}</ul>' if items else ""
    return found if apart else found + _attempts(line.get("attempts") or [])


def _lesion(lesion: Mapping[str, Any], unit: str, told: bool) -> str:
    """Write class and extent; of several abnormalities each has been ``told`` its own prompt."""
    words, extent = [f"<b>{escape(str(lesion.get('class') or 'abnormality'))}</b>"], lesion.get("extent")
    if is_number(extent):
        words.append(f"{extent:.3g} {escape(unit)}")
    if told and lesion.get("prompt"):
        words.append(escape(str(lesion["prompt"])))
    return " · ".join(words)


def _attempts(attempts: list[Mapping[str, Any]]) -> str:
    if len(attempts) == 1 and attempts[0].get("accepted") and not attempts[0].get("reasons"):
        return '<p class="first">Accepted at the first attempt.</p>'
    items = []
    for attempt in attempts:
        verdict = "accepted" if attempt.get("accepted") else "refused"
        iou = f"<b>{attempt['iou']:.2f}</b> " if is_number(attempt.get("iou")) else ""
        reasons = "; ".join(map(str, attempt.get("reasons") or [])) or verdict
        early = ' <em title="refused before painting was finished">early</em>' if attempt.get("stopped_early") else ""
        items.append(f'<li class="{verdict}">{iou}{escape(reasons)}{early}</li>')
    return f'<ol class="attempts">{"".join(items)}</ol>' if items else ""


def _origin(line: Mapping[str, Any]) -> str:
    # "./" and quoting make every link a relative path, whatever scheme or host the manifest names.
    links = "".join(
        f' · <a href="./{quote(line[kind])}">{kind}</a>'
        for kind in ("image", "mask", "label", "prediction")
        if isinstance(line.get(kind), str)
    )
    return f'<p class="origin">seed {escape(str(line.get("seed")))} · {escape(str(line.get("source")))}{links}</p>'
