"""The trained inpainter's wiring, with real networks at tiny size."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from monai_diffaug.synthesis.diffusion import (
    epsilon_denoiser,
    sample_denoiser,
    uniform_levels,
    v_denoiser,
    variance_preserving_levels,
)
from monai_diffaug.synthesis.inpainter import Canvas
from monai_diffaug.synthesis.latent_diffusion import LatentDiffusionInpainter, to_latent_area, to_latent_max
from tests.tiny_networks import tiny_autoencoder, tiny_denoiser, tiny_inpainter, tiny_text_encoder

ALPHAS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
PROMPTS = ["red polyp", "pale lesion", "", "rough tissue"]
SEEDS = [1, 2, 3, 4]


def windows(spatial_dims, count=4, size=16):
    generator = torch.Generator().manual_seed(11)
    return torch.rand((count, 1) + (size,) * spatial_dims, generator=generator) * 2 - 1


def box(spatial_dims, low, high, count=4, size=16):
    mask = torch.zeros((count, 1) + (size,) * spatial_dims)
    mask[(slice(None), slice(None)) + (slice(low, high),) * spatial_dims] = 1
    return mask


def make_canvas(inpainter, spatial_dims):
    image = windows(spatial_dims)
    label, paint = box(spatial_dims, 5, 7), box(spatial_dims, 4, 8)
    blanked = inpainter.encode(image * (1 - paint))
    return Canvas(inpainter.encode(image), blanked, label, paint, torch.tensor([0.0, 1.0, -0.5, 0.0]))


def pick(canvas, order):
    return replace(canvas, **{name: part[order] for name, part in vars(canvas).items() if name != "begins"})


def test_area_fraction_keeps_thin_masks(spatial_dims):
    mask = torch.zeros((1, 1) + (8,) * spatial_dims)
    mask[(0, 0) + (1,) * spatial_dims] = 1
    area = to_latent_area(mask, (2,) * spatial_dims)
    assert area[(0, 0) + (0,) * spatial_dims] == 1 / 4**spatial_dims
    assert area.sum() == area[(0, 0) + (0,) * spatial_dims]


def test_block_maximum_covers_the_mask_and_grows_by_whole_cells(spatial_dims):
    mask = torch.zeros((1, 1) + (28,) * spatial_dims)
    mask[(0, 0) + (13,) * spatial_dims] = 1
    grid = (7,) * spatial_dims
    for grow in (0, 1, 2):
        cells = to_latent_max(mask, grid, grow=grow)
        assert cells.sum() == (1 + 2 * grow) ** spatial_dims
        assert cells[(0, 0) + (slice(3 - grow, 4 + grow),) * spatial_dims].all()


def test_masks_may_have_unequal_sides(spatial_dims):
    mask = torch.ones((2, 1) + (8, 12, 4)[:spatial_dims])
    grid = (2, 3, 1)[:spatial_dims]
    assert to_latent_area(mask, grid).shape == to_latent_max(mask, grid).shape == (2, 1, *grid)


@pytest.mark.parametrize("grid", [(3, 4), (4,)])
def test_masks_must_be_multiples_of_the_latent_grid(grid):
    with pytest.raises(ValueError, match="no whole multiple"):
        to_latent_area(torch.zeros(1, 1, 16, 16), grid)


def test_encode_normalises_and_decode_undoes_it(spatial_dims):
    inpainter = tiny_inpainter(spatial_dims)
    image = windows(spatial_dims)
    latent = inpainter.encode(image)
    with torch.no_grad():
        raw = inpainter.autoencoder.encode(image)[0]
        expected = inpainter.autoencoder.decode(raw).clamp(-1, 1)
    assert torch.allclose(latent[:, 0] * 0.5 + 0.1, raw[:, 0], atol=1e-6)
    assert torch.allclose(latent[:, 1] * 2.0 - 0.2, raw[:, 1], atol=1e-6)
    assert torch.allclose(inpainter.decode(latent), expected, atol=1e-5)
    assert not latent.requires_grad
    assert not latent.is_inference()


def test_padding_is_not_encoded_again():
    """Large windows go through an autoencoder one by one; what repeats the one before is the same."""

    class Counting(nn.Module):
        calls = 0

        def encode(self, image):
            self.calls += len(image)
            return torch.nn.functional.avg_pool2d(image, 4).repeat(1, 4, 1, 1), None

    autoencoder, windows = Counting(), torch.rand(3, 1, 256, 256)
    inpainter = LatentDiffusionInpainter(
        autoencoder, nn.Identity(), nn.Identity(), latent_statistics=([0.0] * 4, [1.0] * 4)
    )
    padded = inpainter.encode(torch.cat([windows, windows[-1:].repeat(5, 1, 1, 1)]))
    assert autoencoder.calls == 3
    assert torch.equal(padded[:3], inpainter.encode(windows))
    assert all(torch.equal(one, padded[2]) for one in padded[3:])


def test_decoded_images_stay_in_range():
    inpainter = tiny_inpainter(2)
    decoded = inpainter.decode(torch.full((1, 2, 4, 4), 1e3))
    assert decoded.abs().max() <= 1


def test_sizes_that_decoding_cannot_restore_are_refused():
    with pytest.raises(ValueError, match="multiples of the autoencoder's stride"):
        tiny_inpainter(2).encode(torch.zeros(1, 1, 31, 31))


def test_painting_changes_the_mask_and_holds_the_rest(spatial_dims):
    inpainter = tiny_inpainter(spatial_dims, guidance_scale=2.0)
    canvas = make_canvas(inpainter, spatial_dims)
    painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
    held = (to_latent_max(canvas.paint_mask, painted.shape[2:]) == 0).expand_as(painted)
    assert held.any()
    assert torch.equal(painted[held], canvas.source[held])
    assert (painted[~held] - canvas.source[~held]).abs().mean() > 0.01
    assert painted.dtype == torch.float32
    assert not painted.requires_grad
    assert not painted.is_inference()


def test_results_depend_on_the_samples_own_seed_alone(spatial_dims):
    inpainter = tiny_inpainter(spatial_dims, guidance_scale=2.0)
    canvas = make_canvas(inpainter, spatial_dims)
    before = torch.random.get_rng_state()
    painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
    assert torch.equal(before, torch.random.get_rng_state())
    order = [2, 0, 3, 1]
    shuffled = inpainter.inpaint(pick(canvas, order), [PROMPTS[i] for i in order], [SEEDS[i] for i in order])
    assert torch.equal(painted[order], shuffled)
    other_mates = inpainter.inpaint(pick(canvas, [0, 1, 1, 2]), [PROMPTS[0], "rough", "smooth", ""], [1, 8, 9, 9])
    assert torch.equal(painted[0], other_mates[0])
    other_seed = inpainter.inpaint(canvas, PROMPTS, [1, 2, 3, 5])
    assert torch.equal(painted[:3], other_seed[:3])
    assert not torch.equal(painted[3], other_seed[3])
    alone = inpainter.inpaint(pick(canvas, [1]), PROMPTS[1:2], [2])
    assert torch.allclose(painted[1:2], alone, atol=1e-4)


def test_every_condition_reaches_the_network(spatial_dims):
    inpainter = tiny_inpainter(spatial_dims)
    canvas = make_canvas(inpainter, spatial_dims)
    painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
    changed = {
        "text": (canvas, ["smooth polyp", *PROMPTS[1:]]),
        "scale": (replace(canvas, scale=canvas.scale + 1), PROMPTS),
        "label": (replace(canvas, label_mask=canvas.paint_mask), PROMPTS),
        "blanked": (replace(canvas, blanked=canvas.source), PROMPTS),
        "begins": (replace(canvas, begins=0.5), PROMPTS),
    }
    for name, (other, prompts) in changed.items():
        assert not torch.equal(painted[0], inpainter.inpaint(other, prompts, SEEDS)[0]), name


class Recorder(nn.Module):
    """Stand in for a denoiser and write down what it is asked."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x, timesteps, context):
        self.calls.append((x, timesteps, context))
        return x[:, :2] * 0


