"""Where the slices of a series lie: their order, affine and spacing, by positions alone; what is irregular is refused.

The tolerances are highdicom's. World is RAS in mm, an array (columns, rows, slices), as MONAI's PydicomReader has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from monai_diffaug.dicom.images import BadDicom

SPACING = 1e-2  # of the slices' mean distance, that one distance may differ
PERPENDICULAR = 1e-3  # of the cosine between the slices' normal and the line of their positions
EQUAL = 1e-4  # of direction cosines
SAME_PLACE = 1e-4  # mm
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PHASES = ("EchoNumbers", "EchoTime", "AcquisitionNumber", "TemporalPositionIdentifier", "TriggerTime",
          "DiffusionBValue", "ContentTime")  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where one frame lies.

    Args:
        name: how to speak of it.
        size: rows, columns.
        position: of the centre of its first pixel, mm, LPS.
        directions: (2, 3), of growing columns and of growing rows.
        spacing: mm between rows, mm between columns.
        header: for what tells frames at one position apart.
    """

    name: str
    size: tuple[int, int]
    position: np.ndarray | None
    directions: np.ndarray | None
    spacing: tuple[float, float] | None
    header: Dataset

    @property
    def normal(self) -> np.ndarray:
        across, down = np.zeros((2, 3)) if self.directions is None else self.directions
        return np.cross(across, down)


@dataclass(frozen=True)
class Grid:
    """A regular grid of slices.

    Args:
        order: index of the place of each slice.
        affine: (4, 4), index (column, row, slice) to mm, RAS.
        spacing: mm along columns, rows and slices.
    """

    order: tuple[int, ...]
    affine: np.ndarray
    spacing: tuple[float, float, float]


def place_of(header: Dataset, name: str) -> Place:
    """Return where a single frame lies; what its header does not tell is None.

    Raises:
        BadDicom: when what it tells cannot be.
    """
    position = _numbers(header, "ImagePositionPatient", 3, name)
    directions = _numbers(header, "ImageOrientationPatient", 6, name)
    spacing = _numbers(header, "PixelSpacing", 2, name)
    if directions is not None:
        _check_directions(directions.reshape(2, 3), name)
    if spacing is not None and spacing.min() <= 0:
        raise BadDicom(f"{name} has PixelSpacing {spacing.tolist()}; positive millimetres are needed: correct it")
    return Place(
        name,
        (int(header.Rows), int(header.Columns)),
        position,
        None if directions is None else directions.reshape(2, 3),
        None if spacing is None else (float(spacing[0]), float(spacing[1])),
        header,
    )


def has_geometry(places: Sequence[Place]) -> bool:
    """Whether any of them tells where it lies."""
    return any(one.position is not None or one.directions is not None for one in places)


def split_places(places: Sequence[Place]) -> list[list[int]]:
    """Return the indices of places that can be slices of one volume: equal direction, pixel spacing and size."""
    groups: list[list[int]] = []
    for index, one in enumerate(places):
        for group in groups:
            first = places[group[0]]
            if one.size == first.size and _same_spacing(one, first) and _same_directions(one, first):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def grid_of(places: Sequence[Place]) -> Grid:
    """Return the grid that at least two places form.

    Raises:
        BadDicom: when they form none; one sentence says why and what to do.
    """
    _check_alike(places)
    normal = places[0].normal
    positions = np.array([one.position for one in places])
    distances = positions @ normal
    order = np.argsort(distances, kind="stable")
    _check_apart(distances[order], [places[index] for index in order])
    _check_line(positions[order], normal, places[0].header)
    _check_regular(distances[order], positions[order])
    step = (positions[order[-1]] - positions[order[0]]) / (len(places) - 1)
    first = places[order[0]]
    rows, columns = first.spacing or (1.0, 1.0)
    spacing = (columns, rows, float(np.linalg.norm(step)))
    return Grid(tuple(int(one) for one in order), affine_of(first, step), spacing)


def affine_of(first: Place, step: np.ndarray) -> np.ndarray:
    """Return (4, 4), index (column, row, slice) to mm, RAS, of slices that begin with one and go on by a step (LPS)."""
    rows, columns = first.spacing or (1.0, 1.0)
    across, down = np.zeros((2, 3)) if first.directions is None else first.directions
    affine = np.eye(4)
    affine[:3] = np.stack([across * columns, down * rows, step, np.asarray(first.position)], 1)
    return LPS_TO_RAS @ affine


