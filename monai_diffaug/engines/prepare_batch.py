"""Synthesis of a whole batch at once, between the data loader and the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines import PrepareBatch, PrepareBatchDefault
from torch import Tensor
from torch.utils.data import default_collate

from monai_diffaug.metatensors import described, entries_of, image_spacing, plain, rewrap
from monai_diffaug.synthesis import AbnormalitySynthesizer, SynthesisRecord, SynthesisRequest, SynthesisResult
from monai_diffaug.synthesis.labels import blank

METRIC = "diffaug_accepted"
"""Entry of ``engine.state.metrics``: the share of an epoch's tries that the gate accepted."""


class DiffusionAbnormalityPrepareBatch(PrepareBatch):
    """Put validated abnormalities into some images of a batch, where the synthesizer's networks are.

    Give it to a MONAI trainer twice: as ``prepare_batch`` and among ``train_handlers``. All chosen images go through
    one call of the synthesizer, so that its networks see full batches. Refused images stay as they are. Draws depend on
    ``seed``, the process's rank and the trainer's iteration alone, so a resumed training draws what it would have
    drawn; unattached, calls are counted instead.

    Args:
        synthesizer: paints and validates, on its own device, in the trainer's process.
        prob: probability of trying, for each image.
        image_key: images with stored values (B, C, *spatial), in the synthesizer's intensity range.
        label_key: integer maps (B, 1, *spatial); made where there is none.
        seed: of all draws, from 0.
        abnormality: name of the class to paint, where the bundle has several.
        after: applied to all images of the batch on the trainer's device, e.g. the scaling that the network needs.
        prepare: what moves the batch to the device and names the network's inputs, after synthesis.

    Example:
        >>> import torch
        >>> from monai_diffaug import DiffusionAbnormalityPrepareBatch, load_synthesizer
        >>> synthesizer = load_synthesizer("texture_demo", batch_size=2)
        >>> prepare = DiffusionAbnormalityPrepareBatch(synthesizer, 1.0, seed=3, after=lambda images: images / 255)
        >>> images, labels = prepare({"image": torch.full((2, 3, 160, 160), 120.0)})
        >>> images.shape, [int(label.max()) for label in labels], len(prepare.records)
        (torch.Size([2, 3, 160, 160]), [1, 1], 2)
    """

    def __init__(
        self,
        synthesizer: AbnormalitySynthesizer,
        prob: float = 0.3,
        *,
        image_key: str = "image",
        label_key: str = "label",
        seed: int = 0,
        abnormality: str | None = None,
        after: Callable[[Tensor], Tensor] | None = None,
        prepare: PrepareBatch | None = None,
    ) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob must lie in [0, 1], got {prob}")
        if seed < 0:
            raise ValueError(f"seed must be an integer from 0, got {seed}")
        self.synthesizer, self.prob, self.seed = synthesizer, prob, seed
        self.image_key, self.label_key, self.abnormality = image_key, label_key, abnormality
        self.after, self.prepare = after, PrepareBatchDefault() if prepare is None else prepare
        self.records: list[SynthesisRecord | None] = []
        """One entry for each image of the last batch, None where nothing was tried."""
        self.tried = self.accepted = 0  # in this epoch
        self._calls = 0
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Draw by the engine's iterations, and tell ``state.metrics`` the share accepted in each epoch."""
        self._engine = engine
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: self._begin_epoch())
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda trainer: self._tell(trainer))

    def __call__(  # type: ignore[override]  # every argument has a name here
        self,
        batchdata: dict[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        dtype: torch.dtype | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Any:
        """Return what ``prepare`` returns, image and label by default, of the batch with abnormalities in it."""
        batch = dict(batchdata)
        batch[self.image_key], batch[self.label_key] = self._painted(batch)
        further = {"dtype": dtype, "memory_format": memory_format}
        given = {key: value for key, value in further.items() if value is not None}
        prepared = self.prepare(batch, device, non_blocking, **given)
        if self.after is None:
            return prepared
        images, *others = prepared
        return (self.after(images), *others)

    def _painted(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        images = batch[self.image_key]
        labels = batch.get(self.label_key)
        labels = self._blank(images) if labels is None else labels
        chosen, seeds = self._draw(len(images))
        requests = [self._request(images[k], labels[k], seeds[k]) for k in chosen]
        results = dict(zip(chosen, self.synthesizer.batch(requests), strict=True))
        self.records = [results[k].record if k in results else None for k in range(len(images))]
        accepted = {k: result for k, result in results.items() if result.record.accepted}
        self.tried, self.accepted = self.tried + len(results), self.accepted + len(accepted)
        images, labels = _replaced(images, accepted, "image"), _replaced(labels, accepted, "label")
        if isinstance(images, MetaTensor):
            images = described(images, default_collate([entries_of(record) for record in self.records]))
        return images, labels

    def _draw(self, count: int) -> tuple[list[int], list[int]]:
        """Return the images to try, and a seed for each image."""
        self._calls += 1
        number = self._calls if self._engine is None else self._engine.state.iteration
        rng = np.random.default_rng([self.seed, idist.get_rank(), number])
        seeds = rng.integers(2**31 - 1, size=count).tolist()
        return np.flatnonzero(rng.random(count) < self.prob).tolist(), seeds

    def _request(self, image: Tensor, label: Tensor, seed: int) -> SynthesisRequest:
        return SynthesisRequest(
            plain(image), seed, label=plain(label), spacing=image_spacing(image), abnormality=self.abnormality
        )

    def _blank(self, images: Tensor) -> Tensor:
        values = [one.value for one in self.synthesizer.planner.abnormalities]
        return torch.from_numpy(blank((len(images), 1, *images.shape[2:]), values)).to(images.device)

    def _begin_epoch(self) -> None:
        self.tried = self.accepted = 0

    def _tell(self, engine: Engine) -> None:
        if self.tried:
            engine.state.metrics[METRIC] = self.accepted / self.tried


def _replaced(batch: Tensor, results: dict[int, SynthesisResult], name: str) -> Tensor:
    """Return the batch with the results' images or labels; the loader's own is left alone, pinned stays pinned."""
    if not results:
        return batch
    old = plain(batch)
    new = torch.empty_like(old, pin_memory=old.is_pinned())
    new.copy_(old)
    for index, result in results.items():
        new[index] = getattr(result, name)
    return rewrap(new, batch)
