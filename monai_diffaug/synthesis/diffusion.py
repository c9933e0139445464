"""Diffuse and sample in rectified-flow coordinates: levels, noise, prediction types, guidance, inpainting.

Everything here lives on the straight path z_t = (1 - t) z_0 + t n, level t in [0, 1], t = 1 pure noise, with velocity
v = n - z_0. A denoiser is a function ``denoise(z_t, level) -> estimate of z_0``; behaviour is added by wrapping it.
Networks trained on a variance-preserving process (epsilon, v, x0) are wrapped into the same function: with
sigma = sqrt((1 - abar) / abar) they sit at t = sigma / (1 + sigma) and z_t = z_vp / (sqrt(abar) + sqrt(1 - abar)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from monai_diffaug.synthesis.inpainter import Keep

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``(z_t (N, c, *latent), level (N,)) -> estimated z_0 (N, c, *latent)``."""
Network = Callable[[Tensor, Tensor], Tensor]
"""``(latent (N, c, *latent), timesteps (N,) float32 in [0, 1000]) -> prediction (N, c, *latent)``."""
Levels = Sequence[tuple[float, float]]
"""Pairs (level, next level) of a sampler, in the order in which they are walked."""


def append_dims(x: Tensor, like: Tensor) -> Tensor:
    """Append dimensions of size one to per-sample numbers so that they broadcast over ``like``.

    Args:
        x: (N,), on any device.
        like: (N, ...); the result is on its device, in its dtype but never below float32.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    return x.reshape(x.shape + (1,) * (like.ndim - x.ndim)).to(device=like.device, dtype=dtype)


def draw_noise(shape: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """Draw standard normal noise, one CPU generator a sample, so that a sample never depends on its batch-mates.

    Args:
        shape: shape of ONE sample, (c, *latent).
        seeds: one integer a sample.
    """
    return torch.stack([torch.randn(tuple(shape), generator=torch.Generator().manual_seed(int(s))) for s in seeds])


def add_noise(latent: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Move clean latents along the straight path to their own level.

    Args:
        latent: (N, c, *latent), z_0.
        noise: (N, c, *latent), n.
        level: (N,) in [0, 1].
    """
    t = append_dims(level, latent)
    return (1 - t) * latent + t * noise


def uniform_levels(steps: int, start: float = 1.0) -> list[tuple[float, float]]:
    """List the (level, next level) pairs of equal steps from ``start`` down to exactly 0.

    Args:
        steps: at least 1.
        start: first level, in (0, 1]; below 1 the source is refined instead of repainted.

    Raises:
        ValueError: for fewer than one step or a start outside (0, 1].
    """
    if steps < 1 or not 0 < start <= 1:
        raise ValueError(f"need at least 1 step and a start in (0, 1], got steps={steps} and start={start}")
    return list(pairwise(start * (steps - i) / steps for i in range(steps + 1)))


def variance_preserving_levels(
    alphas_cumprod: Sequence[float] | Tensor, steps: int, first: int | None = None
) -> list[tuple[float, float]]:
    """List the level pairs of a discrete variance-preserving schedule, as the paper's 50-step sampler walks them.

    To refine instead of repaint, leave out the first pairs.

    Args:
        alphas_cumprod: (T,), abar of every timestep, decreasing.
        steps: number of steps, 1 to T, spaced T / steps apart.
        first: timestep of the first step. None starts from the noisiest, T - 1 ("trailing" spacing); 981 with 50 of
            1000 steps gives the "leading" spacing 981, 961, ..., 1.

    Raises:
        ValueError: where the table, the number of steps or the first timestep does not fit.
    """
    table = level_table(alphas_cumprod)
    total = len(table)
    first = total - 1 if first is None else first
    if not 1 <= steps <= total:
        raise ValueError(f"need 1 to {total} steps for a table of {total} timesteps, got {steps}")
    timesteps = [round(first + 1 - i * total / steps) - 1 for i in range(steps)]
    if timesteps[0] >= total or timesteps[-1] < 0:
        raise ValueError(f"{steps} steps from timestep {first} leave the table of {total} timesteps; change first")
    return list(pairwise([*(float(table[k]) for k in timesteps), 0.0]))


