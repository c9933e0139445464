"""Normal images from noise, with real networks at tiny size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_diffaug.synthesis import LatentDiffusionInpainter, SceneMaker, Stage
from monai_diffaug.synthesis.diffusion import draw_noise
from monai_diffaug.synthesis.scenes import STAGES
from tests.tiny_networks import tiny_inpainter

SHAPES = {2: (24, 37), 3: (16, 22, 18)}
STAGE_LIST = [Stage(16, side=16, start=1.0, steps=2), Stage(16, steps=1)]


def make(spatial_dims, *, seed=3, stages=STAGE_LIST, batch_size=2, shape=None):
    maker = SceneMaker(tiny_inpainter(spatial_dims), stages, channels=1, batch_size=batch_size)
    return maker(seed, shape or SHAPES[spatial_dims])


class Latents(nn.Module):
    """An autoencoder of stride 2 without weights."""

    def encode(self, image):
        for axis in range(2, image.ndim):
            image = (image.unfold(axis, 2, 2)).mean(-1)
        return image, None

    def decode(self, latent):
        for axis in range(2, latent.ndim):
            latent = latent.repeat_interleave(2, axis)
        return latent


class Towards(nn.Module):
    """A denoiser that is sure of one clean value, whatever it is shown: v = (z - value) / t."""

    def __init__(self, value):
        super().__init__()
        self.value, self.calls = value, []

    def forward(self, x, timesteps, context):
        self.calls.append((x, timesteps, context))
        level = (timesteps / 1000).reshape(-1, *(1,) * (x.ndim - 1))
        return (x[:, :1] - self.value) / level


class Scale(nn.Module):
    """A text encoder that hands on text and scale."""

    def __init__(self):
        super().__init__()
        self.prompts = []

    def forward(self, prompts, scale):
        self.prompts.append(list(prompts))
        return scale.reshape(-1, 1, 1)


def certain(value=0.25):
    return LatentDiffusionInpainter(Latents(), Towards(value), Scale(), latent_statistics=([0.0], [1.0]))


def test_same_seed_same_image_and_another_seed_another_one(spatial_dims):
    before = torch.random.get_rng_state()
    first, again, other = make(spatial_dims), make(spatial_dims), make(spatial_dims, seed=4)
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.01
    assert first.shape == (1, *SHAPES[spatial_dims]) and first.dtype == torch.float32
    assert first.abs().max() <= 1 and first.isfinite().all() and not first.requires_grad


def test_batch_shape_and_callers_precision_hardly_matter(spatial_dims):
    first, other = make(spatial_dims), make(spatial_dims, batch_size=4)
    torch.testing.assert_close(first, other, atol=1e-3, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(first, make(spatial_dims))


def test_networks_that_agree_leave_no_seam(spatial_dims):
    stages = [Stage(8, side=8, start=1.0, steps=4), Stage(8, side=12, start=0.7, steps=2), Stage(8, steps=3)]
    image = SceneMaker(certain(), stages, channels=1, batch_size=4)(0, SHAPES[spatial_dims])
    torch.testing.assert_close(image, torch.full_like(image, 0.25), atol=1e-5, rtol=0)


def test_windows_share_one_noise(spatial_dims):
    """Where windows overlap they see the same noisy latent, at every step."""
    inpainter = certain()
    shape = (8, 12, 8)[:spatial_dims]
    SceneMaker(inpainter, [Stage(8, start=1.0, steps=2)], channels=1, batch_size=2)(0, shape)
    for x, _, _ in inpainter.denoiser.calls:
        assert len(x) == 2
        torch.testing.assert_close(x[0, :1, :, 2:], x[1, :1, :, :2], atol=1e-5, rtol=1e-5)
        assert not torch.equal(x[0, :1], x[1, :1])


def test_networks_are_shown_a_blank_window_an_empty_label_the_text_and_the_scale(spatial_dims):
    inpainter = certain()
    shape = (16, 24, 16)[:spatial_dims]
    SceneMaker(inpainter, [Stage(8, side=8, start=1.0, steps=2), Stage(8, steps=1)], channels=1)(0, shape)
    calls = inpainter.denoiser.calls
    assert all(not x[:, 1:].any() for x, _, _ in calls)
    scales = [float(context[0, 0, 0]) for _, _, context in calls]
    assert scales[0] == pytest.approx(1) and scales[-1] == 0
    assert inpainter.text_encoder.prompts == [["normal tissue"]] * 2
    assert [float(timesteps[0]) for _, timesteps, _ in calls][0] == 1000
    assert float(calls[-1][1][0]) == 500


def test_each_stage_has_noise_of_its_own():
    """Equal noise would be refined into itself; of equal grids the second stage must see another noise."""
    inpainter = certain(0.0)
    stages = [Stage(8, start=1.0, steps=1), Stage(8, start=1.0, steps=1)]
    SceneMaker(inpainter, stages, channels=1)(5, (8, 8))
    (first, _, _), (second, _, _) = inpainter.denoiser.calls
    assert not torch.equal(first[:, :1], second[:, :1])
    assert not torch.equal(first[:, :1], draw_noise((1, 4, 4), [5]))


def test_refining_keeps_what_the_first_stage_laid_out():
    """A network that is sure of nothing but what it sees: low levels change the image less than high ones."""

    class Still(nn.Module):
        def forward(self, x, timesteps, context):
            return 0 * x[:, :1]

    def refined(start):
        inpainter = LatentDiffusionInpainter(Latents(), Still(), Scale(), latent_statistics=([0.0], [1.0]))
        stages = [Stage(8, side=8, start=1.0, steps=1), Stage(8, start=start, steps=1)]
        return SceneMaker(inpainter, stages, channels=1)(0, (16, 16))

    assert (refined(0.05) - refined(0.01)).abs().mean() < 0.5 * (refined(0.3) - refined(0.01)).abs().mean()


def test_shipped_stages_are_the_whole_frame_then_its_windows_from_half_noise():
    assert [(stage.grid, stage.side, stage.start) for stage in STAGES] == [(128, 128, 1.0), (128, None, 0.5)]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "start from level 1"),
        ([Stage(16)], "start from level 1"),
        ([Stage(16, side=16, start=1.0)], "one cell a pixel"),
    ],
)
def test_stages_must_lead_from_noise_to_pixels(stages, message):
    with pytest.raises(ValueError, match=message):
        SceneMaker(certain(), stages, channels=1)


def test_stages_and_shapes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="at least the grid of 16"):
        Stage(16, side=8)
    with pytest.raises(ValueError, match="at least 1 step"):
        Stage(16, steps=0)
    with pytest.raises(ValueError, match="16 pixels or more"):
        make(2, shape=(12, 40))
