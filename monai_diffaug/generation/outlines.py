"""Trace the border of a mask as SVG path data, by marching squares."""

from __future__ import annotations

import numpy as np

STEPS = 4  # path units per pixel: whole numbers keep the path short


def trace(coverage: np.ndarray) -> str:
    """Return closed outlines at half coverage as SVG path data, in quarter pixels from the upper left corner.

    Args:
        coverage: (H, W), in [0, 1]: how much of each pixel is covered. Where nothing reaches one half (a lesion smaller
            than a pixel) the line is drawn at half of the largest value, so that nothing is lost from sight.

    Example:
        >>> trace(np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]))
        'M4 6l2-2 2 2-2 2z'
        >>> trace(np.zeros((3, 3)))
        ''
    """
    peak = float(coverage.max(initial=0.0))
    if peak <= 0:
        return ""
    field = np.pad(coverage.astype(np.float64), 1)  # a ring of zeros closes every line
    level = min(0.5, peak / 2)
    loops = _loops(_links(field >= level))
    return "".join(_write(_points(field, level, np.array(loop))) for loop in loops)


def _points(field: np.ndarray, level: float, edges: np.ndarray) -> np.ndarray:
    """Cross the given edges at the level: (N, 2), x and y in path units."""
    width = field.shape[1]
    corner, downward = edges // 2, edges % 2
    here, there = field.ravel()[corner], field.ravel()[corner + np.where(downward, width, 1)]
    along = (level - here) / (there - here)
    points = np.stack([corner % width + along * (1 - downward), corner // width + along * downward], -1)
    # The ring moved everything by one, and a pixel's value belongs to its middle.
    inside = np.clip(points - 0.5, 0, [width - 2, field.shape[0] - 2])
    return np.rint(STEPS * inside).astype(int)


def _links(inside: np.ndarray) -> dict[int, list[int]]:
    """Join the crossed edges cell by cell; edge 2n leads from grid point n to the right, edge 2n + 1 downward."""
    width = inside.shape[1]
    corner = 2 * np.arange(inside.size).reshape(inside.shape)[:-1, :-1]
    top, left, bottom, right = corner, corner + 1, corner + 2 * width, corner + 3
    a, b, c, d = inside[:-1, :-1], inside[:-1, 1:], inside[1:, :-1], inside[1:, 1:]
    edges = np.stack([top, left, bottom, right], -1)
    crossed = np.stack([a != b, a != c, c != d, b != d], -1)
    # Two crossings make one piece of line, four (a saddle) make two: top with left, bottom with right.
    pieces = edges[crossed].reshape(-1, 2)
    neighbours: dict[int, list[int]] = {}
    for one, other in pieces.tolist():
        neighbours.setdefault(one, []).append(other)
        neighbours.setdefault(other, []).append(one)
    return neighbours


def _loops(neighbours: dict[int, list[int]]) -> list[list[int]]:
    """Walk the links into closed loops; every edge has two neighbours and lies on one loop."""
    loops, seen = [], set()
    for start in neighbours:
        loop, edge = [], start
        while edge not in seen:
            seen.add(edge)
            loop.append(edge)
            one, other = neighbours[edge]
            edge = other if one in seen else one
        if loop:
            loops.append(loop)
    return loops


def _write(points: np.ndarray) -> str:
    kept = points[::2] if len(points) > 24 else points  # every other point is still finer than the eye
    steps = np.diff(kept, axis=0)
    moves = "".join(f"{' ' if x >= 0 else ''}{x}{' ' if y >= 0 else ''}{y}" for x, y in steps.tolist() if x or y)
    return f"M{kept[0, 0]} {kept[0, 1]}l{moves.lstrip()}z" if moves else ""