def draw_levels(count: int, generator: torch.Generator) -> Tensor:
    """Draw training levels: logit-normal, and one in ten near t = 1, where few-step sampling decides most.

    Args:
        count: number of levels.
        generator: source of randomness; the levels (count,) come on its device.
    """
    device = generator.device
    level = torch.sigmoid(torch.randn(count, generator=generator, device=device))
    near_noise = 1 - 0.05 * torch.rand(count, generator=generator, device=device)
    return torch.where(torch.rand(count, generator=generator, device=device) < 0.1, near_noise, level)


def level_table(alphas_cumprod: Sequence[float] | Tensor) -> Tensor:
    """Return the level t = sigma / (1 + sigma) of every discrete timestep, (T,) float64 on the CPU.

    Raises:
        ValueError: unless abar lies in [0, 1] and decreases strictly over two or more timesteps.
    """
    abar = torch.as_tensor(alphas_cumprod, dtype=torch.float64, device="cpu")
    if abar.ndim != 1 or len(abar) < 2 or abar.min() < 0 or abar.max() > 1 or not bool((abar.diff() < 0).all()):
        raise ValueError("alphas_cumprod must hold two or more strictly decreasing numbers in [0, 1]")
    return (1 - abar).sqrt() / (abar.sqrt() + (1 - abar).sqrt())


def velocity_denoiser(network: Network) -> Denoise:
    """Wrap a rectified-flow network (v = n - z_0; timesteps are t * 1000): z_0 = z_t - t v."""

    def denoise(latent: Tensor, level: Tensor) -> Tensor:
        return latent - append_dims(level, latent) * network(latent, (level * 1000).to(latent.device, torch.float32))

    return denoise


def epsilon_denoiser(network: Network, alphas_cumprod: Sequence[float] | Tensor) -> Denoise:
    """Wrap a network that predicts the noise: z_0 = (z_vp - sqrt(1 - abar) eps) / sqrt(abar) (Eq. 11).

    Raises:
        ValueError: where abar reaches 0: there noise prediction says nothing about z_0.
    """
    table = level_table(alphas_cumprod)
    if table[-1] == 1:
        raise ValueError(
            "noise prediction is undefined at abar = 0; use v or x0 prediction, or a table that ends above 0"
        )
    return _variance_preserving_denoiser(network, table, lambda z, epsilon, alpha, sigma: (z - sigma * epsilon) / alpha)


def v_denoiser(network: Network, alphas_cumprod: Sequence[float] | Tensor) -> Denoise:
    """Wrap a network that predicts v = sqrt(abar) n - sqrt(1 - abar) z_0: z_0 = sqrt(abar) z_vp - sqrt(1 - abar) v."""
    table = level_table(alphas_cumprod)
    return _variance_preserving_denoiser(network, table, lambda z, v, alpha, sigma: alpha * z - sigma * v)


def sample_denoiser(network: Network, alphas_cumprod: Sequence[float] | Tensor) -> Denoise:
    """Wrap a network that predicts z_0 itself."""
    table = level_table(alphas_cumprod)
    return _variance_preserving_denoiser(network, table, lambda z, clean, alpha, sigma: clean.to(z.dtype))


def _variance_preserving_denoiser(
    network: Network, table: Tensor, clean: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
) -> Denoise:
    """Call a variance-preserving network from rectified-flow coordinates; ``clean`` turns its prediction into z_0."""

    def denoise(latent: Tensor, level: Tensor) -> Tensor:
        # In float64 on the CPU: next to t = 1 a half-precision level would be many timesteps away.
        level = level.double().cpu()
        noisy = latent / append_dims(_norm(level), latent)
        prediction = network(noisy, _timesteps(level, table).to(latent.device, torch.float32))
        # The network never saw more noise than its last timestep: a noisier latent is read as one of that timestep.
        level = level.clamp(max=float(table[-1]))
        alpha, sigma = (1 - level) / _norm(level), level / _norm(level)
        return clean(noisy, prediction, append_dims(alpha, latent), append_dims(sigma, latent))

    return denoise


def _norm(level: Tensor) -> Tensor:
    """Return 1 / (sqrt(abar) + sqrt(1 - abar)), written in t so that it is finite everywhere."""
    return ((1 - level) ** 2 + level**2).sqrt()


