"""Overlapping windows over a grid, and their blend."""

from __future__ import annotations

import pytest
import torch

from monai_diffaug.synthesis.tiles import Tiles

GRIDS = {2: ((13, 22), (8, 8)), 3: ((9, 12, 7), (6, 6, 6))}


def whole_grid(spatial_dims, times=1):
    shape = [n * times for n in GRIDS[spatial_dims][0]]
    return torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.75])
def test_every_cell_is_covered_and_neighbours_overlap_enough(spatial_dims, overlap):
    shape, window = GRIDS[spatial_dims]
    tiles = Tiles(shape, window, overlap=overlap)
    covered = torch.zeros(shape)
    for box in tiles.boxes:
        covered[box] += 1
        assert [part.stop - part.start for part in box] == list(window)
    assert covered.min() >= 1
    for axis, cells in enumerate(window):
        starts = sorted({box[axis].start for box in tiles.boxes})
        assert max((b - a for a, b in zip(starts, starts[1:], strict=False)), default=0) <= cells * (1 - overlap) + 1
    assert len(set(map(str, tiles.boxes))) == len(tiles.boxes)


@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_windows_agree_on_comes_back_at_any_resolution(spatial_dims, times, batch_size):
    shape, window = GRIDS[spatial_dims]
    tiles, whole, seen = Tiles(shape, window, batch_size=batch_size), whole_grid(spatial_dims, times), []
    back = tiles(lambda windows: seen.append(windows.shape) or windows, whole)
    torch.testing.assert_close(back, whole)
    assert set(seen) == {(tiles.rows, 2, *(n * times for n in window))}
    assert tiles.rows <= batch_size and len(seen) == -(-len(tiles.boxes) // batch_size)


def test_windows_may_come_back_finer_and_with_other_channels(spatial_dims):
    shape, window = GRIDS[spatial_dims]
    sizes = [3 * n for n in window]
    back = Tiles(shape, window)(lambda windows: torch.full((len(windows), 5, *sizes), 0.3), whole_grid(spatial_dims))
    assert back.shape == (1, 5, *(3 * n for n in shape))
    torch.testing.assert_close(back, torch.full_like(back, 0.3))


def test_where_windows_differ_the_blend_has_no_step():
    """Two windows that answer 0 and 1: the blend rises by small steps all along their overlap."""
    answers = iter([0.0, 1.0])
    back = Tiles((32, 48), (32, 32))(lambda windows: torch.full_like(windows, next(answers)), torch.zeros(1, 1, 32, 48))
    rise = back[0, 0, 16].diff()
    assert rise.min() >= 0 and rise.max() < 0.15
    assert back[0, 0, 16, 0] == 0 and back[0, 0, 16, -1] == 1


@pytest.mark.parametrize(
    ("window", "options", "message"),
    [
        ((16, 8), {}, "does not fit"),
        ((8,), {}, "does not fit"),
        ((8, 8), {"overlap": 1.0}, "overlap must lie"),
        ((8, 8), {"batch_size": 0}, "batch_size be 1"),
    ],
)
def test_what_cannot_be_is_refused(window, options, message):
    with pytest.raises(ValueError, match=message):
        Tiles((8, 16), window, **options)
