"""Real lesions as the gate sees synthetic ones: windows placed as in use, encoded, and asked of the validator."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.engines.windows import TrainingWindow, TrainingWindows
from monai_diffaug.synthesis import ImageFormat, Inpainter, LatentValidator, WindowSampler
from monai_diffaug.synthesis.validator import of_class


@dataclass(frozen=True)
class SeenLesion:
    """A real lesion in its window.

    Args:
        name: its class.
        case: name of its case.
        mask: its label, bool (1, *size).
        pred: what the validator predicts outside the window's other lesions, bool (1, *size).
        paint: where a synthetic lesion of this mask could change pixels, bool (1, *size).
        latent: the window, encoded, (c, *latent).
    """

    name: str
    case: str
    mask: Tensor
    pred: Tensor
    paint: Tensor
    latent: Tensor


class RealLesions:
    """Look at labelled lesions through a bundle's own windows, autoencoder and validator.

    Args:
        inpainter: encodes.
        validator: latent to predicted mask.
        images: how stored values meet the networks' range.
        windows: the bundle's own, with jitter: each look at a lesion is another window.
        batch_size: windows that the networks see at once.
        device: where the networks are.
        autocast: as the bundle's renderer has it, so that real and synthetic lesions meet the same arithmetic.

    Example:
        >>> from monai_diffaug.synthesis import ChangeValidator, TextureInpainter
        >>> label = np.zeros((64, 64), np.uint8)
        >>> label[20:40, 20:40] = 1
        >>> case = {"name": "a", "image": np.zeros((1, 64, 64), np.uint8), "label": label}
        >>> looks = RealLesions(
        ...     TextureInpainter(), ChangeValidator(), ImageFormat(2, 1, (0, 255)), WindowSampler((32,))
        ... )
        >>> [one.name for one in looks(LabelledCases([case]), count=2, seed=0)]
        ['lesion', 'lesion']
    """

    def __init__(
        self,
        inpainter: Inpainter,
        validator: LatentValidator,
        images: ImageFormat,
        windows: WindowSampler,
        *,
        batch_size: int = 16,
        device: torch.device | str = "cpu",
        autocast: bool = False,
    ) -> None:
        self.inpainter, self.validator, self.images = inpainter, validator, images
        self.windows, self.batch_size = windows, batch_size
        self.device, self.autocast = torch.device(device), autocast

    def __call__(self, labelled: LabelledCases, *, count: int, seed: int) -> Iterator[SeenLesion]:
        """Yield ``count`` looks at lesions of each class; lesions take turns, and a class without any is left out.

        Raises:
            ValueError: when there is no lesion at all.
        """
        if not labelled.lesions:
            names = " or ".join(one.name for one in labelled.abnormalities)
            raise ValueError(f"none of {len(labelled.cases)} cases has a {names} in its label; give labelled lesions")
        for channel, one in enumerate(labelled.abnormalities):
            if not (own := labelled.only(one.name)).lesions:
                continue
            masks: Any = None  # of normal tissue, of which none is drawn
            views = TrainingWindows(own, self.images, self.windows, masks, _NO_WORDS, turned=False, seed=seed)
            drawn = (views.lesion(index) for index in range(count))
            yield from self._look(one.name, channel, drawn, count)

    def _look(self, name: str, channel: int, views: Iterator[TrainingWindow], count: int) -> Iterator[SeenLesion]:
        """Yield what is seen of windows, batch by batch of equal grids."""
        waiting: dict[tuple[int, ...], list[TrainingWindow]] = {}
        for view in tqdm(views, desc=f"look at real lesions: {name}", total=count, disable=None):
            batch = waiting.setdefault(tuple(view.label.shape[1:]), [])
            batch.append(view)
            if len(batch) == self.batch_size:
                yield from self._see(name, channel, waiting.pop(tuple(view.label.shape[1:])))
        for batch in waiting.values():
            yield from self._see(name, channel, batch)

    def _see(self, name: str, channel: int, views: Sequence[TrainingWindow]) -> Iterator[SeenLesion]:
        images = torch.stack([view.image for view in views]).to(self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            latents = self.inpainter.encode(images)
            seen = self.validator(latents, latents, tuple(views[0].label.shape[1:]))
        preds = of_class(seen, channel).cpu() > 0.5
        for view, pred, latent in zip(views, preds, latents.cpu(), strict=True):
            mask, others = view.label > 0, view.lesions > view.label
            yield SeenLesion(name, view.name, mask, pred & ~others, view.paint > 0, latent)


def _silent(
    name: str,
    image: np.ndarray,
    mask: np.ndarray,
    spacing: Sequence[float],
    rng: np.random.Generator,
    *,
    key: Hashable = None,
) -> str:
    """Say nothing: no text is asked for, and measuring a lesion's looks takes longer than encoding it."""
    return ""


_NO_WORDS: Any = _silent
