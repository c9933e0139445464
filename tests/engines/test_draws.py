"""Draws by number: any step's batch can be made again, on any process."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_diffaug.engines.draws import StepBatches, rng_for, turn


def test_a_draw_depends_on_its_numbers_alone() -> None:
    draws = {(seed, index): rng_for(seed, index).random() for seed in range(3) for index in range(3)}
    assert len(set(draws.values())) == 9
    assert all(rng_for(*numbers).random() == value for numbers, value in draws.items())


def test_maps_are_turned_together(spatial_dims: int) -> None:
    cells = torch.arange(6**spatial_dims).reshape(1, *(6,) * spatial_dims)
    seen = set()
    for seed in range(20):
        one, other = turn([cells, cells * 2], np.random.default_rng(seed))
        assert torch.equal(one * 2, other) and one.is_contiguous()
        assert torch.equal(one.flatten().sort().values, cells.flatten())
        seen.add(tuple(one.flatten().tolist()))
    assert len(seen) > 4


def test_turning_keeps_neighbours(spatial_dims: int) -> None:
    cells = torch.arange(4**spatial_dims).reshape(1, *(4,) * spatial_dims)
    (turned,) = turn([cells], np.random.default_rng(1))
    steps = {abs(int(turned.diff(dim=axis).flatten()[0])) for axis in range(1, spatial_dims + 1)}
    assert steps == {4**axis for axis in range(spatial_dims)}


class TestStepBatches:
    def test_a_step_holds_the_same_draws_wherever_a_run_begins(self) -> None:
        whole = list(StepBatches(3, 7))
        for start in range(8):
            rest = StepBatches(3, 7).starting_at(start)
            assert list(rest) == whole[start:] and len(rest) == 7 - start

    def test_processes_share_out_the_draws(self) -> None:
        ranks = [list(StepBatches(2, 3, rank=rank, world=2)) for rank in range(2)]
        drawn = [index for batches in ranks for batch in batches for index in batch]
        assert sorted(drawn) == list(range(12))

    @pytest.mark.parametrize(("size", "steps"), [(0, 1), (1, 0)])
    def test_sizes_below_one_are_refused(self, size: int, steps: int) -> None:
        with pytest.raises(ValueError, match="1 or more"):
            StepBatches(size, steps)
