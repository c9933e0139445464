"""Look at every input before anything is made: the bad ones are listed, the good ones are counted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monai_diffaug.generation.cases import Case, CaseList
from monai_diffaug.generation.files import (
    BadInput,
    StoredImage,
    StoredLabel,
    quantiser,
    read_image,
    read_label,
    read_map,
)
from monai_diffaug.synthesis import AbnormalitySynthesizer, SynthesisRequest
from monai_diffaug.synthesis.labels import check_fits, label_value
from monai_diffaug.synthesis.provenance import file_digest


@dataclass(frozen=True)
class LoadedCase:
    """A case in memory: ``regions`` is bool (*spatial)."""

    case: Case
    stored: StoredImage
    label: StoredLabel | None
    regions: np.ndarray | None

    @property
    def label_map(self) -> np.ndarray | None:
        """What is there already, integers (*spatial)."""
        return None if self.label is None else self.label.array

    def request(self, seed: int, prompt: str | None, abnormality: str | None) -> SynthesisRequest:
        """Return what the synthesizer is asked for."""
        return SynthesisRequest(
            self.stored.array,
            seed,
            label=self.label_map,
            spacing=self.stored.spacing,
            regions=self.regions,
            prompt=prompt,
            abnormality=abnormality,
            quantise=quantiser(self.stored),
        )


@dataclass(frozen=True)
class CheckedCases:
    """The outcome of the look.

    Args:
        usable: cases to draw from, sorted by id.
        digests: case id -> sha256 of the source file.
        fingerprint: sha256 over ids and contents of all usable images, labels and regions.
        bad: (source, sentence) of inputs that cannot be used.
        notes: (source, sentence) of what was done to usable ones.
        binary_labels: whether some label of this set holds 0 and 255; then its empty labels are binary too.
    """

    usable: tuple[Case, ...]
    digests: dict[str, str]
    fingerprint: str
    bad: tuple[tuple[str, str], ...]
    notes: tuple[tuple[str, str], ...]
    binary_labels: bool


def load_case(case: Case, synthesizer: AbnormalitySynthesizer) -> LoadedCase:
    """Read a case's image, label and regions.

    Raises:
        BadInput: naming the file and the remedy.
    """
    stored = read_image(case.image, synthesizer.images)
    spatial = stored.array.shape[1:]
    label = None if case.label is None else read_label(case.label, spatial, stored)
    regions = None if case.regions is None else read_map(case.regions, spatial, stored)
    return LoadedCase(case, stored, label, regions)


def check_cases(
    found: CaseList,
    synthesizer: AbnormalitySynthesizer,
    *,
    skip_existing: bool = False,
    watch: Callable[[Sequence[Case]], Sequence[Case]] = lambda cases: cases,
) -> CheckedCases:
    """Read every case once and see whether an abnormality could be put into it.

    Args:
        found: the cases.
        synthesizer: whose image format and regions decide.
        skip_existing: leave out images whose label holds a lesion.
        watch: wraps the iteration, for a progress bar.
    """
    usable, digests, binary = [], {}, False
    bad, notes = list(found.bad), []
    for case in watch(found.cases):
        try:
            loaded = load_case(case, synthesizer)
            binary = binary or (loaded.label is not None and loaded.label.binary)
            if skip_existing and _has_lesion(loaded, synthesizer):
                notes.append((case.source, "has a lesion already, left out as asked"))
                continue
            _look_for_room(loaded, synthesizer)
        except ValueError as error:
            bad.append((case.source, str(error)))
            continue
        notes += [(case.source, note) for note in loaded.stored.notes]
        digests[case.id] = file_digest(case.image)
        usable.append(case)
    return CheckedCases(tuple(usable), digests, fingerprint(usable, digests), tuple(bad), tuple(notes), binary)


def fingerprint(cases: Sequence[Case], digests: Mapping[str, str]) -> str:
    """Return one digest of all files of cases; ``digests`` are those of the images."""
    total = hashlib.sha256()
    for case in cases:
        others = [file_digest(path) if path else "" for path in (case.label, case.regions)]
        total.update("\n".join([case.id, digests[case.id], *others, ""]).encode())
    return total.hexdigest()


def _look_for_room(loaded: LoadedCase, synthesizer: AbnormalitySynthesizer) -> None:
    unit = synthesizer.images.to_unit(loaded.stored.array)
    try:
        synthesizer.planner.regions(unit, loaded.label_map, loaded.regions)
        for abnormality in synthesizer.planner.abnormalities:
            check_fits(loaded.label_map, label_value(loaded.label_map, abnormality.value))
    except ValueError as error:
        raise BadInput(f"{loaded.case.source}: {error}") from error


def _has_lesion(loaded: LoadedCase, synthesizer: AbnormalitySynthesizer) -> bool:
    regions = synthesizer.planner.regions
    return loaded.label_map is not None and bool(regions.existing_lesions(loaded.label_map).any())
