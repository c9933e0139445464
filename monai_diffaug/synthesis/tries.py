"""Which attempts a batch is filled with, and which of them are refused before they are painted out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

import torch
from torch import Tensor

from monai_diffaug.synthesis.gate import QualityGate, Verdict
from monai_diffaug.synthesis.normal_gate import NormalGate
from monai_diffaug.synthesis.open_gate import OpenGate
from monai_diffaug.synthesis.sites import Site

Gate = QualityGate | NormalGate | OpenGate


def next_tries(group: Sequence[Site], room: int) -> list[tuple[Site, int]]:
    """Return sites with the noise seed of their next attempt and, while there is room, of the second next, and so on.

    A short batch is padded to its fixed shape and costs as much as a full one, so what the sites would ask for if they
    were refused is painted in the places of the padding. Whoever is not refused never made those attempts.

    Args:
        group: sites that wait to be painted.
        room: places in a batch; the next attempts are returned even where they are more.
    """
    left = [site.plan.seeds[len(site.attempts) :] for site in group]
    rounds = zip_longest(*left)  # the next seeds of all sites, then those after them
    tries = [(site, seed) for one in rounds for site, seed in zip(group, one, strict=True) if seed is not None]
    return tries[: max(room, len(group))]


class EarlyRefusal:
    """The ``keep`` of a batch: refuses an attempt whose single-step estimate is far from its mask (Eq. 11).

    It looks once: a look costs a good part of a step, and is only worth it where the whole batch ends there.

    Args:
        gate: what refuses.
        sites: those of the batch's members, padding left out.
        predict: latents to what is seen at each site.
    """

    def __init__(self, gate: Gate, sites: list[Site], predict: Callable[[Tensor], list[Tensor]]) -> None:
        self.gate, self.sites, self.predict = gate, sites, predict
        self.looked = False
        self.verdicts: dict[int, Verdict] = {}
        self.latents: dict[int, Tensor] = {}

    def __call__(self, level: float, denoised: Tensor) -> Tensor:
        if level <= self.gate.early_level and not self.looked:
            self.looked = True
            for index, pred in enumerate(self.predict(denoised)):
                site = self.sites[index]
                name = site.plan.abnormality.name
                verdict = self.gate.refuse_early(site.mask, pred, before=site.before, name=name)
                if verdict is not None:
                    self.verdicts[index], self.latents[index] = verdict, denoised[index].clone()
        last = len(self.sites) - 1  # padding repeats the last member
        return torch.tensor([min(index, last) not in self.verdicts for index in range(len(denoised))])

    def restore(self, latents: Tensor) -> Tensor:
        """Return refused attempts as they were when refused: how far they went on depends on their batch-mates."""
        return torch.stack([self.latents.get(index, latent) for index, latent in enumerate(latents)])
