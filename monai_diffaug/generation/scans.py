"""Read images and volumes as one thing, a `Scan`: an array (X, Y, Z, C) whose axes run as on a screen.

A flat image is a volume of one slice, so that one path cuts and frames both. Files are opened as everywhere else
(`pictures`, `volumes`): what is refused there is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from monai_diffaug.generation.files import split_suffix
from monai_diffaug.generation.pictures import open_picture
from monai_diffaug.generation.volumes import open_volume, scaled, spacing_of

PLAIN = (0.0, 255.0)  # the limits of eight-bit pictures


@dataclass(frozen=True)
class Plane:
    """One cut direction: the array axis it is perpendicular to, and the anatomical letter of its left edge."""

    name: str
    axis: int
    left: str


FLAT = (Plane("", 2, ""),)
VOLUME = (Plane("axial", 2, "R"), Plane("coronal", 1, "R"), Plane("sagittal", 0, "A"))


@dataclass(frozen=True)
class Scan:
    """Hold one file in display order.

    Args:
        array: (X, Y, Z, C); x runs rightward and y downward in the first plane.
        spacing: distance between neighbours along x, y, z (1 for flat images).
        planes: the cuts that show it.
        limits: the two intensities drawn as black and white.
        orientation: (3, 2) as nibabel writes it, from the file's axes to the array's.
    """

    array: np.ndarray
    spacing: tuple[float, ...]
    planes: tuple[Plane, ...]
    limits: tuple[float, float]
    orientation: np.ndarray

    def boxes(self, bboxes: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
        """Draw boxes as one boolean array (X, Y, Z).

        Args:
            bboxes: each [low, high) in the file's index order: rows and columns of a flat image, a volume's voxel axes.
        """
        drawn = np.zeros(self.array.shape[:3], bool)
        for low, high in bboxes:
            place = [slice(None)] * 3
            for axis, (start, stop) in enumerate(zip(low, high, strict=True)):
                target, sign = (int(value) for value in self.orientation[axis])
                first, last = (start, stop) if sign > 0 else (drawn.shape[target] - stop, drawn.shape[target] - start)
                place[target] = slice(max(int(first), 0), max(int(last), 0))
            drawn[tuple(place)] = True
        return drawn


def window_limits(array: np.ndarray) -> tuple[float, float]:
    """Find robust limits; the lowest value is left out because padding and air would swallow the percentiles."""
    values = array.reshape(-1)[:: max(1, array.size // 500_000)]
    values = values[np.isfinite(values)]
    inside = values[values > values.min()] if values.size else values
    low, high = np.percentile(inside, (0.5, 99.5)) if inside.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-6))


def _read_flat(data: bytes, suffix: str) -> Scan:
    image = open_picture(data)
    plain = image.mode in ("L", "RGB") or image.mode.startswith("I")
    array = np.asarray(image if plain else image.convert("RGB"))
    array = array.reshape(*array.shape[:2], 1, -1)
    limits = PLAIN if array.dtype == np.uint8 else window_limits(array)
    swap = np.array([[1, 1], [0, 1], [2, 1]])
    return Scan(apply_orientation(array, swap), (1.0, 1.0, 1.0), FLAT, limits, swap)


def _read_volume(data: bytes, suffix: str) -> Scan:
    header, _, voxels = open_volume(data, suffix)
    array, sizes = scaled(header, voxels)[..., None], spacing_of(header)
    # Radiological display: the patient's right at the left, front and head at the top.
    orientation = ornt_transform(io_orientation(header.get_best_affine()), axcodes2ornt(("L", "P", "I")))
    spacing = np.ones(3)
    for axis, size in enumerate(sizes):
        spacing[int(orientation[axis, 0])] = size
    return Scan(apply_orientation(array, orientation), tuple(spacing), VOLUME, window_limits(array), orientation)


READERS = {".png": _read_flat, ".jpg": _read_flat, ".jpeg": _read_flat, ".nii": _read_volume, ".nii.gz": _read_volume}


def read_scan(path: Path) -> Scan:
    """Read one PNG, JPEG or NIfTI file.

    Raises:
        ValueError: if the suffix is none of these, or the file cannot be decoded.
        FileNotFoundError: if there is no such file.
    """
    suffix = split_suffix(path.name)[1]
    if suffix not in READERS:
        raise ValueError(f"{path.name}: a picture must end in one of {', '.join(READERS)}")
    try:
        return READERS[suffix](path.read_bytes(), suffix)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, MemoryError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
