"""Stages 5 to 8: encode, paint, gate twice, composite; deterministic, at a fixed batch shape."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from monai_diffaug.synthesis.gate import NEAR_COPY, QualityGate, Verdict
from monai_diffaug.synthesis.inpainter import Canvas, Inpainter
from monai_diffaug.synthesis.provenance import Attempt
from monai_diffaug.synthesis.sites import Site
from monai_diffaug.synthesis.validator import LatentValidator


class Renderer:
    """Work on sites in batches of one fixed shape; short batches are padded with their last member.

    At equal batch shape a sample's bytes do not depend on its batch-mates; at another shape they may.

    Args:
        inpainter: encodes, paints and decodes.
        validator: latent to predicted mask.
        gate: masks to verdict.
        batch_size: number of windows that the networks see at once, always.
        device: where the networks run.
    """

    def __init__(
        self,
        inpainter: Inpainter,
        validator: LatentValidator,
        gate: QualityGate,
        *,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        self.inpainter, self.validator, self.gate = inpainter, validator, gate
        self.batch_size = batch_size
        self.device = torch.device(device)

    @torch.no_grad()
    def prepare(self, sites: Sequence[Site]) -> None:
        """Encode every window, as it is and with the paint mask blanked, and look for lesions that are there."""
        for group in self._groups(sites):
            images = self._stack([site.window_image for site in group])
            paint = self._stack([site.paint for site in group])
            sources = self.inpainter.encode(images)
            for site, source in zip(group, sources, strict=False):
                site.source = source
            # Blanked in pixel space: an encoder leaks a lesion into neighbouring latent cells.
            blanked = self.inpainter.encode(torch.where(paint > 0, 0.0, images))
            preds = self._predict(sources, group)
            for site, blank, pred in zip(group, blanked, preds, strict=False):
                site.blanked = blank
                site.before = self.gate.inspect(site.mask, pred, site.seen)
                if site.before and not self.gate.iou_alone:
                    site.pred = pred
                    site.attempts.append(Attempt(site.plan.seeds[0], 0.0, False, site.before, stopped_early=True))

    @torch.no_grad()
    def attempt(self, sites: Sequence[Site], *, audit: bool = False) -> None:
        """Paint and judge until each prepared site is accepted or out of attempts.

        Args:
            sites: prepared ones; those refused before painting are left alone.
            audit: keep the pixels of the last refused attempt too.
        """
        pending = [site for site in sites if not site.attempts]
        while pending:
            for group in self._groups(pending):
                self._try_once(group, audit)
            pending = [site for site in pending if not site.finished]

    @torch.no_grad()
    def repaint(self, site: Site, seed: int) -> None:
        """Paint a prepared site with the given noise and judge nothing (replay)."""
        latents = self.inpainter.inpaint(self._canvas([site]), *self._asked([site], [seed]))
        site.patch = site.deliver(self.inpainter.decode(latents)[0])

    def _try_once(self, group: list[Site], audit: bool) -> None:
        seeds = [site.plan.seeds[len(site.attempts)] for site in group]
        early = _EarlyRefusal(self.gate, group, lambda latents: self._predict(latents, group))
        latents = self.inpainter.inpaint(self._canvas(group), *self._asked(group, seeds), early)
        judged = self._judge(group, latents, [math.inf] * len(group))
        verdicts = {index: early.verdicts.get(index, verdict) for index, verdict in enumerate(judged)}
        going = [index for index, verdict in verdicts.items() if verdict.accepted]
        deliver = list(range(len(group))) if audit else going
        if deliver:
            delivered = self._deliver([group[index] for index in deliver], latents[deliver])
            verdicts |= {index: verdict for index, verdict in zip(deliver, delivered, strict=True) if index in going}
        for index, site in enumerate(group):
            verdict = verdicts[index]
            stopped = index in early.verdicts
            site.patch = site.patch if verdict.accepted or audit else None
            site.attempts.append(Attempt(seeds[index], verdict.iou, verdict.accepted, verdict.reasons, stopped))

    def _deliver(self, sites: list[Site], latents: Tensor) -> list[Verdict]:
        """Decode, composite, and judge what would be delivered: decoding and blending can break a label."""
        decoded = self.inpainter.decode(self._stack(list(latents)))
        for site, window in zip(sites, decoded, strict=False):
            site.patch = site.deliver(window)
        views = [site.view(site.patch) for site in sites if site.patch is not None]
        changes = [site.change(view) for site, view in zip(sites, views, strict=True)]
        return self._judge(sites, self.inpainter.encode(self._stack(views)), changes)

    def _judge(self, group: list[Site], latents: Tensor, changes: list[float]) -> list[Verdict]:
        preds = self._predict(latents, group)
        copies = self.gate.near_copies(latents) if self.gate.near_copies else torch.zeros(len(latents))
        verdicts = []
        for site, pred, change, copied in zip(group, preds, changes, copies.tolist(), strict=False):
            site.pred = pred
            reasons = (*site.before, NEAR_COPY) if copied else site.before
            verdicts.append(self.gate.judge(site.mask, pred, site.paint, change=change, before=reasons))
        return verdicts

    def _predict(self, latents: Tensor, group: list[Site]) -> list[Tensor]:
        """Return predictions outside known lesions, 0 or 1, (1, *size), on the CPU, for the group's members."""
        sources = self._stack([site.source for site in group])
        probability = self.validator(latents, sources, group[0].plan.window.size).cpu()
        return [(p > 0.5).float() * (1 - site.seen) for site, p in zip(group, probability, strict=False)]

    def _canvas(self, group: list[Site]) -> Canvas:
        return Canvas(
            source=self._stack([site.source for site in group]),
            blanked=self._stack([site.blanked for site in group]),
            label_mask=self._stack([site.mask for site in group]),
            paint_mask=self._stack([site.paint for site in group]),
            scale=self._stack([torch.tensor(site.plan.window.scale) for site in group]),
        )

    def _asked(self, group: list[Site], seeds: list[int]) -> tuple[list[str], list[int]]:
        missing = self.batch_size - len(group)
        prompts = [site.plan.prompt for site in group]
        return prompts + prompts[-1:] * missing, seeds + seeds[-1:] * missing

    def _stack(self, members: list[Tensor]) -> Tensor:
        """Return one batch of the fixed shape on the device."""
        return torch.stack(members + members[-1:] * (self.batch_size - len(members))).to(self.device)

    def _groups(self, sites: Sequence[Site]) -> Iterator[list[Site]]:
        """Yield sites of equal window grid, at most ``batch_size`` together, in order."""
        waiting = deque(sites)
        while waiting:
            size = waiting[0].plan.window.size
            group = [site for site in waiting if site.plan.window.size == size][: self.batch_size]
            taken = {id(site) for site in group}
            waiting = deque(site for site in waiting if id(site) not in taken)
            yield group


class _EarlyRefusal:
    """The ``keep`` of a group: refuses a sample whose single-step estimate is far from its mask (Eq. 11)."""

    def __init__(self, gate: QualityGate, group: list[Site], predict: Callable[[Tensor], list[Tensor]]) -> None:
        self.gate, self.group, self.predict = gate, group, predict
        self.verdicts: dict[int, Verdict] = {}

    def __call__(self, level: float, denoised: Tensor) -> Tensor:
        if level <= self.gate.early_level:
            for index, pred in enumerate(self.predict(denoised)):
                verdict = self.gate.refuse_early(self.group[index].mask, pred)
                if verdict is not None:
                    self.verdicts.setdefault(index, verdict)
        last = len(self.group) - 1  # padding repeats the last member
        return torch.tensor([min(index, last) not in self.verdicts for index in range(len(denoised))])
