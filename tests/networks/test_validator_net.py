"""The latent segmentation network, and the package's lazy names."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

import monai_diffaug.networks as networks
from monai_diffaug.networks.validator_net import LatentSegmentationNet
from tests.tiny_networks import tiny_validator_net


def latents(spatial_dims, count=2, cells=4):
    return torch.randn((count, 2) + (cells,) * spatial_dims, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cells", [4, 5])
def test_logits_come_on_the_window_grid(cells, spatial_dims):
    logits = tiny_validator_net(spatial_dims)(latents(spatial_dims, cells=cells))
    assert logits.shape == (2, 1) + (4 * cells,) * spatial_dims


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_any_power_of_two_is_a_stride(stride, spatial_dims):
    with torch.random.fork_rng(devices=[]):
        net = LatentSegmentationNet(spatial_dims, 2, (4, 8), stride=stride, norm_num_groups=4, out_channels=3)
    assert net(latents(spatial_dims, count=1)).shape == (1, 3) + (4 * stride,) * spatial_dims


def test_batch_mates_do_not_matter(spatial_dims):
    net, latent = tiny_validator_net(spatial_dims).eval(), latents(spatial_dims)
    with torch.no_grad():
        assert torch.equal(net(latent).flip(0), net(latent.flip(0)))


def test_it_can_learn_a_mask():
    net, latent = tiny_validator_net(2), latents(2)
    target = torch.zeros(2, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(latent), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(weight.grad is not None for weight in net.parameters())
    assert losses[-1] < 0.3 * losses[0]


def test_copies_predict_the_same(spatial_dims):
    net, latent = tiny_validator_net(spatial_dims).eval(), latents(spatial_dims)
    with torch.no_grad():
        expected = net(latent)
        assert torch.equal(expected, pickle.loads(pickle.dumps(net))(latent))


def test_defaults_stay_below_a_million_weights_in_2d():
    with torch.random.fork_rng(devices=[]):
        net = LatentSegmentationNet(2, 4)
    assert 3e5 < sum(weight.numel() for weight in net.parameters()) < 1e6


@pytest.mark.parametrize("stride", [0, 3, -4])
def test_other_strides_are_refused(stride):
    with pytest.raises(ValueError, match="power of two"):
        LatentSegmentationNet(2, 2, (8,), stride=stride)


@pytest.mark.parametrize("channels", [(), (8, 12)])
def test_channels_must_fit_the_groups(channels):
    with pytest.raises(ValueError, match="multiples of 8 groups"):
        LatentSegmentationNet(2, 2, channels)


def test_package_names_resolve_and_import_stays_cheap():
    assert networks.LatentSegmentationNet is LatentSegmentationNet
    assert set(networks.__all__) <= set(dir(networks))
    for name in networks.__all__:
        assert callable(getattr(networks, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        networks.nothing  # noqa: B018
    check = (
        "import sys, monai_diffaug.networks; print([m for m in ('torch', 'monai', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True).stdout.strip() == "[]"
