"""Cut every picture of a study in one way: square, of one size, through one JPEG encoder, with a ring at the lesion."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from monai_diffaug.generation.scans import PLAIN, Scan, read_scan, window_limits
from monai_diffaug.generation.slices import MARGIN, SMALLEST_WINDOW, find_lesion

SIDES = (256, 512)  # smallest and largest side of a picture, pixels
QUALITY = 90  # of the JPEG encoder that all pictures pass
RING = 1.35  # radii of the ring over those of the ellipse that fills the lesion's second moments
UNITS = 1000  # of ring coordinates along a picture's side


@dataclass(frozen=True)
class Cut:
    """One square of a plane.

    Args:
        axis, index: the plane, (X, Y, Z) order.
        box: left, upper, right, lower in cells.
        ring: centre x and y, radii, angle in degrees, in thousandths of the square's side.
        share: root of the lesion's area over the side of the largest square in the plane.
        frame: cells along the shorter side of that largest square.
    """

    axis: int
    index: int
    box: tuple[float, float, float, float]
    ring: tuple[int, int, int, int, int]
    share: float
    frame: float

    @property
    def native(self) -> float:
        """Cells along the shorter side."""
        return min(self.box[2] - self.box[0], self.box[3] - self.box[1])


def read_mask(path: Path, value: int | None = None) -> np.ndarray:
    """Return where a label is not zero, or is ``value``: bool (X, Y, Z)."""
    array = read_scan(path).array
    return (array != 0 if value is None else array == value).any(-1)


def cut_squares(scan: Scan, mask: np.ndarray, *, close: bool) -> tuple[Cut, ...]:
    """Choose in every plane the slice where the largest lesion is largest, and a square that holds it.

    Args:
        scan: the image, or its label: only shape, spacing and planes are looked at.
        mask: bool (X, Y, Z).
        close: a close-up around the lesion, else the largest square of the plane.

    Raises:
        ValueError: when shapes differ or the mask is empty.
    """
    if mask.shape != scan.array.shape[:3]:
        raise ValueError(f"its label has shape {mask.shape}, the image {scan.array.shape[:3]}; they must be equal")
    lesion = find_lesion(mask)
    if lesion is None:
        raise ValueError("its label holds no lesion")
    place = tuple(slice(low, high) for low, high in zip(lesion.low, lesion.high, strict=True))
    only = np.zeros_like(mask)
    only[place] = mask[place]
    sizes = [(high - low) * step for low, high, step in zip(lesion.low, lesion.high, scan.spacing, strict=True)]
    wanted = max(MARGIN * max(sizes), SMALLEST_WINDOW * min(scan.spacing)) if close else math.inf
    return tuple(_cut(plane.axis, only, scan.spacing, wanted) for plane in scan.planes)


def _cut(axis: int, mask: np.ndarray, spacing: Sequence[float], wanted: float) -> Cut:
    others = tuple(one for one in range(3) if one != axis)
    index = int(np.argmax(mask.sum(axis=others)))
    flat = mask[(slice(None),) * axis + (index,)]
    steps = np.array([spacing[one] for one in others])
    largest = float((np.array(flat.shape) * steps).min())
    side = min(wanted, largest)
    cells = np.nonzero(flat)
    spans = [
        _span(length, side / step, (int(at.min()), int(at.max()) + 1), close=side < largest)
        for length, step, at in zip(flat.shape, steps, cells, strict=True)
    ]
    (left, right), (upper, lower) = spans
    points = np.stack([(at + 0.5 - low) * step / side for at, (low, _), step in zip(cells, spans, steps, strict=True)])
    share = math.sqrt(flat.sum() * float(steps.prod())) / largest
    ring = _ring(points, float(steps.min()) / side)
    return Cut(axis, index, (left, upper, right, lower), ring, share, largest / float(steps.max()))


def _span(length: int, cells: float, lesion: tuple[int, int], *, close: bool) -> tuple[float, float]:
    """Place a span in the middle of the frame, or of the lesion, moved so that it holds the lesion."""
    low, high = lesion
    start = ((low + high) if close else length) / 2 - cells / 2
    start = max(min(start, low), high - cells)
    start = min(max(start, 0.0), length - cells)
    return start, start + cells


def _ring(points: np.ndarray, cell: float) -> tuple[int, int, int, int, int]:
    """Return the ellipse around points (2, N) in [0, 1], each a cell wide, by their second moments."""
    centre = points.mean(1)
    moments = np.cov(points, bias=True).reshape(2, 2) + np.eye(2) * cell**2 / 12
    values, vectors = np.linalg.eigh(moments)
    minor, major = RING * 2 * np.sqrt(values)
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1])) % 180
    numbers = (*(UNITS * centre), UNITS * major, UNITS * minor, angle)
    return tuple(round(float(one)) for one in numbers)  # type: ignore[return-value]


@dataclass(frozen=True)
class Format:
    """What all pictures of a study have in common.

    Args:
        side: of a picture, pixels.
        frame: cells along the coarsest frame's shorter side: finer frames are brought to its resolution first.
        colour: whether any source is in colour; the number of channels must not tell the kind.
    """

    side: int
    frame: float
    colour: bool


def common_format(cuts: Sequence[Cut], *, colour: bool) -> Format:
    """Return the format for these squares: below the resolution of each where that is 256 pixels or more."""
    frame = min(cut.frame for cut in cuts)
    finest = min(cut.native * frame / cut.frame for cut in cuts)
    return Format(int(np.clip(0.9 * finest, *SIDES)), frame, colour)


def draw(scan: Scan, cuts: Sequence[Cut], form: Format) -> np.ndarray:
    """Return the planes of a scan side by side, uint8 (side, N side, 3) or (side, N side)."""
    mode = "RGB" if form.colour else "L"
    sheet = Image.new(mode, (form.side * len(cuts), form.side))
    for number, cut in enumerate(cuts):
        cells = max(8, round(cut.native * form.frame / cut.frame))
        picture = _shown(scan, cut).resize((cells, cells), Image.Resampling.LANCZOS, box=cut.box)
        picture = picture.resize((form.side, form.side), Image.Resampling.LANCZOS)
        sheet.paste(picture.convert(mode), (form.side * number, 0))
    # Sources differ in their compression: one more, the same for all, covers what was left of it by the resampling.
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0" if form.colour else -1)
    return np.asarray(Image.open(buffer))


def _shown(scan: Scan, cut: Cut) -> Image.Image:
    """Return the whole plane in grey values of a screen."""
    pixels = np.swapaxes(scan.array[(slice(None),) * cut.axis + (cut.index,)], 0, 1)
    left, upper, right, lower = cut.box
    low, high = scan.limits
    if scan.limits != PLAIN:  # of what is seen, as a reader would set the window
        low, high = window_limits(pixels[math.floor(upper) : math.ceil(lower), math.floor(left) : math.ceil(right)])
    grey = np.nan_to_num((pixels.astype(np.float32) - low) * (255 / (high - low)))
    shown = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(shown if shown.shape[2] == 3 else shown[..., 0]))


def encode(pixels: np.ndarray) -> bytes:
    """Return PNG without any compression or metadata: all pictures of one size have the same number of bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
