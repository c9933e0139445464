"""Resampling: constants, ramps and areas are kept, axes are not mixed up, and thin masks are not lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis.resample import resample, resample_mask
from tests.toys import ball

GRIDS = [(13, 29), (29, 13), (16, 32), (32, 16), (20, 20), (48, 17)]


@pytest.mark.parametrize(("before", "after"), GRIDS)
def test_resampling_keeps_constants(spatial_dims, before, after):
    tensor = torch.full((2, 1, *[before] * spatial_dims), 0.37)
    out = resample(tensor, [after] * spatial_dims)
    assert out.shape == (2, 1, *[after] * spatial_dims)
    assert torch.allclose(out, torch.tensor(0.37), atol=1e-5)


@pytest.mark.parametrize(("before", "after"), GRIDS)
@pytest.mark.parametrize("axis", [0, -1])
def test_resampling_keeps_linear_ramps_away_from_the_edge(spatial_dims, before, after, axis):
    line = torch.arange(before, dtype=torch.float64)
    ramp = torch.movedim(line.expand(*[before] * spatial_dims), -1, axis)
    out = torch.movedim(resample(ramp[None], [after] * spatial_dims)[0], axis, -1)
    ratio = before / after
    expected = (torch.arange(after, dtype=torch.float64) + 0.5) * ratio - 0.5
    inner = slice(2, -2)
    # Tents of a width that is no whole number of pixels are not exactly balanced.
    tolerance = 1e-4 if ratio <= 1 or ratio == int(ratio) else 0.1 * ratio
    assert (out[..., inner] - expected[inner]).abs().max() <= tolerance


def test_resampling_to_the_same_grid_is_the_identity(spatial_dims):
    tensor = torch.rand((1, *[9] * spatial_dims), generator=torch.Generator().manual_seed(0))
    assert torch.equal(resample(tensor, tensor.shape[1:]), tensor)
    mask = (tensor > 0.5).float()
    assert torch.equal(resample_mask(mask, mask.shape[1:]), mask)


def test_axes_are_not_mixed_up(spatial_dims):
    shape, grid = (8, 12, 20)[:spatial_dims], (16, 6, 10)[:spatial_dims]
    for axis in range(spatial_dims):
        tensor = torch.zeros(1, *shape)
        tensor.narrow(1 + axis, 0, shape[axis] // 2).fill_(1)
        out = resample(tensor, grid)[0]
        assert out.shape == grid
        assert out.narrow(axis, 0, grid[axis] // 2 - 2).min() > 0.9
        assert out.narrow(axis, grid[axis] // 2 + 2, grid[axis] - grid[axis] // 2 - 2).max() < 0.1


def test_reduction_does_not_alias():
    stripes = (torch.arange(64) % 2).float().expand(1, 64, 64)
    assert (resample(stripes, (16, 16)) - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("cells", [24, 48, 70])
def test_mask_area_is_kept(spatial_dims, cells):
    mask = torch.from_numpy(ball(spatial_dims, 14, shape=[48] * spatial_dims).astype(np.float32))[None]
    grid = resample_mask(mask, [cells] * spatial_dims)
    assert set(grid.unique().tolist()) == {0.0, 1.0}
    assert float(grid.mean()) == pytest.approx(float(mask.mean()), rel=0.08)


def test_a_mask_thinner_than_a_cell_is_not_lost(spatial_dims):
    mask = torch.zeros(1, *[64] * spatial_dims)
    mask[(0, *[33] * spatial_dims)] = 1
    grid = resample_mask(mask, [8] * spatial_dims)
    assert grid.nonzero().tolist() == [[0, *[4] * spatial_dims]]


def test_an_empty_mask_stays_empty(spatial_dims):
    assert resample_mask(torch.zeros(1, *[16] * spatial_dims), [8] * spatial_dims).sum() == 0


@pytest.mark.parametrize(("before", "after"), GRIDS)
def test_a_part_is_the_part_of_the_whole(spatial_dims, before, after):
    shape = (2, *[before] * spatial_dims)
    tensor = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    within = (slice(2, after - 1), slice(0, 5), slice(after - 4, after))[:spatial_dims]
    whole = resample(tensor, [after] * spatial_dims)
    part = resample(tensor, [after] * spatial_dims, within)
    assert torch.allclose(part, whole[(slice(None), *within)], atol=1e-6)


def test_members_of_a_batch_are_resampled_alike(spatial_dims):
    shape = (3, 2, *[19] * spatial_dims)
    batch = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    whole = resample(batch, [31] * spatial_dims)
    assert torch.equal(resample(batch.flip(0), [31] * spatial_dims).flip(0), whole)
    assert torch.allclose(resample(batch[1], [31] * spatial_dims), whole[1], atol=1e-6)


@pytest.mark.parametrize("strides", ["transposed", "sliced"])
def test_memory_layout_does_not_matter(spatial_dims, strides):
    base = torch.rand((1, *[24] * spatial_dims), generator=torch.Generator().manual_seed(0))
    view = base.transpose(1, 2) if strides == "transposed" else base[:, ::2]
    grid = [17] * spatial_dims
    assert torch.equal(resample(view, grid), resample(view.contiguous(), grid))
