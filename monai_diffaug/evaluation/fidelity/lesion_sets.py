"""Read the three sets of lesions: a run's synthetic ones, the training lesions, and real ones that were held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from monai_diffaug.bundle import Bundle, config_files
from monai_diffaug.configs import read_configs
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.evaluation.fidelity.windows import (
    ACCEPTED,
    REAL,
    REFUSED,
    UNPAINTED,
    LesionView,
    shape_of,
    view_of,
)
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.generation.files import read_image, read_label, read_map
from monai_diffaug.generation.pairs import read_found
from monai_diffaug.synthesis import Abnormality, ImageFormat
from monai_diffaug.synthesis.attributes import TERCILES, describe, extent_of, outline_word, size_word
from monai_diffaug.synthesis.gate import LESION_BEFORE
from monai_diffaug.synthesis.provenance import AbnormalityRecord, split_mask

LEAST = 64
"""Lesions of fewer pixels are left out: they have no looks to measure."""


@dataclass(frozen=True)
class Terms:
    """How a bundle reads images and labels, and what its words mean.

    Args:
        images: the image format.
        abnormalities: its classes.
        organ, protected: label values that are no lesion.
        size_cuts: between small and medium, medium and large; None where the bundle has none.
        attribute_cuts: class -> attribute -> cut points, where it has them.
    """

    images: ImageFormat
    abnormalities: tuple[Abnormality, ...]
    organ: tuple[int, ...] = ()
    protected: tuple[int, ...] = ()
    size_cuts: tuple[float, float] | None = None
    attribute_cuts: Mapping[str, Mapping[str, tuple[float, float]]] | None = None

    @classmethod
    def of(
        cls, bundle: Bundle, *, variant: str | None = None, intensity_range: tuple[float, float] | None = None
    ) -> Terms:
        """Return the terms of a bundle, with the image values of a run where these are other than its own.

        Raises:
            ValueError: when it is made for volumes.
        """
        parser = read_configs(config_files(bundle.root, variant=variant))
        parser.update({"bundle_root": str(bundle.root)})
        images = parser.get_parsed_content("images")
        if images.spatial_dims != 2:
            raise ValueError(
                f"bundle {bundle.name} makes volumes, and fidelity measures pictures alone: its feature network sees "
                "photographs; cut slices through the lesions and give a run of a bundle for pictures"
            )
        if intensity_range is not None:
            images = replace(images, intensity_range=intensity_range)
        regions = parser.get_parsed_content("regions")
        cuts = {
            name: parser.get_parsed_content(name) if name in parser.config else None
            for name in ("size_cuts", "attribute_cuts")
        }
        known = tuple(parser.get_parsed_content("planner::abnormalities"))
        size_cuts = None if cuts["size_cuts"] is None else tuple(cuts["size_cuts"])
        return cls(images, known, tuple(regions.organ), tuple(regions.protected), size_cuts, cuts["attribute_cuts"])

    def shape_words(self, mask: np.ndarray) -> dict[str, str]:
        """Return the words of a mask."""
        spacing = (1.0,) * mask.ndim
        size = {} if self.size_cuts is None else {"size": size_word(mask, spacing, self.size_cuts)}
        return {**size, "outline": outline_word(mask, spacing)}

    def look_words(self, name: str, facts: Mapping[str, float]) -> dict[str, str]:
        """Return the words of a real lesion's measured looks."""
        cuts = (self.attribute_cuts or {}).get(name, {})
        return dict(zip(cuts, describe(facts, cuts), strict=True))


@dataclass(frozen=True)
class LesionSet:
    """The lesions of some images, and the digests of these."""

    views: tuple[LesionView, ...]
    images: frozenset[str]


