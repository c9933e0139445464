"""Diffusers' SDXL inpainting pipeline with networks of the size of a bundle's: drawn at random, nothing downloaded."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

MISSING = "diffusers is not installed, so there is nothing to compare with; run: pip install 'monai_diffaug[sdxl]'"
TOKENS = 16


def diffusers_module() -> ModuleType:
    """Import diffusers.

    Raises:
        SystemExit: with one sentence where it is missing.
    """
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import diffusers
            from diffusers import StableDiffusionXLInpaintPipeline  # noqa: F401  (what it needs is imported now)
    except ImportError as error:
        cause = "" if isinstance(error, ModuleNotFoundError) and error.name == "diffusers" else f" ({error})"
        raise SystemExit(MISSING + cause) from error
    return diffusers


def unet(diffusers: Any, *, channels: Sequence[int] = (64, 96, 192), context: int = 128, head: int = 32) -> nn.Module:
    """Return an SDXL denoiser: attention at the coarsest level alone, one block a level, as the bundle's.

    Args:
        diffusers: the module.
        channels: of each level.
        context: numbers of a text token.
        head: channels of a head; what diffusers calls ``attention_head_dim`` is the number of heads.
    """
    levels = len(channels)
    return diffusers.UNet2DConditionModel(
        in_channels=9,
        out_channels=4,
        block_out_channels=tuple(channels),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        cross_attention_dim=context,
        attention_head_dim=tuple(max(width // head, 1) for width in channels),
        norm_num_groups=32,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + context,
    )


def autoencoder(diffusers: Any, *, channels: Sequence[int] = (24, 48, 104)) -> nn.Module:
    """Return an autoencoder of stride 4 without attention; its decoder has a block a level more than the bundle's."""
    levels = len(channels)
    return diffusers.AutoencoderKL(
        block_out_channels=tuple(channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        force_upcast=False,
    )


def text_encoders(width: int = 64, layers: int = 4) -> tuple[Any, Any]:
    """Return SDXL's two text encoders: their last states, side by side, are the context of 2 x ``width`` numbers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=64, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=2, max_position_embeddings=TOKENS, projection_dim=2 * width,
        bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    return CLIPTextModel(config), CLIPTextModelWithProjection(config)


class Rival:
    """The pipeline class, asked for one prompt at a time in token ids: a tokenizer would have to be downloaded.

    Args:
        diffusers: the module.
        dtype: of all networks.
        device: of all networks.
    """

    def __init__(self, diffusers: Any, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first, second = text_encoders()
            vae, denoiser = autoencoder(diffusers), unet(diffusers)
        self.pipeline = diffusers.StableDiffusionXLInpaintPipeline(
            vae, first, second, None, None, denoiser, diffusers.EulerDiscreteScheduler(), add_watermarker=False
        ).to(device, dtype)
        self.pipeline.set_progress_bar_config(disable=True)

    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of each part."""
        line = self.pipeline
        parts = {"autoencoder": [line.vae], "denoiser": [line.unet],
                 "text_encoder": [line.text_encoder, line.text_encoder_2]}  # fmt: skip
        return {name: sum(w.numel() for part in ones for w in part.parameters()) for name, ones in parts.items()}

    @torch.no_grad()
    def context(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens' context (N, L, C) and the pooled text (N, C), as the pipeline makes them of a prompt."""
        line = self.pipeline
        ids = ids.to(line.device)
        states = [part(ids, output_hidden_states=True) for part in (line.text_encoder, line.text_encoder_2)]
        return torch.cat([one.hidden_states[-2] for one in states], dim=-1), states[1][0]

    def paint(
        self, picture: np.ndarray, mask: np.ndarray, *, count: int = 1, steps: int = 50, guidance: float = 7.5
    ) -> np.ndarray:
        """Return ``count`` pictures (N, height, width, 3) painted into one.

        Args:
            picture: (height, width, 3), uint8.
            mask: bool (height, width).
            count: pictures at once.
            steps: of the sampler.
            guidance: scale.
        """
        asked, pooled = self.context(torch.arange(TOKENS)[None] % 60 + 2)
        null, null_pooled = self.context(torch.ones(1, TOKENS, dtype=torch.int64))
        made = self.pipeline(
            image=Image.fromarray(picture), mask_image=Image.fromarray(mask.astype(np.uint8) * 255),
            height=picture.shape[0], width=picture.shape[1], strength=1.0,
            num_inference_steps=steps, guidance_scale=guidance, num_images_per_prompt=count,
            prompt_embeds=asked, pooled_prompt_embeds=pooled,
            negative_prompt_embeds=null, negative_pooled_prompt_embeds=null_pooled,
            generator=torch.Generator().manual_seed(0), output_type="np",
        )  # fmt: skip
        return made.images
