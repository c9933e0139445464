"""Draw the sample inputs of `bundles/texture_demo`: normal colon frames and brain-like volumes.

Everything comes from formulas and seeded noise; no picture of anybody is involved. A frame is a ray-traced look into a
bent tube with folds, lit from beside the camera; volumes are in `draw_brain.py`. Equal seeds draw equal bytes.

    python benchmarks/draw_samples.py [OUT]
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from draw_brain import VOLUMES, draw_volume
from PIL import Image
from scipy import ndimage

SAMPLES = Path(__file__).parents[1] / "bundles" / "texture_demo" / "samples"

# seed, (height, width), colour of the tissue, folds, look (right, down), octagonal border, overlay
FRAMES: tuple[tuple[int, tuple[int, int], tuple[float, float, float], float, tuple[float, float], bool, str], ...] = (
    (1, (320, 384), (0.86, 0.47, 0.38), 1.0, (0.10, 0.05), True, ""),
    (2, (320, 384), (0.88, 0.52, 0.46), 0.8, (-0.35, 0.10), False, ""),
    (3, (320, 384), (0.84, 0.50, 0.33), 1.1, (0.30, -0.25), True, "text"),
    (4, (320, 384), (0.80, 0.42, 0.38), 0.5, (-0.75, -0.20), True, ""),
    (5, (320, 384), (0.87, 0.56, 0.50), 1.0, (0.05, 0.40), False, ""),
    (6, (512, 512), (0.85, 0.46, 0.37), 1.0, (-0.20, -0.15), True, ""),
    (7, (320, 384), (0.82, 0.44, 0.42), 0.9, (0.55, 0.15), True, "inset"),
    (8, (320, 384), (0.88, 0.55, 0.40), 1.2, (-0.10, -0.30), False, ""),
    (9, (320, 384), (0.83, 0.45, 0.34), 0.4, (0.80, 0.30), True, ""),
    (10, (320, 384), (0.86, 0.50, 0.44), 1.0, (-0.45, 0.30), True, ""),
    (11, (320, 384), (0.85, 0.53, 0.37), 0.7, (0.25, 0.55), False, ""),
    (12, (512, 512), (0.87, 0.49, 0.42), 0.9, (0.40, -0.40), True, ""),
)
# Rows of the digits 0 to 9, three bits each, from top to bottom.
DIGITS = ("75557", "26227", "71747", "71717", "55711", "74717", "74757", "71122", "75757", "75717")


@dataclass(frozen=True)
class Tube:
    """A bent tube about one unit wide: the inside of a colon.

    Args:
        bend: (2, 3) amplitude, frequency and phase of the axis in both directions.
        folds: (K, 6) place along the axis, height, width, and angle, extent and slant of each ridge.
        bumps: (N, N) periodic relief of the wall over (angle, place).
        detail: (N, N) fine relief, which only bends the light.
    """

    bend: np.ndarray
    folds: np.ndarray
    bumps: np.ndarray
    detail: np.ndarray

    def axis(self, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where the middle of the tube is at a depth; it passes the camera at 0."""
        x, y = (a * (np.sin(f * depth + p) - np.sin(p)) for a, f, p in self.bend)
        return x, y

    def angle(self, points: np.ndarray) -> np.ndarray:
        """Return the angle of points (3, N) around the axis."""
        x, y = self.axis(points[2])
        return np.arctan2(points[1] - y, points[0] - x)

    def ridges(self, depth: np.ndarray, angle: np.ndarray) -> np.ndarray:
        """Return how far the folds rise into the tube."""
        height, cosine, sine = np.zeros_like(depth), np.cos(angle), np.sin(angle)
        for place, rise, width, middle, extent, slant in self.folds:
            c, s = np.cos(middle), np.sin(middle)
            reach = np.clip(0.5 + extent * (cosine * c + sine * s), 0, 1)
            along = (depth - place - slant * (sine * c - cosine * s)) / width
            near = 1 / (1 + along * along)
            height = np.maximum(height, rise * reach * reach * (3 - 2 * reach) * near * np.sqrt(near))
        return height

    def room(self, points: np.ndarray, relief: float = 0.0) -> np.ndarray:
        """Return the distance left to the wall, about: positive inside, for points (3, N)."""
        x, y = self.axis(points[2])
        angle = self.angle(points)
        radius = 1 + 0.09 * np.cos(3 * angle + self.bend[0, 2]) - self.ridges(points[2], angle)
        radius = radius + 0.10 * sample(self.bumps, angle, points[2])
        if relief:
            radius = radius + relief * sample(self.detail, angle, points[2])
        return radius - np.hypot(points[0] - x, points[1] - y)


