"""What is asked for: how many samples, from which cases, with which seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from monai_diffaug.generation.cases import Case

LARGEST = 10_000_000


@dataclass(frozen=True)
class PlannedSample:
    """One sample to make.

    Args:
        id: ``CASE__kNN``, also the file name.
        case: the source.
        seed: what the synthesizer is called with.
    """

    id: str
    case: Case
    seed: int


@dataclass(frozen=True)
class Order:
    """A number of planned samples and what they have in common.

    Args:
        num: number of planned samples; or
        ratio: planned samples per usable image.
        per_image: samples of each used image; without it they are spread over all images evenly.
        seed: from which, with case id and k, every sample's own seed is derived.
        prompt: text to paint from, instead of drawing one.
        abnormality: name of the class to paint.
        on_existing: ``beside`` puts new abnormalities beside existing ones, ``skip`` leaves such images out.

    Example:
        >>> Order(ratio=0.5).count(9)
        4
    """

    num: int | None = None
    ratio: float | None = None
    per_image: int | None = None
    seed: int = 0
    prompt: str | None = None
    abnormality: str | None = None
    on_existing: str = "beside"

    def __post_init__(self) -> None:
        if (self.num is None) == (self.ratio is None):
            raise ValueError(f"give either num or ratio, got num={self.num} and ratio={self.ratio}")
        for name in ("num", "ratio", "per_image"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive, got {value}")
        for name in ("num", "per_image", "seed"):
            if not isinstance(getattr(self, name), int | None):
                raise TypeError(f"{name} must be a whole number, got {getattr(self, name)!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be an integer from 0, got {self.seed}")
        for name in ("prompt", "abnormality"):
            if not isinstance(getattr(self, name), str | None):
                raise ValueError(
                    f"{name} must be text, got {getattr(self, name)!r}; quote a comma twice: "
                    f"--{name} \"'redder, smooth'\""
                )
        if self.on_existing not in ("beside", "skip"):
            raise ValueError(f"on_existing must be beside or skip, got {self.on_existing!r}")

    def count(self, cases: int) -> int:
        """Return the number of planned samples for that many usable cases."""
        total = self.num if self.num is not None else round((self.ratio or 0) * cases)
        if total > LARGEST:
            raise ValueError(f"{total} samples were asked for; {LARGEST} at once are the most, make several folders")
        return total

    def plan(self, cases: Sequence[Case]) -> list[PlannedSample]:
        """Return the planned samples: cases in sorted order, and k within a case.

        Raises:
            ValueError: when ``per_image`` samples of every case are fewer than asked for, or none is asked for.
        """
        total = self.count(len(cases))
        if total < 1:
            raise ValueError(
                f"ratio {self.ratio} of {len(cases)} usable images is no sample at all; raise the ratio or give --num"
            )
        if self.per_image is not None and total > self.per_image * len(cases):
            raise ValueError(
                f"{total} samples were asked for, but {len(cases)} usable images with {self.per_image} each make only "
                f"{self.per_image * len(cases)}; raise --per-image or lower the number"
            )
        ordered = sorted(cases, key=lambda case: case.id)
        return [
            PlannedSample(f"{case.id}__k{k:02d}", case, sample_seed(self.seed, case.id, k))
            for case, share in zip(ordered, self._shares(total, len(cases)), strict=True)
            for k in range(share)
        ]

    def _shares(self, total: int, cases: int) -> list[int]:
        """Return how many samples each case gets."""
        if self.per_image is None:
            return [total // cases + (index < total % cases) for index in range(cases)]
        return [min(self.per_image, max(0, total - index * self.per_image)) for index in range(cases)]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sample_seed(seed: int, case_id: str, k: int) -> int:
    """Return a sample's own seed: 48 bits of sha256 over base seed, case id and k, whatever the order or shard."""
    digest = hashlib.sha256(f"{seed}\n{case_id}\n{k}".encode()).hexdigest()
    return int(digest[:12], 16)
