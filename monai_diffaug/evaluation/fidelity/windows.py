"""Show lesions alike, whoever made them: a window twice as wide as the lesion, a small crop, and its measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial import ConvexHull

from monai_diffaug.evaluation.fidelity.crops import lesion_crop
from monai_diffaug.evaluation.fidelity.rims import detail_ratio, edge_slope
from monai_diffaug.synthesis import WindowSampler
from monai_diffaug.synthesis.attributes import elongation, extent_of, measure, misfit
from monai_diffaug.synthesis.blend import paint_mask
from monai_diffaug.synthesis.resample import resample
from monai_diffaug.synthesis.window import bounding_box

SIDE, CROP = 224, 32
"""Cells of a window and of a crop on each axis."""
REAL, ACCEPTED, REFUSED, UNPAINTED = "real", "accepted", "refused", "seen before painting"
SHAPE = ("share", "extent", "roundness", "irregularity", "solidity")
LOOKS = ("colour", "brightness", "border", "texture", "shine", "rim", "sharpness")


@dataclass(frozen=True)
class LesionView:
    """One lesion as every measure sees it.

    Args:
        name: unlike any other of its set.
        case: the image that it comes from; lesions of one case are drawn together.
        status: ``real``, ``accepted``, ``refused``, or ``seen before painting``.
        facts: its ``SHAPE``, and its ``LOOKS`` where it was painted; extents are fractions of the shortest side.
        pixels: the longest side of its bounding box in image pixels.
        window: uint8 (C, 224, 224), twice as wide as the lesion; None unless it is real or accepted.
        crop: float32 (C, 32, 32), the lesion alone; None unless it is real or accepted.
        words: kind -> word (size, outline), as the bundle would say it.
    """

    name: str
    case: str
    status: str
    facts: Mapping[str, float]
    pixels: float
    window: np.ndarray | None = None
    crop: np.ndarray | None = None
    words: Mapping[str, str] = field(default_factory=dict)


def shape_of(mask: np.ndarray) -> dict[str, float]:
    """Return size and outline of a lesion, bool (*spatial): the values named in ``SHAPE``.

    ``share`` is of the image's area, ``roundness`` the shortest over the longest axis by second moments,
    ``irregularity`` the share outside the ellipse of the same moments, ``solidity`` the share of the convex hull.

    Example:
        >>> mask = np.zeros((40, 40), bool)
        >>> mask[10:20, 10:20] = True
        >>> shape = shape_of(mask)
        >>> shape["share"], shape["extent"], round(shape["roundness"], 3), round(shape["solidity"], 3)
        (0.0625, 0.25, 1.0, 1.0)
    """
    points = np.argwhere(mask).astype(float)
    corners = np.unique(np.concatenate([points + shift for shift in np.ndindex(*(2,) * mask.ndim)]), axis=0)
    return {
        "share": float(mask.mean()),
        "extent": extent_of(mask, (1.0,) * mask.ndim) / min(mask.shape),
        "roundness": 1 / elongation(points),
        "irregularity": misfit(points),
        "solidity": len(points) / float(ConvexHull(corners).volume),
    }


def looks_of(unit: np.ndarray, mask: np.ndarray, others: np.ndarray) -> dict[str, float]:
    """Return how a lesion looks: the values named in ``LOOKS``.

    Args:
        unit: the image in [0, 1], (C, *spatial).
        mask: the lesion, bool (*spatial), not empty.
        others: what else is labelled, bool (*spatial).
    """
    low, high = bounding_box(mask)
    reach = 16 + int((high - low).max()) // 2
    box = tuple(slice(max(a - reach, 0), b + reach) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    part, own = unit[(slice(None), *box)], mask[box]
    grey, paint = part.mean(0), paint_mask(own, None, (1.0,) * own.ndim, margin=0.1)
    edges = {"rim": edge_slope(grey, own), "sharpness": detail_ratio(grey, own, paint, others[box] & ~own)}
    return {**measure(part, own), **edges}


def window_of(unit: np.ndarray, mask: np.ndarray, *, side: int = SIDE) -> np.ndarray:
    """Return a lesion's window, uint8 (C, side, ...): a square twice its extent, moved into the image where it can be.

    Args:
        unit: the image in [0, 1], (C, *spatial).
        mask: the lesion, bool (*spatial), not empty.
        side: cells on each axis; small lesions are enlarged, large ones reduced.
    """
    sampler = WindowSampler((side,), factors=(2, 2), jitter=0, max_reduction=math.inf, max_enlargement=math.inf)
    window = sampler(mask, (1.0,) * mask.ndim, np.random.default_rng(0))  # nothing is left to chance
    part = window.extend(unit[(slice(None), *window.inside(mask.shape))], mask.shape)
    cells = resample(torch.from_numpy(np.ascontiguousarray(part, np.float32)), window.size).numpy()
    return np.rint(cells.clip(0, 1) * 255).astype(np.uint8)


def view_of(unit: np.ndarray, mask: np.ndarray, others: np.ndarray, *, name: str, case: str, status: str) -> LesionView:
    """Return the view of a lesion that is there to be seen; arguments as for ``looks_of`` and ``LesionView``."""
    facts = {**shape_of(mask), **looks_of(unit, mask, others)}
    shown = (window_of(unit, mask), lesion_crop(unit, mask, CROP)) if status in (REAL, ACCEPTED) else (None, None)
    return LesionView(name, case, status, facts, extent_of(mask, (1.0,) * mask.ndim), *shown)


def values_of(views: Sequence[LesionView], name: str) -> np.ndarray:
    """Return one fact of every view, NaN where it has none, (N,)."""
    return np.array([view.facts.get(name, math.nan) for view in views], float)


def windows_of(views: Sequence[LesionView]) -> np.ndarray:
    """Return all windows, uint8 (N, C, 224, 224)."""
    return np.stack([view.window for view in views if view.window is not None])
