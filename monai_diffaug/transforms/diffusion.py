"""Random synthesis of abnormalities inside a MONAI ``Compose``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import TransformBackends, convert_to_tensor

from monai_diffaug.metatensors import described, entries_of, image_spacing, plain, rewrap
from monai_diffaug.synthesis import AbnormalitySynthesizer
from monai_diffaug.synthesis.labels import blank


class RandDiffusionAbnormality(RandomizableTransform):
    """Put a validated synthetic abnormality into an image, with a probability.

    A refused sample comes back untouched; ``image.meta["diffaug"]`` always holds the same six entries: ``applied``,
    ``accepted``, ``iou``, ``attempts``, ``seed``, ``prompt``. The seed alone makes the sample again.

    Args:
        synthesizer: what paints and validates, e.g. from ``load_synthesizer``.
        prob: probability of trying.
        abnormality: name of the class to paint, where the bundle has several.

    Example:
        >>> import torch
        >>> from monai_diffaug import RandDiffusionAbnormality, load_synthesizer
        >>> transform = RandDiffusionAbnormality(load_synthesizer("texture_demo"), prob=1.0)
        >>> image, label = transform.set_random_state(3)(torch.full((3, 160, 160), 120.0))
        >>> sorted(image.meta["diffaug"])
        ['accepted', 'applied', 'attempts', 'iou', 'prompt', 'seed']
    """

    backend = [TransformBackends.TORCH]

    def __init__(
        self, synthesizer: AbnormalitySynthesizer, prob: float = 0.1, *, abnormality: str | None = None
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        self.synthesizer = synthesizer
        self.abnormality = abnormality
        self._seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw whether to try, and the sample's seed; both always, so that the stream does not depend on either."""
        super().randomize(None)
        self._seed = int(self.R.randint(2**31 - 1))

    def __call__(
        self,
        image: Any,
        label: Any = None,
        mask: Any = None,
        prompt: str | None = None,
        randomize: bool = True,
        regions: Any = None,
    ) -> tuple[Any, Any]:
        """Return image and label, in the types that MONAI's transforms give.

        Args:
            image: (C, *spatial), values in the synthesizer's intensity range.
            label: integer map of what is there, (*spatial) or (1, *spatial).
            mask: the abnormality to paint, instead of drawing one, same shapes.
            prompt: text to paint from, instead of drawing one.
            randomize: False uses the last draw again.
            regions: non-zero where an abnormality may lie, same shapes.

        Returns:
            The image, and the label with the abnormality merged in (made where none was given).
        """
        if randomize:
            self.randomize()
        spacing = image_spacing(image)  # first: without metadata tracking the affine is dropped
        image = convert_to_tensor(image, track_meta=get_track_meta())
        if label is not None:
            label = convert_to_tensor(label, track_meta=get_track_meta())
        if not self._do_transform:
            return described(image, entries_of(None)), label if label is not None else self._blank(image)
        self._refuse_forked_cuda()
        result = self.synthesizer(
            plain(image), plain(label), self._seed, spacing, plain(regions), plain(mask), prompt, self.abnormality
        )
        like = label if label is not None else self._blank(image)
        # A label of booleans comes back as integers; a batch needs one dtype, whatever was drawn.
        merged = result.label.to(like.dtype)
        return described(rewrap(result.image, image), entries_of(result.record)), rewrap(merged, like)

    def _blank(self, image: torch.Tensor) -> torch.Tensor:
        """Return an empty label for an image that has none, so that the output's type does not depend on the draw."""
        values = [one.value for one in self.synthesizer.planner.abnormalities]
        return rewrap(torch.from_numpy(blank((1, *image.shape[1:]), values)).to(image.device), image)

    def _refuse_forked_cuda(self) -> None:
        forked = torch.utils.data.get_worker_info() is not None and torch.cuda._is_in_bad_fork()
        if self.synthesizer.renderer.device.type == "cuda" and forked:
            raise RuntimeError(
                "a synthesizer on CUDA cannot run in forked data-loading workers; use num_workers=0, "
                "multiprocessing_context='spawn', MONAI's ThreadDataLoader, or a synthesizer on the CPU"
            )


class RandDiffusionAbnormalityd(RandomizableTransform, MapTransform):
    """Dictionary form of ``RandDiffusionAbnormality``.

    Args:
        keys: the one image key.
        label_key: key of the label to read and to merge into; made where it is missing. None = no label.
        synthesizer: what paints and validates.
        prob: probability of trying.
        mask_key: key of a mask to paint, instead of drawing one.
        regions_key: key of a map that is non-zero where an abnormality may lie.
        prompt_key: key of a text to paint from, instead of drawing one.
        allow_missing_keys: whether a missing image key is left alone.

    Example:
        >>> import torch
        >>> from monai_diffaug import RandDiffusionAbnormalityd, load_synthesizer
        >>> synthesizer = load_synthesizer("texture_demo")
        >>> transform = RandDiffusionAbnormalityd("image", "label", synthesizer, prob=1.0).set_random_state(0)
        >>> item = transform({"image": torch.full((3, 160, 160), 120.0), "label": torch.zeros(1, 160, 160)})
        >>> item["image"].meta["diffaug"]["applied"], item["label"].shape
        (True, torch.Size([1, 160, 160]))
    """

    backend = RandDiffusionAbnormality.backend

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str | None,
        synthesizer: AbnormalitySynthesizer,
        prob: float = 0.1,
        *,
        mask_key: str | None = None,
        regions_key: str | None = None,
        prompt_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if len(self.keys) != 1:
            raise ValueError(f"one image key is needed, got {list(self.keys)}; use one transform for each image")
        self.transform = RandDiffusionAbnormality(synthesizer, prob)
        self.label_key, self.mask_key = label_key, mask_key
        self.regions_key, self.prompt_key = regions_key, prompt_key

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandDiffusionAbnormalityd:
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def randomize(self, data: Any = None) -> None:
        """Draw for the image key; the array transform holds the draw."""
        self.transform.randomize()
        self._do_transform = self.transform._do_transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        self.randomize()
        for key in self.key_iterator(item):
            image, label = self.transform(
                item[key],
                self._optional(item, self.label_key),
                self._optional(item, self.mask_key),
                self._optional(item, self.prompt_key),
                randomize=False,
                regions=self._optional(item, self.regions_key),
            )
            item[key] = image
            if self.label_key is not None:
                item[self.label_key] = label
        return item

    @staticmethod
    def _optional(item: Mapping[Hashable, Any], key: str | None) -> Any:
        return None if key is None else item.get(key)


RandDiffusionAbnormalityD = RandDiffusionAbnormalityDict = RandDiffusionAbnormalityd
