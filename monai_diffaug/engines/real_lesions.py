"""Real lesions as the gate sees synthetic ones: windows placed as in use, encoded, and asked of the validator."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from monai_diffaug.engines.windows import TrainingWindow, TrainingWindows
from monai_diffaug.synthesis import Abnormality, ImageFormat, Inpainter, LatentValidator, WindowSampler

Cases = Sequence[Mapping[str, Any]]
"""Dictionaries with ``name``, ``image`` (C, *spatial) and ``label`` (*spatial) as stored, and ``spacing``."""


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
        abnormalities: the classes; where there is one alone, whatever is labelled is of it.
        batch_size: windows that the networks see at once.
        device: where the networks are.
        autocast: as the bundle's renderer has it, so that real and synthetic lesions meet the same arithmetic.

    Example:
        >>> from monai_diffaug.synthesis import ChangeValidator, TextureInpainter
        >>> label = np.zeros((64, 64), np.uint8)
        >>> label[20:40, 20:40] = 1
        >>> case = {"name": "a", "image": np.zeros((1, 64, 64), np.uint8), "label": label}
        >>> looks = RealLesions(
        ...     TextureInpainter(), ChangeValidator(), ImageFormat(2, 1, (0, 255)), WindowSampler((32,)),
        ...     [Abnormality("polyp")],
        ... )
        >>> [one.name for one in looks([case], count=2, seed=0)]
        ['polyp', 'polyp']
    """

    def __init__(
        self,
        inpainter: Inpainter,
        validator: LatentValidator,
        images: ImageFormat,
        windows: WindowSampler,
        abnormalities: Sequence[Abnormality],
        *,
        batch_size: int = 16,
        device: torch.device | str = "cpu",
        autocast: bool = False,
    ) -> None:
        self.inpainter, self.validator, self.images = inpainter, validator, images
        self.windows, self.abnormalities, self.batch_size = windows, abnormalities, batch_size
        self.device, self.autocast = torch.device(device), autocast

    def __call__(self, cases: Cases, *, count: int, seed: int) -> Iterator[SeenLesion]:
        """Yield ``count`` looks at lesions of each class; lesions take turns, and a class without any is left out.

        Raises:
            ValueError: when there is no lesion at all.
        """
        labelled = {one.name: self._of_class(cases, one) for one in self.abnormalities}
        labelled = {name: own for name, own in labelled.items() if any(case["label"].any() for case in own)}
        if not labelled:
            names = " or ".join(one.name for one in self.abnormalities)
            raise ValueError(f"none of {len(cases)} cases has a {names} in its label; give data with labelled lesions")
        for name, own in labelled.items():
            masks: Any = None  # of normal tissue, of which none is drawn
            views = TrainingWindows(own, self.images, self.windows, masks, _NO_WORDS, turned=False, seed=seed)
            yield from self._look(name, (views.lesion(index) for index in range(count)), count)

    def _of_class(self, cases: Cases, wanted: Abnormality) -> list[dict[str, Any]]:
        alone = len(self.abnormalities) == 1
        return [{**case, "label": case["label"] != 0 if alone else case["label"] == wanted.value} for case in cases]

    def _look(self, name: str, views: Iterator[TrainingWindow], count: int) -> Iterator[SeenLesion]:
        """Yield what is seen of windows, batch by batch of equal grids."""
        waiting: dict[tuple[int, ...], list[TrainingWindow]] = {}
        for view in tqdm(views, desc=f"look at real lesions: {name}", total=count, disable=None):
            batch = waiting.setdefault(tuple(view.label.shape[1:]), [])
            batch.append(view)
            if len(batch) == self.batch_size:
                yield from self._see(name, waiting.pop(tuple(view.label.shape[1:])))
        for batch in waiting.values():
            yield from self._see(name, batch)

    def _see(self, name: str, views: Sequence[TrainingWindow]) -> Iterator[SeenLesion]:
        images = torch.stack([view.image for view in views]).to(self.device)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            latents = self.inpainter.encode(images)
            preds = self.validator(latents, latents, tuple(views[0].label.shape[1:])).cpu() > 0.5
        for view, pred, latent in zip(views, preds, latents.cpu(), strict=True):
            mask, others = view.label > 0, view.lesions > view.label
            yield SeenLesion(name, view.name, mask, pred & ~others, view.paint > 0, latent)


def _silent(
    image: np.ndarray, mask: np.ndarray, spacing: Sequence[float], rng: np.random.Generator, *, key: Hashable = None
) -> str:
    """Say nothing: no text is asked for, and measuring a lesion's looks takes longer than encoding it."""
    return ""


_NO_WORDS: Any = _silent
