"""A mask sampler for each class of abnormality."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monai_diffaug.synthesis.masks import FormulaShapes, MaskSampler, OutlineBank, RandomMask
from monai_diffaug.synthesis.sizes import EmpiricalRelativeSize, RelativeSize


@dataclass(frozen=True)
class ObservedShape:
    """Outline and size of a real lesion.

    Args:
        outline: the lesion in its bounding box, bool, any shape; pixels as long as wide.
        share: longest side of that box over the image's shortest side.
    """

    outline: np.ndarray
    share: float


class MasksByClass:
    """A mask sampler for each class of abnormality: a microaneurysm is no exudate.

    Called without a class, one is drawn.

    Args:
        samplers: class -> sampler.
        about: what the record of a run says of where they come from; nothing for a bundle's own.

    Example:
        >>> samplers = MasksByClass.from_extents({"cyst": (0.1, 0.2), "tumour": (0.4, 0.5)})
        >>> mask = samplers.of("cyst")(np.ones((100, 100), bool), (1, 1), np.random.default_rng(0))
        >>> int(mask.any(0).sum()) <= 24
        True
    """

    def __init__(self, samplers: Mapping[str, MaskSampler], *, about: Mapping[str, Any] | None = None) -> None:
        if not samplers:
            raise ValueError("masks by class need at least one class, got none")
        self.samplers, self.about = dict(samplers), dict(about or {})

    @classmethod
    def from_extents(cls, extents: Mapping[str, Sequence[float]], *, min_pixels: int = 12) -> MasksByClass:
        """Return samplers of shapes by formula whose extents are between two shares of the image's shortest side."""
        shape = FormulaShapes()
        return cls(
            {
                name: RandomMask(shape, RelativeSize(low, high), min_pixels=min_pixels)
                for name, (low, high) in extents.items()
            }
        )

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, Sequence[ObservedShape]], *, min_pixels: int = 12) -> MasksByClass:
        """Return samplers of real lesions' outlines, turned and flipped, and of their sizes, each drawn for itself.

        Raises:
            ValueError: when a class has no lesion, or there is no class.

        Example:
            >>> square = ObservedShape(np.ones((5, 5), bool), share=0.2)
            >>> masks = MasksByClass.from_shapes({"cyst": [square]})
            >>> mask = masks(np.ones((100, 100), bool), (1, 1), np.random.default_rng(0))
            >>> 17 <= int(mask.any(0).sum()) <= 24
            True
        """
        samplers: dict[str, MaskSampler] = {}
        for name, observed in shapes.items():
            bank, size = (
                OutlineBank(one.outline for one in observed),
                EmpiricalRelativeSize([s.share for s in observed]),
            )
            samplers[name] = RandomMask(bank, size, min_pixels=min_pixels)
        counts = {name: len(observed) for name, observed in shapes.items()}
        return cls(samplers, about={"lesions": counts, "sha256": _digest(shapes)})

    def of(self, name: str) -> MaskSampler:
        """Return the sampler of a class.

        Raises:
            ValueError: when there is none.
        """
        if name not in self.samplers:
            raise ValueError(f"no sizes are known of {name!r}; known are {', '.join(self.samplers)}")
        return self.samplers[name]

    def __call__(self, allowed: np.ndarray, spacing: Sequence[float], rng: np.random.Generator) -> np.ndarray:
        """Return a mask of any class."""
        names = list(self.samplers)
        name = names[int(rng.integers(len(names)))] if len(names) > 1 else names[0]
        return self.samplers[name](allowed, spacing, rng)


def _digest(shapes: Mapping[str, Sequence[ObservedShape]]) -> str:
    """Return the sha256 of all that masks are drawn from."""
    found = hashlib.sha256()
    for name, observed in sorted(shapes.items()):
        for one in observed:
            found.update(f"{name} {one.outline.shape} {one.share:.9g}\n".encode())
            found.update(np.packbits(one.outline).tobytes())
    return found.hexdigest()
