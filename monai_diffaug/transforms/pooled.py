"""Ready samples in the place of items, drawn from a pool."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_tensor

from monai_diffaug.metatensors import described, entries_of, rewrap
from monai_diffaug.synthesis import SynthesisRecord


class Sample(Protocol):
    """What a pool gives: ``image`` (C, *spatial), ``label`` (1, *spatial), and how they were made.

    Where it has a mapping ``meta``, that goes into the image's metadata.
    """

    @property
    def image(self) -> Any: ...
    @property
    def label(self) -> Any: ...
    @property
    def record(self) -> SynthesisRecord: ...


class SamplePool(Protocol):
    """Gives the sample that a number drawn from 0 to 2**31 stands for; copies of it may be read in other processes."""

    def sample(self, draw: int) -> Sample: ...


class FixedPool:
    """A pool that never changes: results of a synthesizer, say, or a few made by hand.

    Args:
        samples: at least one.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        if not samples:
            raise ValueError("a pool needs one sample or more, got none")
        self.samples = tuple(samples)

    def sample(self, draw: int) -> Sample:
        return self.samples[draw % len(self.samples)]


class RandPooledAbnormalityd(RandomizableTransform, MapTransform):
    """Put a ready sample of a pool in the place of an item's image and label, with a probability.

    The sample is cast to the item's dtypes, so that a batch may mix both; its shape stays its own. The other keys stay
    the item's. ``image.meta["diffaug"]`` holds the six entries of ``RandDiffusionAbnormality``. Put it where images are
    as the pool's ``load`` gives them: after loading, before scaling and random cropping.

    Args:
        keys: the one image key.
        label_key: key of the label; made empty where an item has none. None = no label.
        pool: what samples come from, e.g. a ``RollingPool``.
        prob: probability of taking one.
        allow_missing_keys: whether a missing image key is left alone.

    Example:
        >>> import torch
        >>> from monai_diffaug import FixedPool, RandPooledAbnormalityd, load_synthesizer
        >>> made = load_synthesizer("texture_demo")(torch.full((3, 160, 160), 120.0), seed=7)
        >>> transform = RandPooledAbnormalityd("image", "label", FixedPool([made]), prob=1.0)
        >>> item = transform({"image": torch.full((3, 160, 160), 120.0), "patient": "a"})
        >>> item["image"].meta["diffaug"]["seed"], int(item["label"].max()), item["patient"]
        (7, 1, 'a')
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str | None,
        pool: SamplePool,
        prob: float = 0.3,
        *,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is needed, got {list(self.keys)}; use one transform for each image")
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        self.label_key, self.pool = label_key, pool
        self._draw = 0
        self._made_dtype: torch.dtype | None = None

    def randomize(self, data: Any = None) -> None:
        """Draw whether to take a sample, and which; both always, so that the stream does not depend on either."""
        super().randomize(None)
        self._draw = int(self.R.randint(2**31 - 1))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            image = convert_to_tensor(item[key], track_meta=get_track_meta())
            given = item.get(self.label_key) if self.label_key is not None else None
            label = None if given is None else convert_to_tensor(given, track_meta=get_track_meta())
            if self._do_transform:
                image, label = self._taken(self.pool.sample(self._draw), image, label)
            else:
                label = self._blank(image) if label is None and self.label_key is not None else label
                image = described(image, entries_of(None))
            item[key] = image
            if self.label_key is not None:
                item[self.label_key] = label
        return item

    def _taken(
        self, sample: Sample, image: torch.Tensor, label: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the sample in the types that the item's image and label have."""
        # Copied: what comes later in the pipeline may work in place.
        taken = torch.as_tensor(sample.image).to(image.device, image.dtype, copy=True)
        if isinstance(image, MetaTensor):
            taken = MetaTensor(taken, meta=dict(getattr(sample, "meta", {})))
        spatial = taken.shape[1:]
        dtype = self._label_dtype() if label is None else label.dtype
        merged = torch.as_tensor(sample.label).to(image.device, dtype, copy=True)
        merged = merged.reshape(spatial if label is not None and label.ndim < image.ndim else (1, *spatial))
        like = taken if label is None or isinstance(label, MetaTensor) else merged
        return described(taken, entries_of(sample.record)), rewrap(merged, like)

    def _blank(self, image: torch.Tensor) -> torch.Tensor:
        """Return an empty label for an image that has none, so that the output's type does not depend on the draw."""
        return rewrap(torch.zeros(1, *image.shape[1:], dtype=self._label_dtype(), device=image.device), image)

    def _label_dtype(self) -> torch.dtype:
        """Return the dtype of the pool's own labels, asked for once."""
        if self._made_dtype is None:
            self._made_dtype = torch.as_tensor(self.pool.sample(0).label).dtype
        return self._made_dtype


RandPooledAbnormalityD = RandPooledAbnormalityDict = RandPooledAbnormalityd
