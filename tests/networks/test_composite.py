"""The bundle's one network: it paints inside the mask only, always the same, and loads what fits it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_diffaug.networks.composite import load_weights
from tests.tiny_training import toy_composite


def picture(spatial_dims: int) -> torch.Tensor:
    """Return image and mask as one batch of two, (2, 2, *size)."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 1, *(16,) * spatial_dims, generator=generator) * 2 - 1
    mask = torch.zeros_like(image)
    mask[(slice(None), slice(None), *(slice(4, 10),) * spatial_dims)] = 1
    return torch.cat([image, mask], dim=1)


def test_forward_is_deterministic_and_leaves_the_outside_alone(spatial_dims: int) -> None:
    network, x = toy_composite(spatial_dims).eval(), picture(spatial_dims)
    before = torch.get_rng_state()
    painted = network(x)
    assert torch.equal(painted, network(x)) and torch.equal(before, torch.get_rng_state())
    outside = x[:, 1:] == 0
    assert torch.equal(painted[outside], x[:, :1][outside])
    assert (painted[~outside] != x[:, :1][~outside]).float().mean() > 0.9
    assert painted.min() >= -1 and painted.max() <= 1


def test_batch_mates_do_not_matter(spatial_dims: int) -> None:
    network, x = toy_composite(spatial_dims).eval(), picture(spatial_dims)
    x = torch.cat([x[:1], x[:1]])
    assert torch.allclose(network(x)[:1], network(x[:1]), atol=1e-4)


def test_latents_are_normalised_by_the_buffers() -> None:
    network, x = toy_composite(2).eval(), picture(2)
    plain = network(x)
    network.latent_std *= 3
    assert not torch.equal(plain, network(x))


class TestLoading:
    def test_half_precision_is_widened(self, tmp_path: Path, spatial_dims: int) -> None:
        network = toy_composite(spatial_dims)
        half = {
            name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()
        }
        torch.save(half, tmp_path / "model.pt")
        loaded = load_weights(toy_composite(spatial_dims).train(), tmp_path / "model.pt")
        assert not loaded.training
        for name, value in loaded.state_dict().items():
            assert torch.equal(value, half[name].to(value.dtype))
            assert not value.is_floating_point() or value.dtype == torch.float32

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="weights .*model.pt are missing; train the bundle"):
            load_weights(toy_composite(2), tmp_path / "model.pt")

    def test_what_does_not_fit_is_named(self, tmp_path: Path) -> None:
        state = toy_composite(2).state_dict()
        cases = {
            "latent_mean": {name: value for name, value in state.items() if name != "latent_mean"},
            "surplus": {**state, "surplus": torch.zeros(1)},
            "latent_std": {**state, "latent_std": torch.ones(7)},
        }
        for name, broken in cases.items():
            torch.save(broken, tmp_path / "model.pt")
            with pytest.raises(ValueError, match=f"do not fit the bundle's network: 1 entries differ, .*{name}"):
                load_weights(toy_composite(2), tmp_path / "model.pt")
