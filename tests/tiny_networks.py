"""Real MONAI networks at tiny size, stride 4, with seeded weights; the global random state is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import nn

from monai_diffaug.networks.denoiser import DistillableUNet
from monai_diffaug.networks.text import WordTextEncoder
from monai_diffaug.networks.validator_net import LatentSegmentationNet
from monai_diffaug.synthesis.diffusion import uniform_levels
from monai_diffaug.synthesis.latent_diffusion import LatentDiffusionInpainter

LATENT_CHANNELS = 2
HIDDEN_SIZE = 16
WORDS = ("polyp", "lesion", "red", "pale", "smooth", "rough", "normal", "tissue")


def tiny_autoencoder(spatial_dims: int, in_channels: int = 1) -> AutoencoderKL:
    """Build an autoencoder with two latent channels."""
    with _seeded(1):
        return AutoencoderKL(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            out_channels=in_channels,
            channels=(4, 4, 8),
            attention_levels=(False, False, False),
            num_res_blocks=1,
            latent_channels=LATENT_CHANNELS,
            norm_num_groups=4,
            with_encoder_nonlocal_attn=False,
            with_decoder_nonlocal_attn=False,
        )


def tiny_unet(spatial_dims: int) -> partial[DiffusionModelUNet]:
    """Return what builds a text-conditioned U-Net for noisy latent, mask and blanked latent."""
    return partial(
        DiffusionModelUNet,
        spatial_dims=spatial_dims,
        in_channels=2 * LATENT_CHANNELS + 1,
        out_channels=LATENT_CHANNELS,
        channels=(8, 16),
        attention_levels=(False, True),
        num_res_blocks=1,
        norm_num_groups=4,
        num_head_channels=8,
        with_conditioning=True,
        cross_attention_dim=HIDDEN_SIZE,
    )


def tiny_denoiser(spatial_dims: int) -> DistillableUNet:
    """Build a denoiser around ``tiny_unet``; what it is distilled to differs from what it is."""
    with _seeded(2):
        denoiser = DistillableUNet(tiny_unet(spatial_dims))
        for weight in denoiser.parameters():
            if not weight.any():  # MONAI starts its last layers at zero, which would hide every condition.
                nn.init.normal_(weight, std=0.1)
    return denoiser


def tiny_text_encoder() -> WordTextEncoder:
    """Build a text encoder over ``WORDS``."""
    with _seeded(3):
        encoder = WordTextEncoder(WORDS, hidden_size=HIDDEN_SIZE, layers=1, heads=2, max_length=8)
        for weight in encoder.parameters():
            nn.init.normal_(weight, std=0.5)
    return encoder


def tiny_inpainter(
    spatial_dims: int, in_channels: int = 1, *, steps: int = 2, guidance_scale: float = 1.0
) -> LatentDiffusionInpainter:
    """Build an untrained inpainter; window sizes must be multiples of 8."""
    return LatentDiffusionInpainter(
        tiny_autoencoder(spatial_dims, in_channels),
        tiny_denoiser(spatial_dims),
        tiny_text_encoder(),
        latent_statistics=([0.1, -0.2], [0.5, 2.0]),
        levels=uniform_levels(steps),
        guidance_scale=guidance_scale,
    )


def tiny_validator_net(spatial_dims: int) -> LatentSegmentationNet:
    """Build an untrained validator network for the latents of ``tiny_inpainter``."""
    with _seeded(4):
        return LatentSegmentationNet(spatial_dims, LATENT_CHANNELS, (8, 16), stride=4, norm_num_groups=4)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
