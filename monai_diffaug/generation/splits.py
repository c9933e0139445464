"""Divide cases into splits by their names alone: the same everywhere, and no patient in two of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

SPLITS = ("train", "val", "test")
NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
"""Each split, and what folders and datalists call it."""
PATIENT = r"(sub-[A-Za-z0-9]+|(?i:patient|pat|case|subject)[-_]?\d+)"
"""How public data sets mostly name a patient."""


def patient_of(case_id: str, pattern: str | None = None) -> str:
    """Return the patient that a case's name tells of, or the name itself.

    Args:
        case_id: path below the image root, "/" as "__".
        pattern: regular expression; its first group, or all that it finds, is the patient.

    Example:
        >>> patient_of("sub-07__ses-1__t1"), patient_of("s03_017", r"^(s\\d+)_"), patient_of("frame12")
        ('sub-07', 's03', 'frame12')
    """
    found = re.search(pattern or PATIENT, case_id)
    if found is None:
        return case_id
    return found.group(1) if found.re.groups else found.group(0)


def divide(names: Sequence[str], *, patient: str | None = None, share: float = 0.1) -> dict[str, frozenset[str]]:
    """Divide cases into ``train``, ``val`` and ``test``.

    Patients are put in the order of their name's sha256. The first fill ``test``, the next ``val``, each up to
    ``share`` of the cases; at least one case each where there are ten or more, one for ``val`` where there are fewer.

    Args:
        names: case ids.
        patient: as for ``patient_of``.
        share: of the cases for each of ``val`` and ``test``.

    Example:
        >>> {name: len(part) for name, part in divide([f"case{n}" for n in range(20)]).items()}
        {'train': 16, 'val': 2, 'test': 2}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(patient_of(name, patient), []).append(name)
    waiting = sorted(groups, key=lambda one: hashlib.sha256(one.encode()).hexdigest())
    least = max(1, round(share * len(names)))
    wanted = {"test": least if len(names) >= 10 else 0, "val": least if len(waiting) > 1 else 0}
    parts: dict[str, frozenset[str]] = {}
    for split, count in wanted.items():
        taken: list[str] = []
        while len(taken) < count and len(waiting) > 1:
            taken += groups[waiting.pop(0)]
        parts[split] = frozenset(taken)
    parts["train"] = frozenset(name for one in waiting for name in groups[one])
    return {split: parts[split] for split in SPLITS}
