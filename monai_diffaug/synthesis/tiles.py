"""Overlapping windows over a whole grid, and what is seen through them put together without seams."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor


class Tiles:
    """Cut a grid into overlapping windows and blend what comes back, by weights that fall to nothing at their edges.

    Windows are evenly spread and meet the grid's edges. The same tiles serve every resolution of the grid: a tensor
    whose sizes are multiples of the grid is cut into windows that are multiples as well.

    Args:
        shape: the grid, cells on each axis.
        window: cells of a window on each axis, at most those of the grid.
        overlap: least share of a window that its neighbour covers too, in [0, 1).
        batch_size: windows that are worked on at once, at most. All batches have one shape, ``rows``, the smallest
            that needs no more batches; the last window is repeated to fill them.

    Raises:
        ValueError: where the window does not fit into the grid, or overlap or batch size are out of range.

    Example:
        >>> import torch
        >>> tiles = Tiles((10, 16), (8, 8), overlap=0.25, batch_size=4)
        >>> len(tiles.boxes)
        6
        >>> whole = torch.rand(1, 2, 20, 32)
        >>> torch.allclose(tiles(lambda windows: windows, whole), whole, atol=1e-6)
        True
    """

    def __init__(
        self, shape: Sequence[int], window: Sequence[int], *, overlap: float = 0.5, batch_size: int = 1
    ) -> None:
        if len(shape) != len(window) or any(w > n or w < 1 for n, w in zip(shape, window, strict=True)):
            raise ValueError(f"a window of {tuple(window)} cells does not fit a grid of {tuple(shape)}; enlarge it")
        if not 0 <= overlap < 1 or batch_size < 1:
            raise ValueError(f"overlap must lie in [0, 1) and batch_size be 1 or more, got {overlap} and {batch_size}")
        self.shape, self.window = tuple(shape), tuple(window)
        starts = [_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
        self.boxes = [tuple(slice(a, a + w) for a, w in zip(low, window, strict=True)) for low in product(*starts)]
        self.rows = math.ceil(len(self.boxes) / math.ceil(len(self.boxes) / batch_size))

    def __call__(self, work: Callable[[Tensor], Tensor], whole: Tensor) -> Tensor:
        """Return the blend (1, c', *shape * k') of ``work`` on every window of ``whole`` (1, c, *shape * k).

        Args:
            work: ``(rows, c, *window * k) -> (rows, c', *window * k')``.
            whole: its sizes are a multiple of the grid.
        """
        total = share = torch.empty(0)
        for boxes, windows in self._batches(whole):
            seen = work(windows)
            weights = _hann(seen.shape[2:]).to(seen)
            if not total.numel():
                total = seen.new_zeros(1, seen.shape[1], *_times(self.shape, self.window, seen.shape[2:]))
                share = seen.new_zeros(total.shape[2:])
            for box, one in zip(boxes, seen, strict=False):
                place = _scaled(box, self.shape, share.shape)
                total[0][(slice(None), *place)] += weights * one
                share[place] += weights
        return total / share

    def _batches(self, whole: Tensor) -> Iterator[tuple[list[tuple[slice, ...]], Tensor]]:
        """Yield so many boxes and their windows, of one shape."""
        for first in range(0, len(self.boxes), self.rows):
            boxes = self.boxes[first : first + self.rows]
            cut = [whole[0][(slice(None), *_scaled(box, self.shape, whole.shape[2:]))] for box in boxes]
            yield boxes, torch.stack(cut + cut[-1:] * (self.rows - len(cut)))


def _starts(count: int, window: int, overlap: float) -> list[int]:
    """Return where windows start on one axis: as few as overlap enough, from edge to edge."""
    gaps = math.ceil((count - window) / max(window * (1 - overlap), 1))
    return [round(step * (count - window) / max(gaps, 1)) for step in range(gaps + 1)]


def _hann(size: Sequence[int]) -> Tensor:
    """Return weights (*size), a raised cosine on each axis that is above 0 everywhere."""
    weights = torch.ones((), dtype=torch.float64)
    for count in size:
        phase = math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        weights = weights[..., None] * phase.sin().square()
    return weights


def _times(shape: Sequence[int], window: Sequence[int], size: Sequence[int]) -> list[int]:
    return [n * s // w for n, w, s in zip(shape, window, size, strict=True)]


def _scaled(box: Sequence[slice], shape: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    """Return a box of the grid on a tensor that is so many times finer."""
    finer = [s // n for n, s in zip(shape, size, strict=True)]
    return tuple(slice(part.start * k, part.stop * k) for part, k in zip(box, finer, strict=True))