def noise(rng: np.random.Generator, size: int, *widths: float) -> np.ndarray:
    """Return periodic noise (size, size) with unit deviation, one octave per width in pixels."""
    total = np.zeros((size, size))
    for width in widths:
        layer = ndimage.gaussian_filter(rng.standard_normal((size, size)), width, mode="wrap")
        total += width**0.5 * layer / layer.std()
    return total / total.std()


def sample(texture: np.ndarray, angle: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Look up a periodic texture (N, N) over the angle (once around) and the depth (once in 2 pi)."""
    where = np.stack([angle, depth]) * (len(texture) / (2 * np.pi))
    return ndimage.map_coordinates(texture, where, order=1, mode="grid-wrap")


def draw_vessels(rng: np.random.Generator, size: int, trees: int) -> np.ndarray:
    """Return a periodic map (size, size) of branching vessels, 0 to 1."""
    tips = [(*rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi), rng.uniform(1.4, 3.2)) for _ in range(trees)]
    dots = []
    while tips:
        y, x, heading, width = tips.pop()
        headings = heading + np.cumsum(rng.normal(0, 0.12, int(rng.uniform(30, 90) * width**0.5)))
        rows, columns = y + 1.5 * np.cumsum(np.sin(headings)), x + 1.5 * np.cumsum(np.cos(headings))
        dots.append(np.stack([rows, columns, np.full_like(rows, width)]))
        if width > 0.8:
            for turn in (-1, 1):
                away = headings[-1] + turn * rng.uniform(0.3, 0.8)
                tips.append((rows[-1], columns[-1], away, width * rng.uniform(0.6, 0.8)))
    y, x, width = np.concatenate(dots, 1)
    vessels = np.zeros((size, size))
    for down, right in np.ndindex(9, 9):
        row, column = np.floor(y) + down - 4, np.floor(x) + right - 4
        ink = np.minimum(1, 0.35 + 0.25 * width) * np.clip(width / 2 + 0.7 - np.hypot(row - y, column - x), 0, 1)
        np.maximum.at(vessels, (row.astype(int) % size, column.astype(int) % size), ink)
    return ndimage.gaussian_filter(vessels, 0.8, mode="wrap")


def make_tube(rng: np.random.Generator, folds: float) -> Tube:
    """Draw the tube of one frame; `folds` scales their height."""
    places = 0.9 + np.cumsum(rng.uniform(0.45, 0.95, 14))
    ridge = [
        (z, folds * rng.uniform(0.22, 0.45), rng.uniform(0.10, 0.17), *rng.uniform((0, 0.45, -0.25), (6.28, 1.1, 0.25)))
        for z in places
    ]
    bend = np.stack([rng.uniform(0.3, 0.7, 2), rng.uniform(0.30, 0.55, 2), rng.uniform(0, 2 * np.pi, 2)], 1)
    return Tube(bend, np.array(ridge), noise(rng, 256, 8, 20), noise(rng, 1024, 2.5, 7))


def trace(tube: Tube, rays: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return how far each ray (3, N) travels before it meets the wall (at most about 14 units)."""
    travelled = np.full(rays.shape[1], 0.02)
    active = np.arange(rays.shape[1])
    for _ in range(160):
        room = tube.room(start[:, None] + rays[:, active] * travelled[active])
        active, room = active[room > 0.002], room[room > 0.002]
        travelled[active] += np.maximum(0.3 * room, 0.004)
        active = active[travelled[active] < 14]
    return travelled


def render(
    tube: Tube, rng: np.random.Generator, size: tuple[int, int], colour: np.ndarray, look: np.ndarray
) -> np.ndarray:
    """Return the lit picture (3, height, width) in 0..1."""
    y, x = (np.arange(n) - (n - 1) / 2 for n in size)
    x, y = np.meshgrid(x / max(size) * 2, y / max(size) * 2)
    rays = np.stack([1.15 * x + look[0], 1.15 * y + look[1], np.ones_like(x)]).reshape(3, -1)
    rays /= np.linalg.norm(rays, axis=0)
    start = np.array([*rng.uniform(-0.25, 0.25, 2), 0.0])
    points = start[:, None] + rays * trace(tube, rays, start)
    room = tube.room(points, 0.0035)
    normal = np.stack([tube.room(points + 0.004 * step[:, None], 0.0035) - room for step in np.eye(3)])
    normal /= np.linalg.norm(normal, axis=0) + 1e-9
    light, shine = illuminate(points, normal, rays, start)
    # Light adds up in linear space; the square root stands for the camera's gamma.
    tissue, wet = paint(tube, rng, points, colour)
    picture = np.sqrt(1 - np.exp(-1.15 * tissue**2.3 * light)) + 1.2 * shine * wet
    return picture.reshape(3, *size)


def illuminate(
    points: np.ndarray, normal: np.ndarray, rays: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return diffuse and mirrored light of two lamps beside the camera, (N,) each."""
    light, shine = np.zeros(points.shape[1]), np.zeros(points.shape[1])
    for side in (-0.14, 0.14):
        beam = (start + np.array([side, 0.03, 0]))[:, None] - points
        distance = np.linalg.norm(beam, axis=0)
        beam /= distance
        light += np.clip((np.sum(normal * beam, 0) + 0.2) / 1.2, 0, None) / (distance**2 + 0.15)
        half = beam - rays
        half /= np.linalg.norm(half, axis=0)
        shine += np.clip(np.sum(normal * half, 0), 0, 1) ** 260 / (distance + 0.2)
    return (light / np.percentile(light, 75)) ** 0.9, shine


def paint(
    tube: Tube, rng: np.random.Generator, points: np.ndarray, colour: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the colour of the wall (3, N), with vessels and blotches, and how wet it is (N,)."""
    angle, depth = tube.angle(points), points[2]
    vessels = sample(draw_vessels(rng, 1024, 60), angle, depth)
    mottle = sample(noise(rng, 512, 3, 10, 30), angle, depth)
    crest = np.clip(tube.ridges(depth, angle) / 0.3, 0, 1)
    tissue = 1 + np.outer((0.02, 0.05, 0.05), mottle) + np.outer((0.02, 0.08, 0.08), crest)
    tissue = tissue * (1 - np.outer((0.14, 0.42, 0.36), vessels * (1 - 0.6 * crest)))
    wet = np.clip(sample(noise(rng, 512, 6, 16), angle, depth) + 0.6, 0, 1.5)
    return colour[:, None] * tissue, wet


def view_border(size: tuple[int, int]) -> np.ndarray:
    """Return the octagonal view, 1 inside, as (height, width)."""
    y, x = (np.abs(np.arange(n) - (n - 1) / 2) / (n / 2) for n in size)
    x, y = np.meshgrid(x, y)
    inside = 1 - np.maximum(np.maximum(x / 0.95, y / 0.97), (x + y) / 1.48)
    return np.clip(inside * min(size) / 2, 0, 1)


def write_text(picture: np.ndarray, text: str, top: int, left: int) -> None:
    """Write digits, white, 2 pixels a stroke, into a picture (3, height, width)."""
    for place, digit in enumerate(text):
        if digit.isdigit():
            glyph = [[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in DIGITS[int(digit)]]
            picture[:, top : top + 10, left + 8 * place : left + 8 * place + 6] += 0.7 * np.kron(glyph, np.ones((2, 2)))


def add_overlay(picture: np.ndarray, kind: str) -> None:
    """Burn a date or an inset picture in the lower left corner into the picture."""
    height = picture.shape[1]
    if kind == "text":
        for line, text in enumerate(("21 04 2031", "09 15 42", "3 1")):
            write_text(picture, text, height // 4 + 16 * line, 14)
    if kind == "inset":
        picture[:, height - 92 : height - 10, 10:112] = np.array([0.07, 0.62, 0.52])[:, None, None]
        t = np.linspace(0, 1, 400)
        rows, columns = height - 30 - 50 * t + 8 * np.sin(9 * t), 60 + 30 * np.sin(5 * t)
        for shift in (0, 1):
            picture[:, rows.astype(int), columns.astype(int) + shift] = 0.1


def draw_frame(
    seed: int,
    size: tuple[int, int],
    colour: tuple[float, float, float],
    folds: float,
    look: tuple[float, float],
    octagon: bool,
    overlay: str,
) -> np.ndarray:
    """Draw one frame, uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    picture = render(make_tube(rng, folds), rng, size, np.array(colour), np.array(look))
    picture = ndimage.gaussian_filter(picture, (0, 0.7, 0.7))
    grain = ndimage.gaussian_filter(rng.standard_normal(picture.shape), (0.4, 0.6, 0.6))
    picture = picture + 0.009 * grain / grain.std()
    if octagon:
        picture = picture * view_border(size)
    add_overlay(picture, overlay)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)


def write_samples(out: Path, frames: int | None = None, volumes: int | None = None) -> None:
    """Write the first so many frames and volumes (all where None) below a folder."""
    for name in ("frames", "volumes", "volume_regions"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(FRAMES[:frames], 1):
        Image.fromarray(draw_frame(*frame)).save(out / "frames" / f"frame_{number:02d}.png", optimize=True)
    for number, (seed, shape, spacing, tilt) in enumerate(VOLUMES[:volumes], 1):
        image, label, affine = draw_volume(seed, shape, spacing, tilt)
        for folder, array in (("volumes", image), ("volume_regions", label)):
            volume = nib.Nifti1Image(array, affine)
            volume.header.set_xyzt_units("mm")
            nib.save(volume, out / folder / f"volume_{number:02d}.nii.gz")


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES)
