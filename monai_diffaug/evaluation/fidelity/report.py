"""Write what was measured: ``fidelity.json``, ``fidelity.md``, and two sheets of pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.evaluation.fidelity.crops import turns
from monai_diffaug.evaluation.fidelity.measures import Fidelity, Lesions
from monai_diffaug.evaluation.fidelity.pictures import enlarged, sheet, shown
from monai_diffaug.evaluation.fidelity.resampling import Figure
from monai_diffaug.evaluation.fidelity.windows import LesionView
from monai_diffaug.generation.files import atomic_write

NEAREST, BESIDE = 8, 24
"""Pairs of each kind on ``nearest.png``; lesions of each kind on ``windows.png``."""
_SHIFTS = {
    "planned_against_training": "planned against training",
    "accepted_against_planned": "accepted against planned",
    "accepted_against_training": "accepted against training",
    "held_out_against_training": "held out against training (yardstick)",
}


def write_report(output: Path, found: Fidelity, planned: tuple[LesionView, ...], settings: Mapping[str, Any]) -> None:
    """Write the report into a new folder.

    Args:
        output: the folder.
        found: what was measured.
        planned: all lesions of the run.
        settings: what was compared by what: paths, digests, versions, network.
    """
    output.mkdir(parents=True, exist_ok=True)
    body = {"settings": settings, "figures": plain(found.figures), "samples": list(_samples(found, planned))}
    atomic_write(output / "fidelity.json", json.dumps(body, indent=1, allow_nan=False).encode())
    atomic_write(output / "fidelity.md", "\n".join(page(found, settings)).encode())
    for name, picture in (("nearest.png", nearest_sheet(found)), ("windows.png", windows_sheet(found))):
        stream = io.BytesIO()
        picture.save(stream, "PNG")
        atomic_write(output / name, stream.getvalue())


def plain(value: Any) -> Any:
    """Return figures as JSON: what is not finite is null."""
    if isinstance(value, Figure):
        return value.to_json()
    if is_dataclass(value):
        return {one.name: plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _samples(found: Fidelity, planned: tuple[LesionView, ...]) -> Iterator[dict[str, Any]]:
    """Yield the raw values of every lesion."""
    near = {}
    for name, lesions in (("synthetic", found.synthetic), ("held_out", found.held_out)):
        for number, view in enumerate(lesions.views):
            near[name, view.name] = {
                kind: {
                    "distance": round(float(one.distances[number]), 6),
                    "lesion": found.training.views[int(one.which[number])].name,
                }
                for kind, one in found.neighbours[name].items()
            }
    sets = {"synthetic": planned, "held_out": found.held_out.views, "training": found.training.views}
    for name, views in sets.items():
        for view in views:
            facts = {key: float(f"{one:.6g}") if np.isfinite(one) else None for key, one in view.facts.items()}
            head = {"set": name, "name": view.name, "case": view.case, "status": view.status, "pixels": view.pixels}
            yield {**head, **facts, "words": dict(view.words), "nearest": near.get((name, view.name))}


def page(found: Fidelity, settings: Mapping[str, Any]) -> list[str]:
    """Return the lines of ``fidelity.md``."""
    sizes = found.figures["sizes"]
    counts = ", ".join(
        f"{one['lesions']} {name.replace('_', '-')} (in effect {one['effective']:.0f} at the synthetic sizes)"
        for name, one in sizes.items()
    )
    return [
        f"# Fidelity of {settings['run']['bundle']}",
        "",
        f"Lesions: {counts}.",
        f"Features: {settings['feature_net']['name']}.",
        "In brackets 95 % intervals over images. The yardstick is what held-out real lesions get.",
        "",
        *_table(("measure", "synthetic", "yardstick", "alike is"), _rows(found)),
        "",
        "## What the gate does",
        "",
        f"Planned lesions: {', '.join(f'{n} {name}' for name, n in found.figures['gate']['counts'].items())}.",
        "Wasserstein distances are in standard deviations of the second set. Near 0 the intervals of both lie",
        "too high: the yardstick tells what is nothing. Looks are of what was painted and decoded.",
        "",
        *_table(("comparison", "fact", "medians", "KS", "Wasserstein"), _shifts(found.figures["gate"])),
        "",
        *_table(("lesions", "planned", "painted", "accepted of planned", "accepted of painted"), _accepted(found)),
        "",
        *_table(("word", "planned", "painted", "accepted", "training"), _words(found.figures["gate"]["words"])),
        "",
        "`nearest.png`: the nearest pairs. `windows.png`: synthetic lesions above real ones of like sizes.",
        "",
    ]


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows)]


def _rows(found: Fidelity) -> Iterator[tuple[str, ...]]:
    figures = found.figures
    fake, real = figures["distance"]["synthetic"], figures["distance"]["held_out"]
    yield "KID, all lesions", fake.kid.text(), real.kid.text(), "the yardstick"
    subsets = (f"{one.mean:.3f} ± {one.deviation:.3f}" for one in (fake, real))
    yield (f"KID, mean ± deviation over subsets of {fake.size}", *subsets, "the yardstick")
    yield (
        f"Fréchet distance of {fake.size} each (biased: compare across, not with other sizes)",
        f"{fake.frechet:.1f}",
        f"{real.frechet:.1f}",
        "the yardstick",
    )
    alike = figures["diversity"]
    yardstick = f"{alike['held_out'].text()}; training {alike['training'].text()}"
    yield "MS-SSIM of pairs (lower is more diverse)", alike["synthetic"].text(), yardstick, "the yardstick"
    for edge in ("rim", "sharpness"):
        both = (figures["edges"][name][edge].text(2) for name in ("synthetic", "held_out"))
        yield (f"{edge}, over training lesions", *both, "1")
    for kind, one in figures["privacy"].items():
        yield f"nearest training lesion by {kind}: median distance over held-out", one.ratio.text(2), "1", "1"
        yield f"nearest by {kind}: AUC (1 = copies)", one.auc.text(2), "0.50", "0.5 or less"
        yield f"nearest by {kind}: share below the held-out 1st percentile", one.below.text(), "0.01", "0.01 or less"


def _shifts(gate: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, name in _SHIFTS.items():
        for fact, one in gate[key].items():
            medians = f"{one['median']:.3f}, {one['other_median']:.3f}"
            yield name, fact, medians, one["ks"].text(2), one["wasserstein"].text(2)


def _accepted(found: Fidelity) -> Iterator[tuple[str, ...]]:
    for one in found.figures["gate"]["acceptance"]:
        shares = one["of_planned"].text(2), one["of_painted"].text(2)
        yield (one["bin"], str(one["planned"]), str(one["painted"]), *shares)


def _words(words: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterator[tuple[str, ...]]:
    sets = ("planned", "painted", "accepted", "training")
    for kind in dict.fromkeys(kind for name in sets for kind in words[name]):
        for word in dict.fromkeys(word for name in sets for word in words[name].get(kind, {})):
            shares = (words[name].get(kind) for name in sets)
            # A word that the prompts never choose from is not one that they avoid.
            yield (f"{kind}: {word}", *("-" if one is None else f"{one.get(word, 0):.2f}" for one in shares))


def nearest_sheet(found: Fidelity) -> Any:
    """Return the nearest pairs, synthetic ones and then held-out ones: the lesion, turned, and the training lesion."""
    tiles, titles = [], []
    for name, lesions in (("synthetic", found.synthetic), ("held_out", found.held_out)):
        for kind, one in found.neighbours[name].items():
            for number in np.argsort(one.distances, kind="stable")[:NEAREST].tolist():
                other = found.training.views[int(one.which[number])]
                turned = turns(_crop(lesions, number))[int(one.turns[number])]
                tiles += [enlarged(shown(crop), 3) for crop in (turned, other.crop) if crop is not None]
                titles += [f"{name[:9]} {kind[:4]}", f"{one.distances[number]:.3f}"]
    return sheet(tiles, 8, titles)


def _crop(lesions: Lesions, number: int) -> np.ndarray:
    crop = lesions.views[number].crop
    return np.zeros((1, 1, 1), np.float32) if crop is None else crop


def windows_sheet(found: Fidelity) -> Any:
    """Return rows of synthetic lesions, each above a row of the training lesions nearest to them in size."""
    order = np.random.default_rng(0).permutation(len(found.synthetic.views))[:BESIDE].tolist()
    left = list(range(len(found.training.views)))
    real = []
    for number in order:
        sizes = found.training.pixels[left]
        real.append(left.pop(int(np.abs(sizes - found.synthetic.pixels[number]).argmin())))
        left = left or list(range(len(found.training.views)))
    tiles, titles = [], []
    for start in range(0, len(order), 8):
        for views, chosen in ((found.synthetic.views, order), (found.training.views, real)):
            part = [views[number] for number in chosen[start : start + 8]]
            tiles += [shown(view.window.astype(np.float32) / 255) for view in part if view.window is not None]
            titles += [f"{view.status}, {view.pixels:.0f} px" for view in part]
    return sheet(tiles, min(8, len(order)), titles)
