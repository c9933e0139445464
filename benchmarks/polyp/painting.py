"""Paint every window, whatever the gate would say: for figures of what the inpainter does."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from benchmarks.polyp import common
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.synthesis.sites import Site


def worded(sites: Sequence[Site], prompts: Sequence[str]) -> list[Site]:
    """Return prepared sites with other texts; mask, window, seeds and latents are shared."""
    again = []
    for site, prompt in zip(sites, prompts, strict=True):
        other = copy.copy(site)
        other.plan, other.attempts, other.patch = replace(site.plan, prompt=prompt), [], None
        again.append(other)
    return again


def paint_all(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], *, what: str = "paint") -> None:
    """Deliver into every prepared site what comes of its first seed; nothing is judged."""
    renderer = synthesizer.renderer

    def work(group: list[Site]) -> list[None]:
        prompts, seeds = asked(group, renderer.batch_size)
        with common.plainly(synthesizer):
            latents = renderer.inpainter.inpaint(common.canvas(synthesizer, group), prompts, seeds)
            decoded = renderer.inpainter.decode(latents)
        for site, window in zip(group, decoded, strict=False):
            site.deliver(window)
        return [None] * len(group)

    common.each_batch(sites, work, batch_size=renderer.batch_size, what=what)


def asked(group: Sequence[Site], count: int) -> tuple[list[str], list[int]]:
    """Return ``count`` prompts and first seeds: those of a group, the last one repeated."""
    prompts = common.filled([site.plan.prompt for site in group], count)
    return prompts, common.filled([site.plan.seeds[0] for site in group], count)


def delivered_unit(site: Site) -> np.ndarray:
    """Return the delivered pixels of a site's box in [0, 1], (C, *box); the untouched ones where nothing was."""
    return site.images.to_unit(site.original if site.patch is None else site.patch)
