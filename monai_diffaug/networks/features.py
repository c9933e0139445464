"""Features of a pretrained network for a perceptual loss; the weights are the user's, none are shipped."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

_PLAN = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
"""Fire modules of SqueezeNet 1.1 by their number in ``features``: channels in, squeezed, expanded (each half)."""


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


class SqueezeNetFeatures(nn.Module):
    """SqueezeNet 1.1's features at three depths, of RGB frames (2D), frozen (Iandola et al. 2016).

    Written out here because torchvision must match torch's build exactly, and breaks transformers where it does not.

    Args:
        weights: state dict of torchvision's ``squeezenet1_1().features``, ``.safetensors`` or ``.pt``, with Caffe's
            scaling (BGR, 0 to 255 minus the channel means 104, 117, 123); further entries are ignored.

    Raises:
        FileNotFoundError: where the file is missing.
        ImportError: for a ``.safetensors`` file where safetensors is missing.
        ValueError: where entries are missing from the file.
    """

    means: Tensor

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()]
        layers += [_Fire(*_PLAN[k]) if k in _PLAN else nn.MaxPool2d(3, 2, ceil_mode=True) for k in range(2, 8)]
        self.features = nn.Sequential(*layers)
        state, wanted = _read(Path(weights)), self.features.state_dict()
        if missing := sorted(set(wanted) - set(state)):
            raise ValueError(f"{weights} is no SqueezeNet 1.1: it lacks {len(missing)} entries such as {missing[0]}")
        self.features.load_state_dict({name: state[name] for name in wanted})
        self.features.eval().requires_grad_(False)
        self.register_buffer("means", torch.tensor([104.0, 117.0, 123.0]).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return features of frames (N, 3, H, W) in [-1, 1], each of unit length over its channels."""
        x = (image.flip(1) + 1) * 127.5 - self.means
        taken = []
        for depth, layer in enumerate(self.features):
            x = layer(x)
            if depth in (1, 4, 7):
                taken.append(nn.functional.normalize(x.float(), dim=1))
        return taken


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} of the perceptual loss are missing")
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True)
    try:
        # Imported here: only who trains an autoencoder with such a file needs it.
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(f"{path} needs safetensors; pip install 'monai_diffaug[train]'") from error
    return load_file(path)