def test_denoiser_input_is_latent_mask_blanked_and_text(spatial_dims):
    inpainter = tiny_inpainter(spatial_dims, steps=5, guidance_scale=3.0)
    canvas = make_canvas(inpainter, spatial_dims)
    inpainter.denoiser = Recorder()
    inpainter.inpaint(canvas, PROMPTS, SEEDS)
    calls = inpainter.denoiser.calls
    # Guidance acts in [0.2, 0.8] and doubles the batch there.
    assert [len(x) for x, _, _ in calls] == [4, 8, 8, 8, 8]
    assert [float(t[0]) for _, t, _ in calls] == pytest.approx([1000, 800, 600, 400, 200])
    for x, timesteps, context in calls:
        n = len(x) // 4
        assert timesteps.shape == (len(x),)
        assert torch.equal(x[:, 2:3], torch.cat([to_latent_area(canvas.label_mask, x.shape[2:])] * n))
        assert torch.equal(x[:, 3:], torch.cat([canvas.blanked] * n))
        assert context.shape[:2] == (len(x), 9)
    _, _, context = calls[1]
    with torch.no_grad():
        null = inpainter.text_encoder([""] * 4, canvas.scale)
    assert torch.equal(context[4:], null)
    assert torch.equal(context[2], context[6])


def test_guidance_one_is_conditional_and_zero_unconditional():
    canvas = make_canvas(tiny_inpainter(2), 2)
    plain = tiny_inpainter(2)

    def run(scale, prompts):
        inpainter = tiny_inpainter(2, guidance_scale=scale)
        inpainter.guidance_interval = (0.0, 1.0)
        return inpainter.inpaint(canvas, prompts, SEEDS)

    assert torch.equal(run(1.0, PROMPTS), plain.inpaint(canvas, PROMPTS, SEEDS))
    assert torch.allclose(run(0.0, PROMPTS), plain.inpaint(canvas, [""] * 4, SEEDS), atol=1e-5)
    assert not torch.allclose(run(4.0, PROMPTS)[0], run(1.0, PROMPTS)[0], atol=1e-3)


