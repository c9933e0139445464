"""The bundle's one network: autoencoder, denoiser, text encoder and validator under one set of weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from monai_diffaug.synthesis.inpainter import Canvas
from monai_diffaug.synthesis.latent_diffusion import LatentDiffusionInpainter


class DiffusionAugmentationNet(nn.Module):
    """Hold all networks of a bundle; ``forward`` paints an image with fixed noise, for checks and exports.

    Synthesis itself uses the parts: windows, text, seeds and the gate are not the network's business.

    Args:
        autoencoder: as MONAI's AutoencoderKL.
        denoiser: as MONAI's DiffusionModelUNet with text by cross-attention, c + 1 + c channels in, c out.
        text_encoder: ``text_encoder(prompts, scale)``.
        validator: latent -> logits on the window grid.
        latent_channels: c; the buffers ``latent_mean`` and ``latent_std`` normalise the autoencoder's latents.
        prompt: what ``forward`` paints.

    Example:
        >>> from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
        >>> from monai_diffaug.networks import LatentSegmentationNet, WordTextEncoder
        >>> plain = {"num_res_blocks": 1, "norm_num_groups": 8, "attention_levels": (False, False)}
        >>> network = DiffusionAugmentationNet(
        ...     AutoencoderKL(2, channels=(8, 8), latent_channels=4, with_encoder_nonlocal_attn=False,
        ...                   with_decoder_nonlocal_attn=False, **plain),
        ...     DiffusionModelUNet(2, 9, 4, channels=(8, 8), num_head_channels=8, with_conditioning=True,
        ...                        cross_attention_dim=8, **plain),
        ...     WordTextEncoder(["polyp"], hidden_size=8, layers=1, heads=2),
        ...     LatentSegmentationNet(2, 4, (8,), stride=2),
        ...     latent_channels=4, prompt="polyp")
        >>> tuple(network(torch.zeros(1, 2, 32, 32)).shape)
        (1, 1, 32, 32)
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        autoencoder: nn.Module,
        denoiser: nn.Module,
        text_encoder: nn.Module,
        validator: nn.Module,
        *,
        latent_channels: int,
        prompt: str = "",
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.validator = validator
        self.prompt = prompt
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Paint where the last channel says, with seed 0 in two steps.

        Args:
            x: (N, C + 1, *size): image in [-1, 1] and mask, above 0 where to paint; sizes a multiple of the stride.

        Returns:
            (N, C, *size) in [-1, 1], the image outside the mask.
        """
        image, mask = x[:, :-1].float(), (x[:, -1:] > 0).float()
        inpainter = LatentDiffusionInpainter(
            self.autoencoder,
            self.denoiser,
            self.text_encoder,
            latent_statistics=(self.latent_mean.float(), self.latent_std.float()),
            levels=[(1.0, 0.5), (0.5, 0.0)],
        )
        source, blanked = inpainter.encode(image), inpainter.encode(image * (1 - mask))
        canvas = Canvas(source, blanked, mask, mask, torch.zeros(len(x), device=x.device))
        painted = inpainter.decode(inpainter.inpaint(canvas, [self.prompt] * len(x), [0] * len(x)))
        return torch.where(mask > 0, painted, image)


def load_weights(network: nn.Module, path: str | Path, *, device: torch.device | str = "cpu") -> nn.Module:
    """Load a composite network's weights into float32 parameters, put it into evaluation mode, and return it.

    Args:
        network: whose keys must equal the file's.
        path: a plain state dict; half precision is widened.
        device: where the network is moved.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where it does not fit the network; names the first keys that differ.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights {path} are missing; train the bundle's networks, or reinstall it")
    state = torch.load(path, map_location="cpu", weights_only=True)
    wanted = network.state_dict()
    wrong = sorted(set(state) ^ set(wanted)) or [k for k, v in wanted.items() if v.shape != state[k].shape]
    if wrong:
        raise ValueError(f"weights {path} do not fit the bundle's network: {len(wrong)} entries differ, {wrong[:3]}")
    network.load_state_dict(state)
    return network.to(device).eval()
