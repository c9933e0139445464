"""A mask sampler for each class of abnormality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monai_diffaug.synthesis.masks import FormulaShapes, MaskSampler, RandomMask
from monai_diffaug.synthesis.sizes import RelativeSize


class MasksByClass:
    """A mask sampler for each class of abnormality: a microaneurysm is no exudate.

    Called without a class, one is drawn.

    Args:
        samplers: class -> sampler.

    Example:
        >>> samplers = MasksByClass.from_extents({"cyst": (0.1, 0.2), "tumour": (0.4, 0.5)})
        >>> mask = samplers.of("cyst")(np.ones((100, 100), bool), (1, 1), np.random.default_rng(0))
        >>> int(mask.any(0).sum()) <= 24
        True
    """

    def __init__(self, samplers: Mapping[str, MaskSampler]) -> None:
        if not samplers:
            raise ValueError("masks by class need at least one class, got none")
        self.samplers = dict(samplers)

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
