"""The end of a run in words: how much was accepted, why the rest was not, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_diffaug.synthesis.provenance import NO_ROOM


@dataclass(frozen=True)
class RunSummary:
    """What came of a run.

    Args:
        planned: number of planned samples.
        accepted: number of accepted ones.
        bad: (source, sentence) of inputs that could not be used.
        text: the diagnosis for a person.
    """

    planned: int
    accepted: int
    bad: tuple[tuple[str, str], ...]
    text: str

    @property
    def exit_code(self) -> int:
        """0 = fine; 1 = some inputs were bad; 3 = fewer than 90 % of the planned samples were accepted."""
        if self.bad:
            return 1
        return 3 if self.accepted < 0.9 * self.planned else 0


JUDGED = 20  # samples of this run from which on its rate is compared


def summarise(
    lines: Sequence[Mapping[str, Any]],
    bad: Sequence[tuple[str, str]],
    *,
    notes: Sequence[tuple[str, str]] = (),
    rate: float | None = None,
    recorded_rate: float | None = None,
) -> RunSummary:
    """Return the summary of a finished run.

    Args:
        lines: the manifest.
        bad: inputs that could not be used.
        notes: (source, sentence) of what was done to usable inputs; equal ones are counted.
        rate: accepted samples a second of this run; None or 0 when too few were made in it to tell.
        recorded_rate: the same as the bundle's authors measured it.
    """
    accepted = sum(line["accepted"] for line in lines)
    attempts = [attempt for line in lines for attempt in line["attempts"]]
    refused = [attempt for attempt in attempts if not attempt["accepted"]]
    nowhere = sum(NO_ROOM in attempt["reasons"] for attempt in refused)
    share = _share(refused, attempts)
    text = [f"{accepted} of {len(lines)} samples accepted, in {len(attempts)} attempts ({share} refused)"]
    if not lines:
        text = []
    if rate:
        text.append(f"{rate:.2f} accepted samples a second, files written")
    text += _table("refused by reason", _reasons(refused))
    if len(refused) > 0.4 * len(attempts):
        text += _table("refused by prompt", _refusals_by(lines, "prompt"))
        text += _table("refused by size", _refusals_by(lines, "size"))
        remedy = (
            ", try other prompts or larger sizes, and check that the images are of the kind this bundle was trained on"
        )
        judged = nowhere < len(refused)  # the gate saw some of them
        text.append(f"more than 40 % refused: {share} of the attempts; look at gallery.html{remedy if judged else ''}")
    if nowhere:
        text.append(
            f"no room in {nowhere} samples: choose smaller sizes (the bundle's masks, or a size word in --prompts) or "
            "wider --regions"
        )
    if rate and recorded_rate and rate < recorded_rate / 4:
        text.append(
            f"far slower than the bundle's recorded rate: {rate:.2f} accepted samples a second against "
            f"{recorded_rate:g}; try a larger --batch-size, --device cuda, or a machine with nothing else running"
        )
    text += _counted(notes)
    text += [f"bad input: {one if source in one else f'{source}: {one}'}" for source, one in bad]
    return RunSummary(len(lines), accepted, tuple(bad), "\n".join(text))


def _counted(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Return one line for each kind of note, since a thousand files may have the same."""
    first = {note: source for source, note in reversed(notes)}
    counts = Counter(note for _, note in notes)
    return [f"note: {note}: {first[note]}" + (f" and {n - 1} more" if n > 1 else "") for note, n in counts.items()]


def _share(part: Sequence[Any], whole: Sequence[Any]) -> str:
    return f"{100 * len(part) / max(len(whole), 1):.0f} %"


def _reasons(refused: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(reason, str(count)) for reason, count in Counter(r for a in refused for r in a["reasons"]).most_common(8)]


def _refusals_by(lines: Sequence[Mapping[str, Any]], group: str) -> list[tuple[str, str]]:
    """Return refused over all attempts, by prompt or by third of the extents."""
    lesions = [lesion for line in lines for lesion in line["abnormalities"]]
    extents = sorted(lesion["extent"] for lesion in lesions)
    cuts = [extents[len(extents) * third // 3] for third in (1, 2)] if extents else [0, 0]
    tried: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for lesion in lesions:
        third = sum(lesion["extent"] >= cut for cut in cuts)
        size = (f"small (extent under {cuts[0]:g})", f"medium (from {cuts[0]:g})", f"large (from {cuts[1]:g})")[third]
        key = lesion["prompt"] if group == "prompt" else size
        tried[key] += len(lesion["attempts"])
        failed[key] += sum(not attempt["accepted"] for attempt in lesion["attempts"])
    if nowhere := sum(not line["abnormalities"] for line in lines):
        tried[NO_ROOM] = failed[NO_ROOM] = nowhere
    return [(key, f"{failed[key]} of {count}") for key, count in tried.most_common(8)]


def _table(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{title}:", *(f"  {count:>10}  {what}" for what, count in rows)] if rows else []
