"""Choose what is shown: real and synthetic lesions in pairs of about the same size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from monai_diffaug.evaluation.reader_study.framing import cut_squares, read_mask
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.generation.manifest import NAME, read
from monai_diffaug.generation.scans import read_scan
from monai_diffaug.synthesis.provenance import file_digest

REAL, SYNTHETIC = "real", "synthetic"
CALIPER = 1.25  # the larger size of a pair over the smaller, at most
POOL = 10  # candidates of each kind that are measured, per picture wanted


@dataclass(frozen=True)
class Candidate:
    """A lesion that may be shown.

    Args:
        kind: ``REAL`` or ``SYNTHETIC``.
        image, mask: the files; ``value`` is that of the lesion in the mask's file, None for any but zero.
        origin: two candidates of one origin show the same background.
        size: root of the lesion's area over the side of the frame's largest square, in the slice that is shown.
        about: what the key tells of it.
    """

    kind: str
    image: Path
    mask: Path
    value: int | None
    origin: str
    size: float
    about: dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """Pairs (real, synthetic), and sentences for who made the study."""

    pairs: tuple[tuple[Candidate, Candidate], ...]
    notes: tuple[str, ...]


def select(
    runs: Sequence[Path],
    images: Path,
    labels: Path | None,
    *,
    value: int | None = None,
    num: int = 50,
    seed: int = 0,
) -> Selection:
    """Draw pairs of a real and a synthetic lesion.

    Args:
        runs: folders that ``generate`` has written; only accepted samples are taken.
        images: folder or datalist of real images with lesions.
        labels: folder of their labels; a datalist's own come first.
        value: of the lesion in real labels; None for all that is not zero.
        num: pairs wanted.
        seed: for the draws.

    Raises:
        ValueError: when fewer than two pairs are found, or a file is bad.
    """
    if num < 2:
        raise ValueError(f"--num must be 2 or more, got {num}")
    if seed < 0:
        raise ValueError(f"--seed must be an integer from 0, got {seed}")
    rng = np.random.default_rng(seed)
    synthetic, origins = _synthetic(runs, POOL * num, rng)
    real, notes = _real(images, labels, value, origins, POOL * num, rng)
    pairs = match(real, synthetic, num, rng)
    if len(pairs) < 2:
        raise ValueError(
            f"{len(pairs)} pairs of {len(real)} real and {len(synthetic)} synthetic lesions are alike in size "
            f"(within a factor of {CALIPER}), 2 are the least; give more images or another run"
        )
    if len(pairs) < num:
        notes.append(
            f"{len(pairs)} pairs instead of {num}: {len(real)} real and {len(synthetic)} synthetic images, and a pair "
            f"may differ in size by a factor of {CALIPER} at most"
        )
    if shared := len(pairs) - len({one.origin for _, one in pairs}):
        notes.append(
            f"{shared} synthetic pictures share their background with another one, which readers may notice; "
            "a run over more images avoids it"
        )
    return Selection(tuple(pairs), tuple(notes))


def match(
    real: Sequence[Candidate], synthetic: Sequence[Candidate], num: int, rng: np.random.Generator
) -> list[tuple[Candidate, Candidate]]:
    """Pair candidates so that the sizes' logarithms differ least in sum; keep ``num`` pairs within the caliper.

    Pairs are drawn at random, but a background that is there already comes last.
    """
    if not real or not synthetic:
        return []
    sizes = [np.log([one.size for one in side]) for side in (real, synthetic)]
    apart = np.abs(sizes[0][:, None] - sizes[1][None])
    within = apart <= np.log(CALIPER)
    rows, columns = linear_sum_assignment(np.where(within, apart, 1e3))
    found = [(real[row], synthetic[column]) for row, column in zip(rows, columns, strict=True) if within[row, column]]
    drawn = [found[index] for index in rng.permutation(len(found))]
    return _spread(drawn, [pair[1].origin for pair in drawn])[:num]


def _spread(items: Sequence[Any], origins: Sequence[str]) -> list[Any]:
    """Order items so that the first of every origin come before the second of any, and so on."""
    seen: dict[str, int] = {}
    ranks = []
    for origin in origins:
        ranks.append(seen.get(origin, 0))
        seen[origin] = ranks[-1] + 1
    return [items[index] for index in np.argsort(ranks, kind="stable")]


def _synthetic(runs: Sequence[Path], most: int, rng: np.random.Generator) -> tuple[list[Candidate], set[str]]:
    """Return measured samples, and the digests of all images that the runs were made from."""
    lines = [(run, line) for run in runs for line in read(run / NAME)]
    origins = {str(line["source_sha256"]) for _, line in lines}
    accepted = [(run, line) for run, line in lines if line["accepted"]]
    if not accepted:
        raise ValueError(f"{', '.join(map(str, runs))} holds no accepted sample; give a run that has some")
    drawn = [accepted[index] for index in rng.permutation(len(accepted))]
    drawn = _spread(drawn, [line["source_sha256"] for _, line in drawn])[:most]
    return [_sample(run, line) for run, line in drawn], origins


def _sample(run: Path, line: dict[str, Any]) -> Candidate:
    image, mask = run / line["image"], run / line["mask"]
    about = {"run": str(run), "id": line["id"], "source": line["source"], "seed": line["seed"]}
    about["prompt"] = line.get("prompt")
    return Candidate(SYNTHETIC, image, mask, None, line["source_sha256"], _size(image, mask, None), about)


def _real(
    images: Path, labels: Path | None, value: int | None, origins: set[str], most: int, rng: np.random.Generator
) -> tuple[list[Candidate], list[str]]:
    """Return measured real images, and what was left out: without lesion, or a source of the synthetic ones."""
    found = find_cases(images, labels)
    if found.bad:
        source, sentence = found.bad[0]
        raise ValueError(f"{len(found.bad)} real images cannot be used, first {source}: {sentence}")
    chosen: list[Candidate] = []
    empty = used = 0
    for index in rng.permutation(len(found.cases)):
        case = found.cases[index]
        if case.label is None:
            raise ValueError(f"{case.source} has no label; give --labels DIR, or a datalist that names them")
        if len(chosen) == most:
            break
        digest = file_digest(case.image)
        if digest in origins:
            used += 1
        elif not read_mask(case.label, value).any():
            empty += 1
        else:
            size = _size(case.image, case.label, value)
            about = {"source": case.source}
            chosen.append(Candidate(REAL, case.image, case.label, value, digest, size, about))
    reasons = ((empty, "without lesion in their label"), (used, "that the synthetic ones were made from"))
    return chosen, [f"left out {count} real images {why}" for count, why in reasons if count]


def _size(image: Path, label: Path, value: int | None) -> float:
    """Return the lesion's size by the label alone: images are opened when they are drawn."""
    try:
        return cut_squares(read_scan(label), read_mask(label, value), close=False)[0].share
    except ValueError as error:
        raise ValueError(f"{image.name}: {error}") from error


def sizes_of(candidates: Iterable[Candidate]) -> np.ndarray:
    return np.array([one.size for one in candidates])
