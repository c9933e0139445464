"""Stages 5 to 8: encode, paint, gate twice, composite; deterministic, at a fixed batch shape."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from monai_diffaug.synthesis.gate import NEAR_COPY, SURE, Verdict, outside_known
from monai_diffaug.synthesis.inpainter import Canvas, Inpainter
from monai_diffaug.synthesis.provenance import Attempt
from monai_diffaug.synthesis.sites import Site, Work
from monai_diffaug.synthesis.tries import EarlyRefusal, Gate, next_tries
from monai_diffaug.synthesis.validator import LatentValidator, of_class


class Renderer:
    """Work on sites in batches of one fixed shape; short batches are padded with their last member.

    At equal batch shape a sample's bytes do not depend on its batch-mates; at another shape they may.

    Args:
        inpainter: encodes, paints and decodes.
        validator: latent to predicted mask.
        gate: masks to verdict.
        batch_size: number of windows that the networks see at once, always.
        device: where the networks run.
        autocast: run the networks in bfloat16 where that loses little: faster on CPUs and GPUs made for it. Bytes
            differ from float32's.
        classes: names of the abnormalities in the order of the validator's channels, where it has one for each; without
            them what is seen of any class counts.
    """

    def __init__(
        self,
        inpainter: Inpainter,
        validator: LatentValidator,
        gate: Gate,
        *,
        batch_size: int = 1,
        device: torch.device | str = "cpu",
        autocast: bool = False,
        classes: Sequence[str] = (),
    ) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size must be an integer from 1, got {batch_size!r}")
        self.inpainter, self.validator, self.gate = inpainter, validator, gate
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.autocast = autocast
        self.classes = tuple(classes)

    def with_gate(self, gate: Gate, *, classes: Sequence[str] = ()) -> Renderer:
        """Return a renderer with the same networks, judged by another gate; ``classes`` as for the constructor."""
        return Renderer(
            self.inpainter,
            self.validator,
            gate,
            batch_size=self.batch_size,
            device=self.device,
            autocast=self.autocast,
            classes=classes,
        )

    def prepare(self, sites: Sequence[Site]) -> None:
        """Encode every window, as it is and with the paint mask blanked, and look for lesions that are there."""
        with self._own_arithmetic():
            for group in self._groups(sites):
                self._prepare(group)

    def together(self, sites: Sequence[Site]) -> list[Site]:
        """Return unfinished sites to be worked on together next, at most one batch.

        Those have equal window grids and wait for the same work: where they fill a batch the last work, which finishes
        samples; where none do the first, from which later work is filled.
        """
        waiting: dict[tuple[tuple[int, ...], Work], list[Site]] = {}
        for site in sites:
            waiting.setdefault((site.plan.window.size, site.work), []).append(site)

        def turn(group: list[Site]) -> tuple[bool, int, int]:
            full = len(group) >= self.batch_size
            return full, group[0].work if full else -group[0].work, len(group)

        return max(waiting.values(), key=turn, default=[])[: self.batch_size]

    def work(self, group: list[Site], *, audit: bool = False) -> None:
        """Do what sites wait for: encode their windows, paint them, or deliver what was painted.

        Args:
            group: what ``together`` returned, at least one site.
            audit: keep the pixels of refused attempts too.
        """
        with self._own_arithmetic():
            if group[0].work is Work.ENCODE:
                self._prepare(group)
            elif group[0].work is Work.PAINT:
                self._paint(group, audit)
            else:
                self._deliver(group, audit)

    def repaint(self, site: Site, seed: int) -> None:
        """Paint a prepared site with the given noise and judge nothing (replay)."""
        with self._own_arithmetic():
            latents = self.inpainter.inpaint(self._canvas([site]), *self._asked([site], [seed]))
            self._composite([site], latents[:1])

    @contextmanager
    def _own_arithmetic(self) -> Iterator[None]:
        """Keep gradients and the caller's autocast out: a sample's bytes must not depend on who asks."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            yield

    def _prepare(self, group: list[Site]) -> None:
        images = self._stack([site.window_image for site in group])
        hidden = self._stack([site.told.hidden for site in group])
        sources = self.inpainter.encode(self._stack([site.told.start for site in group]))
        # Blanked in pixel space: an encoder leaks a lesion into neighbouring latent cells.
        blanked = self.inpainter.encode(torch.where(hidden > 0, 0.0, images))
        for site, source, blank in zip(group, sources, blanked, strict=False):
            site.source, site.blanked, site.encoded = source, blank, True
        for site, pred in zip(group, self._seen_before(sources, group), strict=True):
            site.before = self.gate.inspect(site.mask, pred, site.seen)
            site.unpaintable = bool(site.before) and not self.gate.iou_alone
            if site.unpaintable:
                site.pred = pred
                site.attempts.append(Attempt(site.plan.seeds[0], 0.0, False, site.before, stopped_early=True))

    def _paint(self, group: list[Site], audit: bool) -> None:
        """Make attempts at each, and judge them in latent space: what is refused there is never decoded."""
        tries = next_tries(group, 0 if audit else self.batch_size)  # an audit delivers every attempt
        sites, seeds = [site for site, _ in tries], [seed for _, seed in tries]
        early = EarlyRefusal(self.gate, sites, lambda latents: self._predict(latents, sites))
        latents = early.restore(self.inpainter.inpaint(self._canvas(sites), *self._asked(sites, seeds), early))
        judged = self._judge(sites, latents, [math.inf] * len(sites))
        for index, (site, (verdict, pred)) in enumerate(zip(sites, judged, strict=True)):
            if site.painted is not None:
                continue  # an earlier try will do
            site.pred = pred
            verdict, stopped = early.verdicts.get(index, verdict), index in early.verdicts
            made = Attempt(seeds[index], verdict.iou, verdict.accepted, verdict.reasons, stopped)
            if verdict.accepted or audit:
                site.painted = latents[index], made
            else:
                site.end(made)

    def _deliver(self, group: list[Site], audit: bool) -> None:
        """Decode, composite, and judge again what was not refused yet."""
        made = [site.painted[1] for site in group if site.painted is not None]
        self._composite(group, torch.stack([site.painted[0] for site in group if site.painted is not None]))
        going = [index for index, attempt in enumerate(made) if attempt.accepted]
        if going:
            judged = self._judge_delivered([group[index] for index in going])
            for index, (verdict, pred) in zip(going, judged, strict=True):
                group[index].pred = pred
                made[index] = Attempt(made[index].seed, verdict.iou, verdict.accepted, verdict.reasons)
        for site, attempt in zip(group, made, strict=True):
            site.end(attempt, keep=audit)

    def _composite(self, sites: list[Site], latents: Tensor) -> None:
        """Decode and blend."""
        decoded = self.inpainter.decode(self._stack(list(latents)))
        for site, window in zip(sites, decoded, strict=False):
            site.deliver(window)

    def _judge_delivered(self, sites: list[Site]) -> list[tuple[Verdict, Tensor]]:
        """Judge the pixels that would be delivered: decoding and blending can break a label."""
        views = [site.delivered_view() for site in sites]
        changes = [site.change(view) for site, view in zip(sites, views, strict=True)]
        return self._judge(sites, self.inpainter.encode(self._stack(views)), changes)

    def _judge(self, group: list[Site], latents: Tensor, changes: list[float]) -> list[tuple[Verdict, Tensor]]:
        """Return the gate's verdict on each member, and what is seen of it, as ``_predict`` does."""
        judged = []
        preds, copies = self._predict(latents, group), self._copied(group, latents)
        for site, pred, change, copied in zip(group, preds, changes, copies, strict=True):
            reasons = (*site.before, NEAR_COPY) if copied else site.before
            name = site.plan.abnormality.name
            verdict = self.gate.judge(site.mask, pred, site.paint, change=change, before=reasons, name=name)
            judged.append((verdict, pred))
        return judged

    def _copied(self, group: list[Site], latents: Tensor) -> list[bool]:
        """Return which of the group's members repeat a training lesion."""
        if self.gate.near_copies is None:
            return [False] * len(group)
        masks = torch.stack([site.mask for site in group])
        return self.gate.near_copies(latents[: len(group)], masks).tolist()

    def _seen_before(self, latents: Tensor, group: list[Site]) -> list[Tensor]:
        """Return where lesions of any class surely are in the untouched windows, as ``_predict`` does."""
        anything = self._probability(latents, group).amax(1, keepdim=True)
        return [outside_known((p > SURE).float(), s.seen, s.mask) for s, p in zip(group, anything, strict=False)]

    def _predict(self, latents: Tensor, group: list[Site]) -> list[Tensor]:
        """Return where each member's class is seen outside known lesions, 0 or 1, (1, *size), on the CPU."""
        seen = [self._own(one, site) for one, site in zip(self._probability(latents, group), group, strict=False)]
        return [outside_known((p > 0.5).float(), s.seen, s.mask) for s, p in zip(group, seen, strict=True)]

    def _probability(self, latents: Tensor, group: list[Site]) -> Tensor:
        sources = self._stack([site.source for site in group])
        return self.validator(latents, sources, group[0].plan.window.size).cpu()

    def _own(self, probability: Tensor, site: Site) -> Tensor:
        """Return the channel (1, *size) of a site's class, or the greatest of all where no classes are told."""
        if not self.classes:
            return probability.amax(0, keepdim=True)
        return of_class(probability[None], self.classes.index(site.plan.abnormality.name))[0]

    def _canvas(self, group: list[Site]) -> Canvas:
        return Canvas(
            source=self._stack([site.source for site in group]),
            blanked=self._stack([site.blanked for site in group]),
            label_mask=self._stack([site.told.outline for site in group]),
            paint_mask=self._stack([site.told.hidden for site in group]),
            scale=self._stack([torch.tensor(site.plan.window.scale) for site in group]),
            begins=group[0].told.begins,
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
