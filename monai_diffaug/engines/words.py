"""Real lesions in words, as a prompt would order them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from monai_diffaug.synthesis.attributes import describe, measure, outline_word, size_word


class LesionWords:
    """Describe a lesion by its class, and by a random choice of its size, outline and measured looks.

    Args:
        cuts: class -> cut points between the terciles of each measured attribute (``attribute_cuts``).
        size_cuts: extents over the image's shortest side between small and medium, medium and large.
        keep: chance of each word to be said, so that any choice of words is understood.

    Example:
        >>> image, mask = np.full((3, 32, 32), 0.5), np.zeros((32, 32), bool)
        >>> mask[8:20, 8:20] = True
        >>> words = LesionWords({"polyp": {"colour": (-0.01, 0.01)}}, (0.1, 0.3), keep=1.0)
        >>> words("polyp", image, mask, (1, 1), np.random.default_rng(0))
        'large round polyp, same colour'
    """

    def __init__(
        self,
        cuts: Mapping[str, Mapping[str, Sequence[float]]],
        size_cuts: tuple[float, float],
        *,
        keep: float = 0.6,
    ) -> None:
        self.cuts = {
            name: {attribute: (float(low), float(high)) for attribute, (low, high) in own.items()}
            for name, own in cuts.items()
        }
        self.size_cuts = size_cuts
        self.keep = keep
        self._seen: dict[Hashable, tuple[list[str], list[str]]] = {}

    def __call__(
        self,
        name: str,
        image: np.ndarray,
        mask: np.ndarray,
        spacing: Sequence[float],
        rng: np.random.Generator,
        *,
        key: Hashable = None,
    ) -> str:
        """Return a text that is true of the lesion.

        Args:
            name: its class, one of the cut points' keys.
            image: values in [0, 1], (C, *spatial).
            mask: the lesion, bool (*spatial), not empty.
            spacing: size of a pixel on each axis.
            rng: chooses and orders the words.
            key: of a lesion that will be asked for again: measured once.
        """
        if key is None or key not in self._seen:
            shape = [size_word(mask, spacing, self.size_cuts), outline_word(mask, spacing)]
            self._seen[key] = shape, describe(measure(image, mask), self.cuts[name])
        shape, looks = self._seen[key]
        head = [word for word in shape if rng.random() < self.keep]
        said = [word for word in looks if rng.random() < self.keep]
        return ", ".join([" ".join([*head, name]), *rng.permutation(said).tolist()])


def attribute_cuts(measured: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Return the cut points between the terciles of every attribute over many measured lesions."""
    cuts = {}
    for name in measured[0]:
        low, high = np.percentile([one[name] for one in measured], [100 / 3, 200 / 3]).round(4).tolist()
        cuts[name] = (low, high)
    return cuts
