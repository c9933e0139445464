"""Draw volumes that look like FLAIR images of a brain, from warped ellipsoids and seeded noise."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# seed, shape, spacing in mm, tilt of the head in degrees
VOLUMES: tuple[tuple[int, tuple[int, int, int], tuple[float, float, float], float], ...] = (
    (101, (96, 112, 96), (1.5, 1.5, 1.5), 0.0),
    (102, (112, 136, 60), (1.25, 1.25, 2.4), 7.0),
)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], spacing: np.ndarray, width: float) -> np.ndarray:
    """Return noise with unit deviation that varies over `width` mm."""
    layer = ndimage.gaussian_filter(rng.standard_normal(shape), width / spacing, mode="wrap")
    return layer / layer.std()


def inside(place: np.ndarray, centre: tuple[float, ...], axes: tuple[float, ...]) -> np.ndarray:
    """Return the depth in mm, about, below the surface of an ellipsoid: positive inside."""
    where = [(p - c) / a for p, c, a in zip(place, centre, axes, strict=True)]
    return (1 - np.sqrt(sum(w * w for w in where))) * min(axes)


def step(depth: np.ndarray) -> np.ndarray:
    """Return 0 below and 1 above a depth of 0 mm, soft over a millimetre."""
    return 1 / (1 + np.exp(-np.clip(3 * depth, -30, 30)))


def draw_volume(
    seed: int, shape: tuple[int, int, int], spacing: tuple[float, float, float], tilt: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw one volume as FLAIR shows a brain: int16 intensities in 0..1000, uint8 label (1 = tissue), affine."""
    rng = np.random.default_rng(seed)
    mm = np.array(spacing)
    turn = np.deg2rad(tilt)
    rotation = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = rotation * mm
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2) + (0, 0, 4)
    place = np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    place = place + 2.5 * np.stack([smooth_noise(rng, shape, mm, 14) for _ in place])
    fold = smooth_noise(rng, shape, mm, 5.0)
    slope = np.sqrt(sum(g * g for g in np.gradient(fold, *spacing)))
    tissue, fluid, grey = draw_brain(place, np.abs(fold) / np.maximum(slope, 0.12))
    picture = tissue * (430 + 130 * grey) * (1 - fluid) + 90 * fluid * step(4 * tissue - 2)
    picture = ndimage.gaussian_filter(picture, 0.6) * (1 + 0.05 * smooth_noise(rng, shape, mm, 30))
    picture = np.hypot(picture + 14 * rng.standard_normal(shape), 14 * rng.standard_normal(shape))
    hull = tissue > 0.5
    label = (hull & (fluid < 0.3)).astype(np.uint8)
    return np.where(hull, picture.clip(1, 1000), 0).round().astype(np.int16), label, affine


def draw_brain(place: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return brain, fluid and grey matter, 0 to 1, at places (3, ...) in mm (right, front, up).

    `fold` is the distance in mm to the middle of the next furrow of the cortex.
    """
    x, y, z = place
    cerebrum = np.minimum(inside(place, (0, 0, 8), (62, 78, 58)), z + 30 + 0.15 * np.abs(y))
    cerebellum = inside(place, (0, -42, -36), (46, 30, 22))
    stem = inside(place, (0, -18, -44), (13, 13, 34))
    depth = np.maximum(cerebrum, cerebellum)
    gap = np.where((depth < 34) & (z > -18), 0.8 * np.abs(x), 99)
    lined = np.minimum(np.minimum(depth, fold + np.maximum(depth - 13, 0)), gap)
    leaves = np.minimum(
        cerebellum, 3.5 + 3 * np.sin(1.1 * np.hypot(y + 25, z + 30)) + 0.3 * np.maximum(cerebellum - 8, 0)
    )
    lined = np.where(cerebellum > cerebrum, leaves, lined)
    away = np.abs(x) - 7 - 0.007 * y * y
    horns = inside(np.stack([away, y, z + 0.010 * y * y]), (0, -4, 14), (6.5, 34, 8.5))
    third = inside(place, (0, -4, 0), (2.2, 12, 9))
    ventricles = np.maximum(horns, third)
    nuclei = inside(np.stack([np.abs(x), y, z]), (15, -6, 3), (8, 16, 9))
    fluid = np.maximum(step(0.6 - lined) * step(0.5 - stem), step(ventricles))
    grey = np.maximum(step(4.2 - lined) * step(0.5 - stem), 0.7 * step(nuclei))
    return step(np.maximum(depth, stem)), fluid, grey * (1 - 0.3 * step(stem))
