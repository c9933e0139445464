"""Windows of labelled images as the inpainter and the validator are trained on: with a lesion, or normal tissue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from monai_diffaug.engines.draws import rng_for, turn
from monai_diffaug.engines.lesions import LabelledCases, Lesion, bank_masks
from monai_diffaug.engines.words import LesionWords
from monai_diffaug.synthesis import ImageFormat
from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.blend import paint_mask
from monai_diffaug.synthesis.masks import NoRoomError, RandomMask
from monai_diffaug.synthesis.prompts import NORMAL_TEXT
from monai_diffaug.synthesis.resample import resample, resample_mask
from monai_diffaug.synthesis.window import Window, WindowSampler

LEAST_SQUARE = 12
"""Side of a lesion-free square in pixels below which it shows no tissue."""


@dataclass(frozen=True)
class TrainingWindow:
    """One window on the network grid.

    Args:
        image: (C, *size) in [-1, 1].
        lesions: the labelled lesions of each class, 0 or 1, (K, *size).
        label: the lesion to paint, or the shape that normal tissue is painted into, 0 or 1, (1, *size).
        paint: where pixels may change; contains ``label``, (1, *size).
        scale: log2 of image pixels per window cell.
        prompt: text that describes what is in ``label``.
        name: the case.
    """

    image: Tensor
    lesions: Tensor
    label: Tensor
    paint: Tensor
    scale: float
    prompt: str
    name: str


class TrainingWindows:
    """Draw windows by number; the same number gives the same window.

    Args:
        labelled: the cases and their lesions.
        images: how stored values meet the networks' range.
        windows: places the window around a mask, with jitter.
        masks: draws masks for normal tissue, from the same outlines and sizes as the lesions.
        words: measures lesions and puts them into words.
        margin: of the paint mask, as a fraction of the extent.
        turned: flip and turn windows at random: tissue has no upright.
        seed: first half of every draw's seed.

    Raises:
        ValueError: when no case has a lesion.
    """

    def __init__(
        self,
        labelled: LabelledCases,
        images: ImageFormat,
        windows: WindowSampler,
        masks: RandomMask,
        words: LesionWords,
        *,
        margin: float = 0.1,
        turned: bool = True,
        seed: int = 0,
    ) -> None:
        self.labelled, self.images, self.windows, self.masks, self.words = labelled, images, windows, masks, words
        self.margin, self.turned, self.seed = margin, turned, seed
        self.cases, self.components, self.lesions = labelled.cases, labelled.parts, labelled.lesions
        self._sides: dict[int, int] = {}
        if not self.lesions:
            raise ValueError(
                f"none of {len(self.cases)} cases has a lesion of {labelled.least} pixels or more in its label"
            )

    def lesion(self, index: int) -> TrainingWindow:
        """Draw a window around a real lesion, with a text that describes it; lesions take turns."""
        rng = rng_for(self.seed, 5 * index)
        lesion = self._turn(index)
        case, mask = lesion.case, self.labelled.mask(lesion)
        paint = paint_mask(mask, None, self._spacing(case), margin=self.margin)
        window = self.windows(mask, self._spacing(case), rng, paint)
        prompt = self._said(lesion, rng)
        return self._view(case, mask, paint, window, prompt, rng)

    def cut(self, index: int) -> TrainingWindow:
        """Draw a window that cuts through a lesion's edge: large lesions as they look at full resolution."""
        rng = rng_for(self.seed, 5 * index + 4)
        lesion = self._turn(index)
        case, mask = lesion.case, self.labelled.mask(lesion)
        extent = extent_of(mask, (1.0,) * mask.ndim)
        side = round(float(np.clip(rng.uniform(0.4, 1.2) * extent, self.windows.sizes[0] / 2, min(mask.shape))))
        spot = rng.choice(np.argwhere(mask ^ ndimage.binary_erosion(mask)))
        shift = rng.uniform(-0.3, 0.3, mask.ndim) * side
        low = np.clip(np.rint(spot + shift - side / 2), 0, np.array(mask.shape) - side).astype(int)
        window = Window(tuple(low.tolist()), (side,) * mask.ndim, (self.windows.sizes[0],) * mask.ndim)
        paint = paint_mask(mask, None, self._spacing(case), margin=self.margin)
        prompt = self._said(lesion, rng)
        return self._view(case, mask, paint, window, prompt, rng)

    def normal(self, index: int) -> TrainingWindow:
        """Draw a window around a lesion-shaped piece of normal tissue; another case is taken where nothing fits.

        Raises:
            ValueError: when nothing fits into any of many cases.
        """
        rng = rng_for(self.seed, 5 * index + 1)
        for _ in range(4 * len(self.cases) + 16):
            case = int(rng.integers(len(self.cases)))
            lesions = self.components[case] > 0
            free = ~ndimage.binary_dilation(lesions, iterations=4) if lesions.any() else ~lesions
            free &= self._lit(case) & self.labelled.place(case)
            try:
                mask = self.masks(free, self._spacing(case), rng)
            except NoRoomError:
                continue
            paint = paint_mask(mask, ~free, self._spacing(case), margin=self.margin)
            window = self.windows(mask, self._spacing(case), rng, paint)
            return self._view(case, mask, paint, window, NORMAL_TEXT, rng)
        raise ValueError(
            f"no normal tissue of a lesion's size was found in {len(self.cases)} images; add normal images"
        )

    def frame(self, index: int) -> TrainingWindow:
        """Draw a whole frame to be painted from nothing: its lesions are the label, and everything is blank."""
        rng = rng_for(self.seed, 5 * index + 2)
        lesion = self._turn(index)
        case = lesion.case
        mask = self.components[case] > 0
        side = min(mask.shape)
        origin = tuple(int(rng.integers(n - side + 1)) for n in mask.shape)
        size = self.windows.sizes[int(rng.integers(len(self.windows.sizes)))]
        window = Window(origin, (side,) * mask.ndim, (size,) * mask.ndim)
        seen = self.labelled.mask(lesion)[window.inside(mask.shape)].any()
        prompt = self._said(lesion, rng)
        return self._view(case, mask, np.ones_like(mask), window, prompt if seen else NORMAL_TEXT, rng)

    def bare(self, index: int) -> TrainingWindow:
        """Draw lesion-free tissue to be painted from nothing: everything blank, the text of normal tissue.

        The label mostly says nothing, sometimes everything: either must give normal tissue.
        """
        rng = rng_for(self.seed, 5 * index + 3)
        case, window = self._lesion_free(rng)
        shape = self.components[case].shape
        mask = np.zeros(shape, bool) if rng.random() < 0.75 else np.ones(shape, bool)
        return self._view(case, mask, np.ones(shape, bool), window, NORMAL_TEXT, rng)

    def _lesion_free(self, rng: np.random.Generator) -> tuple[int, Window]:
        """Draw a square of a case that holds no lesion, not much smaller than the widest that it has room for.

        Where no case has room for one of the size that the grid asks for, the widest there is is enlarged.
        """
        least = self.windows.sizes[0] / self.windows.max_enlargement
        order = rng.permutation(len(self.cases)).tolist()
        case = next((one for one in order if self._widest(one) >= least), None)
        if case is None:
            case = max(order, key=self._widest)
            least = min(least, self._widest(case))
        widest = self._widest(case)
        if widest < LEAST_SQUARE:
            raise ValueError(
                f"none of {len(self.cases)} images has a lesion-free square of {LEAST_SQUARE} pixels; add normal images"
            )
        side = round(rng.uniform(max(0.6 * widest, least), widest))
        spot = rng.choice(np.argwhere(self._room(case) >= side // 2 + 1))
        origin = tuple((spot - (side - 1) // 2).tolist())
        dims = self.components[case].ndim
        return case, Window(origin, (side,) * dims, (self.windows.sizes[0],) * dims)

    def _widest(self, case: int) -> int:
        """Return the side of a case's widest lesion-free square; found once."""
        if case not in self._sides:
            self._sides[case] = 2 * int(self._room(case).max()) - 1
        return self._sides[case]

    def _room(self, case: int) -> np.ndarray:
        """Return each place's distance from lesions and borders along the axes."""
        free = np.pad(self.components[case] == 0, 1)
        return ndimage.distance_transform_cdt(free, metric="chessboard")[(slice(1, -1),) * free.ndim]

    def _turn(self, index: int) -> Lesion:
        return self.lesions[index % len(self.lesions)]

    def _said(self, lesion: Lesion, rng: np.random.Generator) -> str:
        mask, spacing = self.labelled.mask(lesion), self._spacing(lesion.case)
        return self.words(lesion.name, self._unit(lesion.case), mask, spacing, rng, key=(lesion.case, lesion.number))

    def _view(
        self,
        case: int,
        mask: np.ndarray,
        paint: np.ndarray,
        window: Window,
        prompt: str,
        rng: np.random.Generator,
    ) -> TrainingWindow:
        box = window.inside(mask.shape)
        unit = self.images.to_unit(self.cases[case]["image"][(slice(None), *box)])
        image = resample(torch.from_numpy(window.extend(unit, mask.shape)), window.size) * 2 - 1
        grids = [torch.cat([_grid(one, window) for one in self.labelled.classes(case)]), _grid(mask, window)]
        grids.append(_grid(paint, window))
        image, lesions, label, around = turn([image, *grids], rng) if self.turned else [image, *grids]
        return TrainingWindow(
            image=image,
            lesions=lesions,
            label=label,
            paint=torch.maximum(around, label),
            scale=window.scale,
            prompt=prompt,
            name=str(self.cases[case]["name"]),
        )

    def _unit(self, case: int) -> np.ndarray:
        return self.images.to_unit(self.cases[case]["image"])

    def _spacing(self, case: int) -> tuple[float, ...]:
        return self.labelled.spacing(case)

    def _lit(self, case: int) -> np.ndarray:
        """Return where the image shows something: the rim of a frame is black."""
        return ndimage.binary_erosion(self._unit(case).mean(0) > 0.06, iterations=2)


def _grid(mask: np.ndarray, window: Window) -> Tensor:
    part = window.extend(mask[window.inside(mask.shape)], mask.shape)
    if not part.any():
        return torch.zeros(1, *window.size)
    return resample_mask(torch.from_numpy(part.astype(np.float32))[None], window.size)


def training_windows(
    labelled: LabelledCases,
    images: ImageFormat,
    samplers: Sequence[WindowSampler],
    words: LesionWords,
    *,
    masks: RandomMask | None = None,
    seed: int = 0,
) -> list[TrainingWindows]:
    """Return windows for each network grid.

    Args:
        labelled, images, words, seed: as for ``TrainingWindows``.
        samplers: one for each grid.
        masks: of normal tissue; by default the lesions' own outlines and sizes.
    """
    drawn = bank_masks(labelled) if masks is None else masks
    return [TrainingWindows(labelled, images, sampler, drawn, words, seed=seed) for sampler in samplers]


def window_counts(
    windows: Sequence[TrainingWindows],
    shares: Sequence[Mapping[str, float]],
    *,
    looks: int = 6,
    least: int = 2000,
    most: int = 6000,
) -> list[dict[str, int]]:
    """Return how many windows of each kind to draw for each grid.

    Args:
        windows: for each grid.
        shares: for each grid, kind -> windows for each look at a lesion.
        looks: at each lesion, ``least`` and ``most`` in all.

    Example:
        >>> class Two:
        ...     lesions = ["a", "b"]
        >>> window_counts([Two()], [{"lesion": 1.0, "bare": 0.5}], least=4)
        [{'lesion': 12, 'bare': 6}]
    """
    return [
        {kind: max(1, round(share * min(max(looks * len(one.lesions), least), most))) for kind, share in own.items()}
        for one, own in zip(windows, shares, strict=True)
    ]
