"""The real cases that a synthetic set is used with, by split; only names are looked at here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from monai_diffaug.generation.cases import Case, CaseList, find_cases
from monai_diffaug.generation.files import BadInput
from monai_diffaug.generation.handover.groups import Grouping, each_alone
from monai_diffaug.generation.pairs import find_labelled
from monai_diffaug.generation.splits import NAMES

SPLITS = {"training": NAMES["train"], "validation": NAMES["val"], "test": NAMES["test"]}
"""Each split of a MONAI datalist, and what folders and lists of it are called."""


@dataclass(frozen=True)
class RealCase:
    """One real image.

    Args:
        id: unique over all splits.
        split: ``training``, ``validation`` or ``test``.
        image, label: its files; only a test case may have no label.
        name: its id within its split.
        group: its patient, None where unknown.
    """

    id: str
    split: str
    image: Path
    label: Path | None
    name: str
    group: str | None = None


def find_real(data: Path, grouping: Grouping = each_alone) -> tuple[RealCase, ...]:
    """Find the real cases, sorted by split and id.

    Args:
        data: a folder with ``images`` and ``labels`` (or ``masks``), or with one such folder for each split, or a MONAI
            datalist in JSON.
        grouping: gives each case's patient.

    Raises:
        ValueError: when nothing is found, a file cannot be used, or a grouping is given that leaves a case out.
    """
    named = [(split, case) for split, found in _splits(data) for case in _checked(split, found)]
    twice = max(Counter(case.id for _, case in named).values()) > 1
    cases = [
        RealCase(f"{split}__{one.id}" if twice else one.id, split, one.image, one.label, one.id, grouping(one.id))
        for split, one in named
    ]
    lone = [case.name for case in cases if case.group is None]
    if grouping is not each_alone and lone:
        raise ValueError(f"{len(lone)} real cases are in no group, the first is {lone[0]}; add them to --groups")
    return tuple(cases)


def _splits(data: Path) -> Iterable[tuple[str, CaseList]]:
    if data.is_file():
        training = find_cases(data)
        yield "training", training
        for split in ("validation", "test"):
            for key in SPLITS[split]:
                if training.passthrough.get(key):
                    yield split, find_cases(data, split=key)
        return
    folders = {split: [data / name for name in names if (data / name).is_dir()] for split, names in SPLITS.items()}
    if not any(folders.values()):
        folders = {"training": [data]}
    for split, there in folders.items():
        for folder in there:
            yield split, find_labelled(folder)


def _checked(split: str, found: CaseList) -> tuple[Case, ...]:
    if found.bad:
        source, sentence = found.bad[0]
        raise BadInput(f"{len(found.bad)} real cases cannot be used, the first is {source}: {sentence}")
    unlabelled = [case.image for case in found.cases if case.label is None]
    if unlabelled and split != "test":
        raise BadInput(f"{unlabelled[0]} has no label; each real case needs one, empty where the image is normal")
    return found.cases
