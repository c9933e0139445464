"""Real and synthetic cases together, and which synthetic one may train while a real one is held out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_diffaug.generation.files import BadInput
from monai_diffaug.generation.handover.generated import GeneratedSet
from monai_diffaug.generation.handover.groups import Grouping, each_alone
from monai_diffaug.generation.handover.real import RealCase
from monai_diffaug.synthesis.provenance import file_digest


@dataclass(frozen=True)
class SyntheticCase:
    """One accepted sample.

    Args:
        id: of the sample.
        image, label, mask: its files.
        line: its manifest line.
        painted_into: ids of the real cases whose image it shows; empty where its source is none of them.
        group: its source's patient, None where unknown.
    """

    id: str
    image: Path
    label: Path
    mask: Path
    line: Mapping[str, Any]
    painted_into: frozenset[str] = frozenset()
    group: str | None = None


@dataclass(frozen=True)
class CaseSet:
    """What is handed over together."""

    generated: GeneratedSet
    real: tuple[RealCase, ...]
    synthetic: tuple[SyntheticCase, ...]

    def of(self, *splits: str) -> list[RealCase]:
        """Return the real cases of some splits."""
        return [case for case in self.real if case.split in splits]

    def beside(self, held: Iterable[RealCase]) -> list[SyntheticCase]:
        """Return what may train while some real cases are held out: nothing that shows one of them or its patient."""
        held = list(held)
        ids = {case.id for case in held}
        groups = {case.group for case in held} - {None}
        return [one for one in self.synthetic if not one.painted_into & ids and one.group not in groups]


def gather(generated: GeneratedSet, real: Sequence[RealCase] = (), grouping: Grouping = each_alone) -> CaseSet:
    """Put a generated set and real cases together.

    A sample shows a real case where its source is that file, or one with the same bytes; failing both, one of the same
    name, which may be the same image in another format.

    Raises:
        ValueError: when no sample was accepted, or one has the id of a real case.
    """
    if not generated.accepted:
        raise ValueError(f"{generated.folder} holds no accepted sample, so there is nothing to hand over")
    shown = _Shown(real)
    synthetic = []
    for line in generated.accepted:
        if any(case.id == line["id"] for case in real):
            raise BadInput(f"a real and a synthetic case are both called {line['id']}; rename the real one")
        image, label, mask = (generated.folder / line[kind] for kind in ("image", "label", "mask"))
        source = line["id"].rpartition("__k")[0]
        painted = shown(generated.source(line), line["source_sha256"], source)
        synthetic.append(SyntheticCase(line["id"], image, label, mask, line, painted, grouping(source)))
    return CaseSet(generated, tuple(real), tuple(synthetic))


def left_out(cases: CaseSet, used: Sequence[SyntheticCase]) -> str:
    """Return what is to be said of samples that are not used."""
    count = len(cases.synthetic) - len(used)
    return f"\nleft out: {count} synthetic cases that show a case held out, or its patient" if count else ""


class _Shown:
    """Find the real cases that a source is."""

    def __init__(self, real: Sequence[RealCase]) -> None:
        self.files: defaultdict[str | Path, set[str]] = defaultdict(set)
        self.names: defaultdict[str, set[str]] = defaultdict(set)
        for case in real:
            self.files[case.image.resolve()].add(case.id)
            self.files[file_digest(case.image)].add(case.id)
            self.names[case.name].add(case.id)

    def __call__(self, path: Path, digest: str, name: str) -> frozenset[str]:
        same = self.files.get(path, set()) | self.files.get(digest, set())
        return frozenset(same or self.names.get(name, set()))
