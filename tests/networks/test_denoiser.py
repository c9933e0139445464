"""The denoiser of two behaviours: the same before any distillation, told apart by an embedding after it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from monai_diffaug.networks import DistillableUNet
from monai_diffaug.synthesis import Canvas
from tests.tiny_networks import HIDDEN_SIZE, LATENT_CHANNELS, tiny_denoiser, tiny_inpainter, tiny_unet


def asked(spatial_dims: int, rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(rows, 2 * LATENT_CHANNELS + 1, *(4,) * spatial_dims, generator=generator)
    return x, torch.full((rows,), 400.0), torch.randn(rows, 2, HIDDEN_SIZE, generator=generator)


@torch.no_grad()
def test_before_distillation_both_behaviours_are_those_of_the_plain_network(spatial_dims: int) -> None:
    plain, ours = tiny_unet(spatial_dims)().eval(), DistillableUNet(tiny_unet(spatial_dims)).eval()
    weights = {name: torch.full_like(value, 0.05) for name, value in plain.state_dict().items()}
    plain.load_state_dict(weights)
    lacking = ours.unet.load_state_dict(weights, strict=False)
    assert lacking.missing_keys == ["class_embedding.weight"] and not lacking.unexpected_keys
    x, timesteps, context = asked(spatial_dims)
    expected = plain(x, timesteps, context=context)
    assert expected.any() and torch.equal(ours(x, timesteps, context), expected)
    for flags in ([False] * 3, [True] * 3, [True, False, True]):
        assert torch.equal(ours(x, timesteps, context, torch.tensor(flags)), expected)


@torch.no_grad()
def test_the_embedding_tells_samples_apart(spatial_dims: int) -> None:
    denoiser = tiny_denoiser(spatial_dims).eval()
    plain, distilled = denoiser(*asked(spatial_dims)), denoiser.distilled()(*asked(spatial_dims))
    mixed = denoiser(*asked(spatial_dims), torch.tensor([False, True, False]))
    assert torch.allclose(mixed[::2], plain[::2], atol=1e-6) and torch.allclose(mixed[1], distilled[1], atol=1e-6)
    assert not torch.allclose(mixed[1], plain[1], atol=1e-2)


def test_the_distilled_one_has_the_same_weights_and_place() -> None:
    denoiser = tiny_denoiser(2)
    distilled = denoiser.distilled()
    assert {id(weight) for weight in distilled.parameters()} == {id(weight) for weight in denoiser.parameters()}
    denoiser.double()
    assert next(distilled.parameters()).dtype == torch.float64


def test_an_inpainter_can_be_given_either(spatial_dims: int) -> None:
    inpainter = tiny_inpainter(spatial_dims)
    image = torch.zeros(1, 1, *(16,) * spatial_dims)
    mask = torch.zeros_like(image)
    mask[(..., *(slice(4, 12),) * spatial_dims)] = 1
    latent = inpainter.encode(image)
    canvas = Canvas(latent, latent, mask, mask, torch.zeros(1))
    plain = inpainter.inpaint(canvas, ["red polyp"], [3])
    inpainter.denoiser = tiny_denoiser(spatial_dims).distilled()
    assert not torch.allclose(inpainter.inpaint(canvas, ["red polyp"], [3]), plain, atol=1e-3)


def test_only_a_network_with_class_embeddings_will_do() -> None:
    with pytest.raises(AttributeError, match="class_embedding"):
        DistillableUNet(lambda num_class_embeds: torch.nn.Identity())