@pytest.mark.parametrize("wrapper", [epsilon_denoiser, v_denoiser, sample_denoiser])
def test_networks_of_other_prediction_types_fit(wrapper, spatial_dims):
    inpainter = LatentDiffusionInpainter(
        tiny_autoencoder(spatial_dims),
        tiny_denoiser(spatial_dims),
        tiny_text_encoder(),
        latent_statistics=(torch.zeros(2), torch.ones(2)),
        levels=variance_preserving_levels(ALPHAS, 2),
        prediction=partial(wrapper, alphas_cumprod=ALPHAS),
    )
    canvas = make_canvas(inpainter, spatial_dims)
    painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
    assert painted.isfinite().all()
    restored = pickle.loads(pickle.dumps(inpainter))
    assert torch.equal(painted, restored.inpaint(canvas, PROMPTS, SEEDS))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_paint_the_same(clone, spatial_dims):
    inpainter = tiny_inpainter(spatial_dims, guidance_scale=2.0)
    canvas = make_canvas(inpainter, spatial_dims)
    painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
    copied = clone(inpainter)
    assert torch.equal(painted, copied.inpaint(canvas, PROMPTS, SEEDS))
    assert torch.equal(inpainter.decode(painted), copied.decode(painted))


def test_keep_is_asked_and_can_stop():
    inpainter = tiny_inpainter(2, steps=4)
    canvas = make_canvas(inpainter, 2)
    asked = []

    def keep(level, denoised):
        asked.append(level)
        assert denoised.shape == canvas.source.shape
        return torch.zeros(4, dtype=torch.bool)

    inpainter.inpaint(canvas, PROMPTS, SEEDS, keep)
    assert asked == [1.0]


def test_half_precision_networks_stay_close():
    inpainter, half = tiny_inpainter(2, guidance_scale=2.0), tiny_inpainter(2, guidance_scale=2.0)
    for network in (half.autoencoder, half.denoiser, half.text_encoder):
        network.bfloat16()
    canvas = make_canvas(inpainter, 2)
    expected = inpainter.inpaint(canvas, PROMPTS, SEEDS)
    painted = half.inpaint(make_canvas(half, 2), PROMPTS, SEEDS)
    assert painted.dtype == half.decode(painted).dtype == torch.float32
    assert (painted - expected).abs().mean() < 0.1


def test_defaults_and_training_mode():
    autoencoder = tiny_autoencoder(2).train()
    inpainter = LatentDiffusionInpainter(
        autoencoder, tiny_denoiser(2), tiny_text_encoder(), latent_statistics=([0, 0], [1, 1])
    )
    assert inpainter.levels == uniform_levels(8)
    assert not autoencoder.training
    assert all(weight.requires_grad for weight in autoencoder.parameters())


@pytest.mark.parametrize(("mean", "std"), [([0.0], [1.0, 1.0]), ([0.0, 0.0], [1.0, 0.0]), (0.0, 1.0)])
def test_statistics_that_do_not_fit_are_refused(mean, std):
    with pytest.raises(ValueError, match="one a latent channel"):
        LatentDiffusionInpainter(nn.Identity(), nn.Identity(), nn.Identity(), latent_statistics=(mean, std))


def test_latents_of_other_width_are_refused():
    inpainter = LatentDiffusionInpainter(
        tiny_autoencoder(2), tiny_denoiser(2), tiny_text_encoder(), latent_statistics=([0.0] * 4, [1.0] * 4)
    )
    with pytest.raises(ValueError, match="latents of 2 channels"):
        inpainter.encode(torch.zeros(1, 1, 16, 16))


def test_prompts_and_seeds_must_match_the_windows():
    inpainter = tiny_inpainter(2)
    canvas = make_canvas(inpainter, 2)
    with pytest.raises(ValueError, match="4 windows, 2 prompts and 4 seeds"):
        inpainter.inpaint(canvas, PROMPTS[:2], SEEDS)