def _check_alike(places: Sequence[Place]) -> None:
    first = places[0]
    for lacks, what in (
        ([one for one in places if one.position is None], "ImagePositionPatient"),
        ([one for one in places if one.directions is None], "ImageOrientationPatient"),
        ([one for one in places if one.spacing is None], "PixelSpacing"),
    ):
        if lacks:
            raise BadDicom(
                f"{len(lacks)} of {len(places)} slices have no {what}, the first of them {lacks[0].name}; "
                "leave them out, or read the series frame by frame (frames)"
            )
    for odd, what, name in (
        (_odd(places, lambda one: one.size == first.size), "size", "size"),
        (_odd(places, lambda one: _same_directions(one, first)), "orientation", "directions"),
        (_odd(places, lambda one: _same_spacing(one, first)), "pixel spacing", "spacing"),
    ):
        if odd is not None:
            raise BadDicom(
                f"{odd.name} has another {what} ({_shown(getattr(odd, name))}) than {first.name} "
                f"({_shown(getattr(first, name))}); give the files of one of them, or read each group as an image of "
                "its own (split)"
            )


def _odd(places: Sequence[Place], alike: Callable[[Place], bool]) -> Place | None:
    return next((one for one in places if not alike(one)), None)


def _shown(value: Any) -> str:
    return ", ".join(f"{one:.4g}" for one in np.ravel(value))


def _check_apart(distances: np.ndarray, places: Sequence[Place]) -> None:
    """Refuse two slices at one place."""
    same = np.flatnonzero(np.diff(distances) < SAME_PLACE)
    if not len(same):
        return
    one, other = places[same[0]], places[same[0] + 1]
    differing = [name for name in PHASES if one.header.get(name) != other.header.get(name)]
    why = f"; they differ in {', '.join(differing)}, so the series may hold several volumes" if differing else ""
    raise BadDicom(
        f"{one.name} and {other.name} lie at the same position, as do {len(same)} pairs in all{why}; "
        "give the files of one volume"
    )


def _check_line(positions: np.ndarray, normal: np.ndarray, header: Dataset) -> None:
    """Refuse slices that do not lie above each other: a tilted gantry, or a moved table."""
    spans = positions[1:] - positions[0]
    cosines = np.abs(spans @ normal) / np.linalg.norm(spans, axis=1)
    if cosines.min() >= 1 - PERPENDICULAR:
        return
    angle = np.degrees(np.arccos(min(cosines.min(), 1.0)))
    told = f" (GantryDetectorTilt {header.GantryDetectorTilt})" if header.get("GantryDetectorTilt") else ""
    raise BadDicom(
        f"the slices are sheared by {angle:.1f} degrees against their normal{told}, as a tilted gantry does: no "
        "rectangular grid; read them frame by frame (frames), or resample the series first"
    )


def _check_regular(distances: np.ndarray, positions: np.ndarray) -> None:
    """Refuse gaps and uneven distances."""
    gaps = np.diff(distances)
    if np.allclose(gaps, gaps.mean(), rtol=SPACING, atol=0):
        return
    usual = float(np.median(gaps))
    worst = int(np.abs(gaps - usual).argmax())
    counts = gaps / usual
    where = f"between z = {positions[worst][2]:.2f} and {positions[worst + 1][2]:.2f} mm"
    if (np.abs(counts - np.rint(counts)) < 0.05).all():
        missing = int(np.rint(counts).sum()) - len(gaps)
        raise BadDicom(
            f"{missing} slice(s) are missing: a gap of {gaps[worst]:.2f} mm {where}, where slices lie {usual:.2f} mm "
            "apart; get the missing files, or give the files of one part"
        )
    raise BadDicom(
        f"the distances of slices differ, from {gaps.min():.3f} to {gaps.max():.3f} mm (largest deviation {where}); "
        "give the files of one evenly spaced part, or read them frame by frame (frames)"
    )


def _same_directions(one: Place, other: Place) -> bool:
    if one.directions is None or other.directions is None:
        return one.directions is other.directions
    return bool(np.allclose(one.directions, other.directions, rtol=0, atol=EQUAL))


def _same_spacing(one: Place, other: Place) -> bool:
    if one.spacing is None or other.spacing is None:
        return one.spacing is other.spacing
    return bool(np.allclose(one.spacing, other.spacing, rtol=1e-4, atol=0))


def _numbers(header: Dataset, name: str, count: int, file: str) -> np.ndarray | None:
    """Return an attribute's numbers, or None where it is absent or empty."""
    try:
        value = header.get(name)
        numbers = np.array([float(one) for one in value]) if value else None
    except (TypeError, ValueError) as error:
        raise BadDicom(f"{file} has a {name} that is no list of numbers; correct it or leave the file out") from error
    if numbers is not None and (len(numbers) != count or not np.isfinite(numbers).all()):
        raise BadDicom(f"{file} has {name} {numbers.tolist()}; {count} finite numbers are needed: correct it")
    return numbers


def _check_directions(directions: np.ndarray, name: str) -> None:
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(directions[0] @ directions[1]) > 1e-3:
        raise BadDicom(
            f"{name} has an ImageOrientationPatient whose directions are not of length 1 and perpendicular "
            f"({_shown(directions)}); correct it or leave the file out"
        )
