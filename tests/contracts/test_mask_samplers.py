"""What every ``MaskSampler`` promises. A new one is one more line in ``SAMPLERS``."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from scipy import ndimage

from monai_diffaug.synthesis import FormulaShapes, NoRoomError, OutlineBank, PhysicalSize, RandomMask, RelativeSize
from monai_diffaug.synthesis.attributes import extent_of
from tests.toys import ball

FIELDS = {2: (90, 110), 3: (44, 50, 48)}


def bank(spatial_dims):
    """Return three real-looking outlines, one of them concave."""
    round_, bitten = ball(spatial_dims, 8, shape=[20] * spatial_dims), ball(spatial_dims, 8, shape=[20] * spatial_dims)
    bitten &= ~ball(spatial_dims, 5, centre=[10, 17, 10][:spatial_dims], shape=[20] * spatial_dims)
    bar = np.ones((15, *[6] * (spatial_dims - 1)), bool)
    return OutlineBank([round_, bitten, bar])


SAMPLERS = {
    "formula, mm": lambda spatial_dims: RandomMask(FormulaShapes(), PhysicalSize(8, 20)),
    "formula, relative": lambda spatial_dims: RandomMask(FormulaShapes(lobes=0.7), RelativeSize(0.15, 0.4)),
    "bank": lambda spatial_dims: RandomMask(bank(spatial_dims), PhysicalSize(8, 20)),
}


@pytest.fixture(params=list(SAMPLERS))
def sampler(request, spatial_dims):
    return SAMPLERS[request.param](spatial_dims)


def draw(sampler, allowed, seed, spacing=None):
    return sampler(allowed, spacing or (1.0,) * allowed.ndim, np.random.default_rng(seed))


class TestMaskSampler:
    def test_one_connected_mask_inside_the_allowed_places(self, sampler, spatial_dims):
        allowed = np.zeros(FIELDS[spatial_dims], bool)
        allowed[5:-5] = True
        allowed &= ~ball(spatial_dims, 8, shape=allowed.shape)
        for seed in range(15):
            mask = draw(sampler, allowed, seed)
            assert mask.dtype == bool and mask.shape == allowed.shape and mask.any()
            assert not (mask & ~allowed).any()
            assert ndimage.label(mask)[1] == 1

    def test_everything_comes_from_the_generator(self, sampler, spatial_dims):
        allowed = np.ones(FIELDS[spatial_dims], bool)
        assert (draw(sampler, allowed, 3) == draw(sampler, allowed, 3)).all()
        drawn = [draw(sampler, allowed, seed) for seed in range(6)]
        assert len({mask.tobytes() for mask in drawn}) == 6
        assert len({int(mask.sum()) for mask in drawn}) >= 4

    def test_global_random_state_is_left_alone(self, sampler, spatial_dims):
        before = np.random.get_state()  # noqa: NPY002
        draw(sampler, np.ones(FIELDS[spatial_dims], bool), 0)
        after = np.random.get_state()  # noqa: NPY002
        assert (after[1] == before[1]).all() and after[2] == before[2]

    def test_the_allowed_places_stay(self, sampler, spatial_dims):
        allowed = np.ones(FIELDS[spatial_dims], bool)
        allowed[:7] = False
        before = allowed.copy()
        allowed.flags.writeable = False
        mask = draw(sampler, allowed, 0)
        assert (allowed == before).all() and not np.shares_memory(mask, allowed)

    def test_sizes_are_physical(self, sampler, spatial_dims):
        """Halving the spacing along one axis doubles the mask's pixels there, for equal draws."""
        fine = (0.5, *[1.0] * (spatial_dims - 1))
        shape = FIELDS[spatial_dims]
        doubled = np.ones((2 * shape[0], *shape[1:]), bool)
        for seed in range(8):
            plain, stretched = draw(sampler, np.ones(shape, bool), seed), draw(sampler, doubled, seed, fine)
            assert stretched.sum() == pytest.approx(2 * plain.sum(), rel=0.25)
            ones = (1.0,) * spatial_dims
            assert extent_of(stretched, fine) == pytest.approx(extent_of(plain, ones), abs=2.5)

    def test_no_room_is_said(self, sampler, spatial_dims):
        with pytest.raises(NoRoomError, match="regions"):
            draw(sampler, np.zeros(FIELDS[spatial_dims], bool), 0)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies_draw_alike(self, sampler, spatial_dims, copied):
        allowed = np.ones(FIELDS[spatial_dims], bool)
        assert (draw(copied(sampler), allowed, 1) == draw(sampler, allowed, 1)).all()


def test_only_real_outlines_come_from_a_bank(spatial_dims):
    """Scaled to its own size, a drawn mask is one of the bank's outlines, flipped or turned."""
    outline = ball(spatial_dims, 8, shape=[17] * spatial_dims)
    outline[(slice(0, 8),) * spatial_dims] = False
    wanted = outline.sum() / 17**spatial_dims
    sampler = RandomMask(OutlineBank([outline]), PhysicalSize(34, 34))
    for seed in range(5):
        mask = draw(sampler, np.ones([60] * spatial_dims, bool), seed)
        assert mask.sum() / 34**spatial_dims == pytest.approx(wanted, rel=0.08)
