"""What every ``LatentValidator`` promises. A new one is one more line in ``VALIDATORS``."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import ChangeValidator, NetworkValidator
from tests.tiny_networks import LATENT_CHANNELS, tiny_validator_net

VALIDATORS = {
    "change": lambda spatial_dims: ChangeValidator(),
    "network": lambda spatial_dims: NetworkValidator(tiny_validator_net(spatial_dims)),
}
CELLS = 4


@pytest.fixture(params=list(VALIDATORS))
def validator(request, spatial_dims):
    return VALIDATORS[request.param](spatial_dims)


def latents(spatial_dims, count=3, seed=0):
    shape = (count, LATENT_CHANNELS, *[CELLS] * spatial_dims)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class TestValidator:
    @pytest.mark.parametrize("side", [16, 24, 4])
    def test_probabilities_come_on_the_window_grid(self, validator, spatial_dims, side):
        size = (side, *[16] * (spatial_dims - 1))
        probability = validator(latents(spatial_dims), latents(spatial_dims, seed=1), size)
        assert probability.shape == (3, 1, *size) and probability.dtype == torch.float32
        assert probability.min() >= 0 and probability.max() <= 1

    def test_deterministic_and_its_input_stays(self, validator, spatial_dims):
        latent, source = latents(spatial_dims), latents(spatial_dims, seed=1)
        before = latent.clone(), source.clone()
        size = (16,) * spatial_dims
        assert torch.equal(validator(latent, source, size), validator(latent, source, size))
        assert torch.equal(latent, before[0]) and torch.equal(source, before[1])

    def test_it_looks_at_the_latent(self, validator, spatial_dims):
        source, size = latents(spatial_dims, seed=1), (16,) * spatial_dims
        one = validator(latents(spatial_dims), source, size)
        assert not torch.equal(one, validator(latents(spatial_dims, seed=2), source, size))

    def test_batch_mates_do_not_matter(self, validator, spatial_dims):
        latent, source, size = latents(spatial_dims), latents(spatial_dims, seed=1), (16,) * spatial_dims
        whole = validator(latent, source, size)
        assert torch.equal(validator(latent[[2, 0, 1]], source[[2, 0, 1]], size), whole[[2, 0, 1]])
        padded = validator(latent[[1, 1, 1]], source[[1, 1, 1]], size)
        assert all(torch.equal(one, whole[1]) for one in padded)

    def test_no_gradient_is_kept(self, validator, spatial_dims):
        latent = latents(spatial_dims)
        assert not validator(latent, latent * 2, (16,) * spatial_dims).requires_grad

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies_see_alike(self, validator, spatial_dims, copied):
        latent, source, size = latents(spatial_dims), latents(spatial_dims, seed=1), (16,) * spatial_dims
        assert torch.equal(copied(validator)(latent, source, size), validator(latent, source, size))

    def test_global_random_state_is_left_alone(self, validator, spatial_dims):
        numpy_, torch_ = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
        validator(latents(spatial_dims), latents(spatial_dims, seed=1), (16,) * spatial_dims)
        after = np.random.get_state()  # noqa: NPY002
        assert (after[1] == numpy_[1]).all() and after[2] == numpy_[2]
        assert torch.equal(torch.random.get_rng_state(), torch_)


def changed(spatial_dims, strength, side=24):
    source = torch.zeros(1, 1, *[side] * spatial_dims)
    mask = torch.zeros_like(source)
    mask[(..., *[slice(6, 18)] * spatial_dims)] = 1
    return source + strength * mask, source, mask


@pytest.mark.parametrize("sign", [-1, 1])
def test_change_is_seen_where_it_is(spatial_dims, sign):
    latent, source, mask = changed(spatial_dims, 0.1 * sign)
    found = (ChangeValidator()(latent, source, latent.shape[2:]) > 0.5).float()
    assert float((found * mask).sum() / torch.maximum(found, mask).sum()) > 0.7


def test_no_change_is_no_lesion(spatial_dims):
    latent, source, _ = changed(spatial_dims, 0.0)
    assert not (ChangeValidator()(latent, source, latent.shape[2:]) > 0.5).any()
    faint, source, _ = changed(spatial_dims, 0.03)
    assert not (ChangeValidator(threshold=0.05)(faint, source, faint.shape[2:]) > 0.5).any()


def test_change_does_not_wrap_around_the_window(spatial_dims):
    """What is painted at one edge is not seen at the opposite one."""
    source = torch.zeros(1, 1, *[16] * spatial_dims)
    latent = source.clone()
    latent[:, :, :3] = 1.0
    found = ChangeValidator()(latent, source, source.shape[2:]) > 0.5
    assert found[:, :, 0].all() and not found[:, :, -1].any()


@pytest.mark.parametrize("threshold", [0.0, -0.1])
def test_the_threshold_is_positive(threshold):
    with pytest.raises(ValueError, match="threshold"):
        ChangeValidator(threshold=threshold)


def test_the_network_is_in_evaluation_mode(spatial_dims):
    net = tiny_validator_net(spatial_dims).train()
    validator = NetworkValidator(net)
    assert not validator.network.training
    # The caller's network is not frozen behind his back, and no graph is built all the same.
    assert all(p.requires_grad for p in net.parameters())
    latent = latents(spatial_dims)
    assert not validator(latent, latent, (16,) * spatial_dims).requires_grad


def test_the_network_ignores_the_source(spatial_dims):
    validator, latent = NetworkValidator(tiny_validator_net(spatial_dims)), latents(spatial_dims)
    size = (16,) * spatial_dims
    assert torch.equal(validator(latent, latent, size), validator(latent, latent * 0, size))
