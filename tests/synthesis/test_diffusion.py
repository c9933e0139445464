"""The sampler and its prediction types against Gaussians, whose optimal denoiser and end point are known."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from monai_diffaug.synthesis.diffusion import (
    add_noise,
    append_dims,
    draw_levels,
    draw_noise,
    epsilon_denoiser,
    estimate_clean,
    guided,
    level_table,
    sample_denoiser,
    sample_inpainting,
    uniform_levels,
    v_denoiser,
    variance_preserving_levels,
    velocity_denoiser,
)

MEAN, STD = 0.7, 0.4
# The schedule of Stable Diffusion (scaled linear) and one that ends in pure noise.
ALPHAS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2).cumprod(0)
ZERO_END = (ALPHAS.sqrt() - ALPHAS.sqrt()[-1]).square()


def optimal(latent, level):
    """Return E[z_0 | z_t] for z_0 ~ N(MEAN, STD^2)."""
    t = append_dims(level, latent)
    variance = (1 - t) ** 2 * STD**2 + t**2
    return MEAN + (1 - t) * STD**2 / variance * (latent - (1 - t) * MEAN)


def oracle(clean):
    """Return a denoiser that knows the answer."""
    return lambda latent, level: clean


def latent_pair(spatial_dims, count=3, cells=4):
    noise = draw_noise((2,) + (cells,) * spatial_dims, range(count))
    source = draw_noise((2,) + (cells,) * spatial_dims, range(100, 100 + count))
    return source, noise


def everywhere(source):
    return torch.ones_like(source[:, :1])


def vp_network(kind, denoise=optimal, alphas=ALPHAS):
    """Return the network that would predict ``kind`` in variance-preserving coordinates, given a perfect denoiser."""

    def network(noisy, timesteps):
        k = timesteps.round().long()
        assert (timesteps - k).abs().max() < 1e-2, "levels of the table must come back as their own timesteps"
        a, s = alphas[k].sqrt(), (1 - alphas[k]).sqrt()
        clean = denoise(noisy.double() / append_dims(a + s, noisy).double(), s / (a + s))
        a, s = append_dims(a, noisy), append_dims(s, noisy)
        epsilon = (noisy - a * clean) / s
        return {"epsilon": epsilon, "v": a * epsilon - s * clean, "sample": clean}[kind].float()

    return network


WRAPPERS = {"epsilon": epsilon_denoiser, "v": v_denoiser, "sample": sample_denoiser}


def test_append_dims_broadcasts_in_at_least_float32(spatial_dims):
    like = torch.zeros((2, 1) + (3,) * spatial_dims, dtype=torch.float16)
    x = append_dims(torch.tensor([1.0, 2.0], dtype=torch.float64), like)
    assert x.shape == (2,) + (1,) * (1 + spatial_dims)
    assert x.dtype == torch.float32


def test_noise_depends_on_its_own_seed_alone(spatial_dims):
    shape = (2,) + (4,) * spatial_dims
    before = torch.random.get_rng_state()
    noise = draw_noise(shape, [5, 9])
    assert torch.equal(noise[1], draw_noise(shape, [9, 1, 2])[0])
    assert not torch.equal(noise[0], noise[1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_add_noise_takes_a_level_per_sample(spatial_dims):
    source, noise = latent_pair(spatial_dims)
    noisy = add_noise(source, noise, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(noisy[0], source[0])
    assert torch.equal(noisy[2], noise[2])
    assert torch.allclose(noisy[1], 0.75 * source[1] + 0.25 * noise[1])


def test_uniform_levels():
    assert uniform_levels(4) == [(1.0, 0.75), (0.75, 0.5), (0.5, 0.25), (0.25, 0.0)]
    assert uniform_levels(2, start=0.5) == [(0.5, 0.25), (0.25, 0.0)]


@pytest.mark.parametrize(("steps", "start"), [(0, 1.0), (3, 0.0), (3, 1.5)])
def test_uniform_levels_refuse(steps, start):
    with pytest.raises(ValueError, match="at least 1 step"):
        uniform_levels(steps, start)


def test_variance_preserving_levels_follow_the_table():
    table = level_table(ALPHAS)
    sigma = ((1 - ALPHAS) / ALPHAS).sqrt()
    assert torch.allclose(table, sigma / (1 + sigma))
    trailing = variance_preserving_levels(ALPHAS, 50)
    assert [level for level, _ in trailing] == [float(table[k]) for k in range(999, 0, -20)]
    assert trailing[-1][1] == 0
    leading = variance_preserving_levels(ALPHAS, 50, first=981)
    assert [level for level, _ in leading] == [float(table[k]) for k in range(981, 0, -20)]
    assert len(variance_preserving_levels(ALPHAS, 1000)) == 1000
    assert len(variance_preserving_levels(ALPHAS.tolist(), 7)) == 7


@pytest.mark.parametrize(("steps", "first"), [(0, None), (1001, None), (50, 1000), (50, 900)])
def test_variance_preserving_levels_refuse(steps, first):
    with pytest.raises(ValueError, match="timestep"):
        variance_preserving_levels(ALPHAS, steps, first)


@pytest.mark.parametrize("table", [[0.5], [[0.9, 0.5]], [0.5, 0.9], [0.9, 0.9], [1.2, 0.5], [0.5, -0.1]])
def test_level_table_refuses(table):
    with pytest.raises(ValueError, match="strictly decreasing"):
        level_table(table)


def test_training_levels_are_seeded_and_reach_the_noise_end():
    level = draw_levels(20000, torch.Generator().manual_seed(0))
    assert torch.equal(level, draw_levels(20000, torch.Generator().manual_seed(0)))
    assert level.min() > 0
    assert level.max() <= 1
    assert 0.10 < (level >= 0.95).float().mean() < 0.12
    assert 0.45 < (level < 0.5).float().mean() / 0.9 < 0.55


@pytest.mark.parametrize("kind", WRAPPERS)
def test_prediction_types_agree_with_velocity(kind, spatial_dims):
    _, noise = latent_pair(spatial_dims, count=4)
    level = level_table(ALPHAS)[[0, 300, 700, 999]]
    noisy = (
        append_dims((1 - level) * MEAN, noise)
        + append_dims(((1 - level) ** 2 * STD**2 + level**2).sqrt(), noise) * noise
    )

    def velocity(latent, timesteps):
        t = timesteps / 1000
        return (latent - optimal(latent, t)) / append_dims(t, latent)

    expected = optimal(noisy, level)
    assert torch.allclose(velocity_denoiser(velocity)(noisy, level), expected, atol=1e-5)
    assert torch.allclose(WRAPPERS[kind](vp_network(kind), ALPHAS)(noisy, level), expected, atol=2e-5)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_samples_of_all_prediction_types_agree(kind):
    source, noise = latent_pair(2)
    levels = variance_preserving_levels(ALPHAS, 10)
    expected = sample_inpainting(optimal, source, noise, everywhere(source), levels)
    painted = sample_inpainting(WRAPPERS[kind](vp_network(kind), ALPHAS), source, noise, everywhere(source), levels)
    assert torch.allclose(painted, expected, atol=1e-4)


def test_fractional_timesteps_are_interpolated_and_clamped():
    table, seen = level_table(ALPHAS), []

    def network(noisy, timesteps):
        seen.append(timesteps)
        return noisy

    level = torch.tensor([0.0, float(table[:2].mean()), float(table[500:502].mean()), 1.0], dtype=torch.float64)
    sample_denoiser(network, ALPHAS)(torch.zeros(4, 1, 2, 2), level)
    assert seen[0].dtype == torch.float32
    assert torch.allclose(seen[0], torch.tensor([0.0, 0.5, 500.5, 999.0]), atol=1e-4)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_pure_noise_is_read_as_the_noisiest_timestep(kind):
    """Level 1 lies above a table that ends with some signal left: no division by 1 - t."""
    _, noise = latent_pair(2)
    denoise = WRAPPERS[kind](lambda noisy, timesteps: torch.full_like(noisy, 0.5), ALPHAS)
    estimate = denoise(noise, torch.ones(3))
    assert estimate.isfinite().all()
    a, s = ALPHAS[-1].sqrt().float(), (1 - ALPHAS[-1]).sqrt().float()
    expected = {"epsilon": (noise - 0.5 * s) / a, "v": a * noise - 0.5 * s, "sample": torch.full_like(noise, 0.5)}
    assert torch.allclose(estimate, expected[kind], atol=1e-4)


def test_tables_that_end_in_pure_noise():
    _, noise = latent_pair(2)
    with pytest.raises(ValueError, match="abar = 0"):
        epsilon_denoiser(lambda x, t: x, ZERO_END)
    estimate = v_denoiser(lambda noisy, timesteps: torch.full_like(noisy, -0.3), ZERO_END)(noise, torch.ones(3))
    assert torch.allclose(estimate, torch.full_like(noise, 0.3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close_and_never_touches_the_table(dtype):
    source, noise = latent_pair(2)
    network = vp_network("v")
    denoise = v_denoiser(lambda x, t: network(x, t).to(dtype), ALPHAS)
    levels = variance_preserving_levels(ALPHAS, 10)
    run = partial(sample_inpainting, hold_mask=everywhere(source), levels=levels)
    expected = run(denoise, source, noise)
    half = run(denoise, source.to(dtype), noise.to(dtype))
    assert half.dtype == torch.float32
    assert torch.allclose(half, expected, atol=0.05)
    assert torch.equal(run(denoise, source, noise), expected)


def test_half_precision_levels_keep_their_timestep():
    seen = []

    def network(noisy, timesteps):
        seen.append(timesteps)
        return noisy

    level = torch.tensor([0.5, 0.875], dtype=torch.float16)
    velocity_denoiser(network)(torch.zeros(2, 1, 2, 2, dtype=torch.float16), level)
    assert torch.equal(seen[0], torch.tensor([500.0, 875.0]))


def test_the_flow_maps_noise_onto_the_gaussian(spatial_dims):
    source, noise = latent_pair(spatial_dims)
    expected = MEAN + STD * noise
    errors = []
    for steps in (4, 16, 64):
        painted = sample_inpainting(optimal, source, noise, everywhere(source), uniform_levels(steps))
        errors.append(float((painted - expected).abs().max()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.1


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_true_noise_leads_back_to_the_truth(steps, spatial_dims):
    """Where the network predicts the very noise that is in the sample, any number of steps is exact."""
    source, noise = latent_pair(spatial_dims)
    clean = MEAN + STD * source
    for levels in (uniform_levels(steps), variance_preserving_levels(ALPHAS, steps)):
        denoise = velocity_denoiser(lambda latent, timesteps: noise - clean)
        painted = sample_inpainting(denoise, clean, noise, everywhere(source), levels)
        assert (painted - clean).abs().max() < 5e-6


def test_single_step_estimate_takes_a_level_per_sample(spatial_dims):
    source, noise = latent_pair(spatial_dims)
    level = torch.tensor([0.1, 0.6, 1.0])
    denoise = velocity_denoiser(lambda latent, timesteps: noise - source)
    assert (estimate_clean(denoise, source, noise, level) - source).abs().max() < 1e-6
    together = estimate_clean(optimal, source, noise, level)
    for i in range(3):
        alone = estimate_clean(optimal, source[i : i + 1], noise[i : i + 1], level[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


def test_one_step_equals_ddim_in_the_papers_coordinates():
    _, noise = latent_pair(2)
    level, following = variance_preserving_levels(ALPHAS, 20)[6]
    abar, abar_next = ALPHAS[699], ALPHAS[649]
    noisy = noise * 1.1
    epsilon = torch.full_like(noise, 0.2)
    denoised = epsilon_denoiser(lambda x, t: epsilon, ALPHAS)(noisy, torch.full((3,), level, dtype=torch.float64))
    ours = denoised + (following / level) * (noisy - denoised)
    z_vp = noisy * (abar.sqrt() + (1 - abar).sqrt())
    clean = (z_vp - (1 - abar).sqrt() * epsilon) / abar.sqrt()
    ddim = abar_next.sqrt() * clean + (1 - abar_next).sqrt() * epsilon
    assert torch.allclose(ours, (ddim / (abar_next.sqrt() + (1 - abar_next).sqrt())).float(), atol=1e-5)


def test_background_is_held_at_every_step_and_exact_at_the_end(spatial_dims):
    source, noise = latent_pair(spatial_dims)
    hold = torch.zeros_like(source[:, :1])
    hold[(slice(None), slice(None)) + (slice(1, 3),) * spatial_dims] = 1
    outside = (hold == 0).expand_as(source)
    states = []

    def denoise(latent, level):
        states.append((latent, level))
        return optimal(latent, level)

    painted = sample_inpainting(denoise, source, noise, hold, uniform_levels(6))
    assert torch.equal(painted[outside], source[outside])
    assert not torch.allclose(painted[~outside], source[~outside], atol=0.1)
    for latent, level in states:
        assert torch.allclose(latent[outside], add_noise(source, noise, level)[outside], atol=1e-6)


def test_a_nan_in_the_estimate_stays_out_of_the_background():
    source, noise = latent_pair(2)
    hold = torch.zeros_like(source[:, :1])
    painted = sample_inpainting(oracle(source * float("nan")), source, noise, hold, uniform_levels(2))
    assert torch.equal(painted, source)


def test_a_later_start_refines_the_source():
    source, noise = latent_pair(2)
    near, far = (
        sample_inpainting(optimal, source, noise, everywhere(source), uniform_levels(4, start)) for start in (0.2, 1.0)
    )
    assert (near - source).abs().mean() < (far - source).abs().mean()


def test_batch_mates_do_not_matter(spatial_dims):
    source, noise = latent_pair(spatial_dims, count=4)
    order = torch.tensor([2, 0, 3, 1])

    def run(s, n):
        return sample_inpainting(optimal, s, n, everywhere(s), uniform_levels(5))

    assert torch.equal(run(source, noise)[order], run(source[order], noise[order]))


def test_keep_sees_every_step_and_stops_when_no_sample_is_kept():
    source, noise = latent_pair(2)
    hold = everywhere(source)
    hold[..., :2] = 0
    asked = []

    def keep(level, denoised):
        asked.append((level, denoised))
        return torch.tensor([False, len(asked) < 3, False])

    painted = sample_inpainting(optimal, source, noise, hold, uniform_levels(5), keep)
    assert [level for level, _ in asked] == [1.0, 0.8, 0.6]
    assert torch.equal(painted, asked[-1][1])
    assert torch.equal(painted[..., :2], source[..., :2])


def test_keep_that_refuses_nothing_changes_nothing():
    source, noise = latent_pair(2)
    run = partial(sample_inpainting, optimal, source, noise, everywhere(source), uniform_levels(5))
    assert torch.equal(run(), run(keep=lambda level, denoised: torch.ones(3, dtype=torch.bool)))


@pytest.mark.parametrize("levels", [[], [(1.0, 0.5)], [(1.0, 0.5), (0.4, 0.0)], [(0.5, 0.5), (0.5, 0.0)], [(1.5, 0.0)]])
def test_unusable_levels_are_refused(levels):
    source, noise = latent_pair(2)
    with pytest.raises(ValueError, match="levels must be pairs"):
        sample_inpainting(optimal, source, noise, everywhere(source), levels)


def both_halves(batches):
    """Return a denoiser of 2 N samples: the first half is the latent itself, the second its negative."""

    def denoise(latent, level):
        batches.append(len(latent))
        sign = torch.ones(len(latent))
        sign[len(latent) // 2 :] = -1
        return append_dims(sign, latent) * latent

    return denoise


@pytest.mark.parametrize(("scale", "factor"), [(0.0, -1.0), (1.0, 1.0), (7.5, 14.0)])
def test_guidance_extrapolates_from_unconditional_to_conditional(scale, factor):
    _, noise = latent_pair(2)
    batches = []
    denoise = guided(lambda latent, level: latent, both_halves(batches), scale=scale)
    assert torch.allclose(denoise(noise, torch.full((3,), 0.5)), factor * noise)
    assert batches == ([] if scale == 1 else [6])


def test_guidance_acts_inside_its_interval_only():
    _, noise = latent_pair(2)
    batches = []
    denoise = guided(lambda latent, level: latent, both_halves(batches), scale=2.0, interval=(0.2, 0.8))
    assert torch.equal(denoise(noise, torch.full((3,), 0.9)), noise)
    assert batches == []
    mixed = denoise(noise, torch.tensor([0.1, 0.2, 0.8]))
    assert torch.equal(mixed[0], noise[0])
    assert torch.allclose(mixed[1:], 3 * noise[1:])


def test_guiding_estimates_is_guiding_predictions():
    _, noise = latent_pair(2)
    level = level_table(ALPHAS)[[100, 400, 900]]
    conditional, unconditional = torch.full_like(noise, 0.3), torch.full_like(noise, -0.2)
    single = epsilon_denoiser(lambda x, t: conditional, ALPHAS)
    both = epsilon_denoiser(lambda x, t: torch.cat([conditional, unconditional]), ALPHAS)
    mixed = epsilon_denoiser(lambda x, t: unconditional + 3 * (conditional - unconditional), ALPHAS)
    assert torch.allclose(guided(single, both, scale=3.0)(noise, level), mixed(noise, level), atol=1e-4)