def read_real(data: Path, labels: Path | None, terms: Terms, *, what: str) -> LesionSet:
    """Read the labelled lesions of a folder or a datalist.

    Args:
        data: images, or a datalist that may name labels too.
        labels: folder of labels.
        terms: of the bundle.
        what: for progress bars and errors.

    Raises:
        ValueError: when a file cannot be used or there are fewer than four lesions.
    """
    found = find_cases(data, labels)
    if found.spatial_dims != 2:
        raise ValueError(f"{data} holds volumes, and fidelity measures pictures alone; give slices as PNG")
    cases = read_found(found, terms.images, name=what)
    labelled = LabelledCases(cases, terms.abnormalities, organ=terms.organ, protected=terms.protected, least=LEAST)
    views = []
    for lesion in tqdm(labelled.lesions, desc=f"measure {what}", disable=None):
        case, parts = cases[lesion.case], labelled.parts[lesion.case]
        mask, unit, name = parts == lesion.number, terms.images.to_unit(case["image"]), str(case["name"])
        view = view_of(unit, mask, parts > 0, name=f"{name}/{lesion.number}", case=name, status=REAL)
        words = {**terms.shape_words(mask), **terms.look_words(lesion.name, view.facts)}
        views.append(replace(view, words=words))
    if len(views) < 4:
        raise ValueError(f"{data} has {len(views)} lesions of {LEAST} pixels or more; {what} needs 4, better hundreds")
    digests = (hashlib.sha256(np.ascontiguousarray(case["image"]).tobytes()).hexdigest() for case in cases)
    return LesionSet(tuple(views), frozenset(digests))


def refuse_shared(training: LesionSet, held_out: LesionSet) -> None:
    """Raise ValueError when an image is in both sets: a training lesion is no yardstick."""
    if shared := len(training.images & held_out.images):
        raise ValueError(f"{shared} held-out images are training images too; give images that were not trained on")


def read_run_lesions(folder: Path, lines: Sequence[Mapping[str, Any]], terms: Terms) -> tuple[LesionView, ...]:
    """Read the lesions that a run planned; refused ones only where it was made with ``--audit``.

    Args:
        folder: the run's.
        lines: of its manifest.
        terms: of its bundle.

    Raises:
        ValueError: when fewer than four were accepted, or a file is missing.
    """
    views = [
        view
        for line in tqdm(lines, desc="measure synthetic lesions", disable=None)
        for view in _views_of_line(folder, line, terms)
    ]
    accepted = sum(view.status == ACCEPTED for view in views)
    if accepted < 4:
        raise ValueError(f"{folder} has {accepted} accepted lesions; 4 are needed, better hundreds")
    return tuple(views)


def _views_of_line(folder: Path, line: Mapping[str, Any], terms: Terms) -> Iterator[LesionView]:
    records = [AbnormalityRecord.from_json(one) for one in line["abnormalities"]]
    if line["accepted"]:
        records = [one for one in records if one.accepted]
        image, mask = folder / line["image"], folder / line["mask"]
    else:
        image, mask = (folder / "rejected" / kind / f"{line['id']}.png" for kind in ("images", "masks"))
        if not records or not mask.is_file():
            return
    # What was refused in latent space was never decoded: it has an outline, and no looks.
    there = line["accepted"] or image.is_file()
    unit = terms.images.to_unit(read_image(image, terms.images).array) if there else None
    with Image.open(mask) as picture:
        spatial = picture.size[::-1]
    parts = split_mask(read_map(mask, spatial), records)
    others = _known(folder, line, terms, spatial) | np.any(parts, axis=0)
    for number, (record, part) in enumerate(zip(records, parts, strict=True)):
        if part.sum() >= LEAST:
            name, case, status = f"{line['id']}/{number}", str(line["source"]), status_of(record)
            if unit is None or status == UNPAINTED:
                view = LesionView(name, case, status, shape_of(part), extent_of(part, (1.0,) * part.ndim))
            else:
                view = view_of(unit, part, others, name=name, case=case, status=status)
            yield replace(view, words={**terms.shape_words(part), **said(record.prompt)})


def _known(folder: Path, line: Mapping[str, Any], terms: Terms, spatial: tuple[int, ...]) -> np.ndarray:
    """Return where a delivered label has lesions, new ones too; nowhere where none was delivered."""
    if line["label"] is None:
        return np.zeros(spatial, bool)
    label = read_label(folder / line["label"], spatial).array
    return (label != 0) & ~np.isin(label, (*terms.organ, *terms.protected))


def status_of(record: AbnormalityRecord) -> str:
    """Return what became of a planned lesion."""
    if record.accepted:
        return ACCEPTED
    first = record.attempts[0]
    return UNPAINTED if len(record.attempts) == 1 and first.reasons == (LESION_BEFORE,) else REFUSED


def said(prompt: str) -> dict[str, str]:
    """Return which words on looks a prompt holds: attribute -> word.

    Example:
        >>> said("medium oval polyp, redder, soft border")
        {'colour': 'redder', 'border': 'soft border'}
    """
    parts = [part.strip() for part in prompt.split(",")]
    return {name: word for name, words in TERCILES.items() for word in words if word in parts}