def _timesteps(level: Tensor, table: Tensor) -> Tensor:
    """Find the fractional timestep of each level by monotone interpolation of the table, clamped to its ends."""
    upper = torch.searchsorted(table, level).clamp(1, len(table) - 1)
    fraction = (level - table[upper - 1]) / (table[upper] - table[upper - 1])
    return (upper - 1 + fraction).clamp(0, len(table) - 1)


def guided(
    denoise_conditional: Denoise,
    denoise_both: Denoise,
    *,
    scale: float,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Denoise:
    """Add classifier-free guidance, e = e_u + s (e_c - e_u) (Eq. 8), both halves in one batch.

    The estimate of z_0 is affine in the prediction, so mixing estimates is the same as mixing predictions.

    Args:
        denoise_conditional: used alone where guidance is off (scale 1, or outside the interval): half the cost.
        denoise_both: bound to 2 N conditions, the N conditional ones first, then the N unconditional ones.
        scale: guidance scale s; 1 is conditional, 0 unconditional.
        interval: lowest and highest level with guidance, both included.
    """
    low, high = interval

    def denoise(latent: Tensor, level: Tensor) -> Tensor:
        inside = (low <= level) & (level <= high)
        if scale == 1 or not bool(inside.any()):
            return denoise_conditional(latent, level)
        both = denoise_both(torch.cat([latent, latent]), torch.cat([level, level]))
        conditional, unconditional = both.chunk(2)
        mixed = unconditional + scale * (conditional - unconditional)
        return torch.where(append_dims(inside, latent) > 0, mixed, conditional)

    return denoise


def estimate_clean(denoise: Denoise, latent: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Noise clean latents to their own levels and estimate them back in a single step (Eq. 11).

    Args:
        denoise: any denoiser of this module.
        latent: (N, c, *latent), z_0.
        noise: (N, c, *latent), n.
        level: (N,) in [0, 1], one a sample.
    """
    return denoise(add_noise(latent, noise, level), level)


def sample_inpainting(
    denoise: Denoise,
    source: Tensor,
    noise: Tensor,
    hold_mask: Tensor,
    levels: Levels,
    keep: Keep | None = None,
) -> Tensor:
    """Walk Euler steps from noise to a clean latent, holding the background at every step.

    Held means z_t = M z_t + (1 - M) ((1 - t) z_source + t n); the result equals the source exactly where M = 0. The
    walk starts from the source noised to the first level, which is pure noise at level 1.

    Args:
        denoise: estimates z_0 from (z_t, level).
        source: (N, c, *latent), clean latent of the window as it is.
        noise: (N, c, *latent), n.
        hold_mask: (N, 1, *latent), M: above 0 where the latent may change.
        levels: pairs (level, next level), chained, falling to 0.
        keep: asked after each step with (level, estimate of z_0); once no sample is kept the walk ends and the
            estimate is returned.

    Returns:
        (N, c, *latent), float32 or wider.

    Raises:
        ValueError: where the levels are empty, do not fall, are not chained or do not end at 0.
    """
    _check_levels(levels)
    may_change = hold_mask > 0
    start = torch.full((len(source),), levels[0][0], dtype=torch.float64)
    latent = add_noise(source, noise, start)
    for level, following in levels:
        # Holding the estimate holds the state: in the background the step below leads from (1-t) z_source + t n to
        # (1-t') z_source + t' n.
        estimate = denoise(latent, torch.full_like(start, level))
        denoised = torch.where(may_change, estimate, source)
        if keep is not None and not bool(keep(level, denoised).any()):
            return denoised
        # Euler step z + (t' - t) v with v = (z - z_0) / t; the form needs no division by 1 - t.
        latent = denoised + (following / level) * (latent - denoised)
    return latent


def _check_levels(levels: Levels) -> None:
    falling = all(1 >= level > following >= 0 for level, following in levels)
    chained = all(a[1] == b[0] for a, b in pairwise(levels))
    if not levels or not falling or not chained or levels[-1][1] != 0:
        raise ValueError(
            f"levels must be pairs (level, next level) that fall from at most 1 to 0 in a chain, got {levels}"
        )
