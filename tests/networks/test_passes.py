"""What goes through the networks at once in a training; its keys are the composite's."""

from __future__ import annotations

import pytest
import torch

from monai_diffaug.networks.passes import AutoencoderPass, DenoiserPass, ValidatorPass
from tests.tiny_networks import LATENT_CHANNELS, tiny_autoencoder, tiny_denoiser, tiny_text_encoder, tiny_validator_net
from tests.tiny_training import toy_composite


def test_keys_are_those_of_the_composite(spatial_dims: int) -> None:
    whole = toy_composite(spatial_dims)
    passes = [
        AutoencoderPass(whole.autoencoder),
        DenoiserPass(whole.denoiser, whole.text_encoder),
        ValidatorPass(whole.validator),
    ]
    keys = [set(one.state_dict()) for one in passes]
    assert set.union(*keys) == set(whole.state_dict()) - {"latent_mean", "latent_std"}
    assert sum(len(one) for one in keys) == len(set.union(*keys))


def test_autoencoder_decodes_the_mean_or_a_draw(spatial_dims: int) -> None:
    network = AutoencoderPass(tiny_autoencoder(spatial_dims)).eval()
    image = torch.rand(2, 1, *(16,) * spatial_dims)
    with torch.no_grad():
        made, mean, deviation = network(image)
        assert made.shape == image.shape and mean.shape == deviation.shape == (2, LATENT_CHANNELS, *(4,) * spatial_dims)
        assert torch.equal(made, network.autoencoder.decode(mean)) and (deviation > 0).all()
        first, again, other = (network(image, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, made)


def test_denoiser_hears_the_text(spatial_dims: int) -> None:
    network = DenoiserPass(tiny_denoiser(spatial_dims), tiny_text_encoder()).eval()
    x, times, scale = torch.randn(2, 5, *(8,) * spatial_dims), torch.tensor([0.0, 900.0]), torch.zeros(2)
    with torch.no_grad():
        red, none = (network(x, times, [text] * 2, scale) for text in ("red polyp", ""))
        far = network(x, times, ["red polyp"] * 2, scale + 1)
    assert red.shape == (2, LATENT_CHANNELS, *(8,) * spatial_dims)
    assert not torch.equal(red, none) and not torch.equal(red, far)


def test_validator_is_its_network(spatial_dims: int) -> None:
    network = ValidatorPass(tiny_validator_net(spatial_dims)).eval()
    latent = torch.randn(1, LATENT_CHANNELS, *(4,) * spatial_dims)
    with torch.no_grad():
        assert torch.equal(network(latent), network.validator(latent))


@pytest.mark.parametrize("prompts", [["red polyp", ""], ["", ""]])
def test_every_weight_of_the_denoiser_gets_a_gradient(prompts: list[str]) -> None:
    """Data-parallel training waits for all of them, whichever texts are in a batch."""
    network = DenoiserPass(tiny_denoiser(2), tiny_text_encoder())
    network(torch.randn(2, 5, 8, 8), torch.tensor([1.0, 2.0]), prompts, torch.zeros(2)).square().mean().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
