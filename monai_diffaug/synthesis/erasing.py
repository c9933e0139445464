"""Brief the networks to paint normal tissue: what they begin from is continued from beside the lesion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from monai_diffaug.synthesis.blend import grain
from monai_diffaug.synthesis.sites import Briefing, Site

BEGINS = 0.75
"""Noise level at which normal tissue is begun: coarse colours are continued from beside it, the rest is drawn."""


@dataclass(frozen=True)
class Erasing:
    """Tell nothing of a lesion: all of the image's lesions are hidden, and no outline is given.

    Told a lesion's outline, a denoiser paints something into it; begun from pure noise, it likes a dark hollow there.

    Args:
        hidden: the paint masks of all lesions, bool (*spatial); of a site's own alone pixels are delivered.
        tissue: where colours may be continued from, bool (*spatial).
    """

    hidden: np.ndarray
    tissue: np.ndarray

    def __call__(self, site: Site) -> Briefing:
        hidden = torch.maximum(site.grid(self.hidden), site.paint)
        tissue = site.grid(self.tissue)[0].numpy() > 0
        start = continued(site.window_image.numpy(), hidden[0].numpy() > 0, tissue)
        # The lesion's own grain would show its surface through the paint.
        detail = mirrored(grain(site.original), self.hidden[site.box])[site.inner]
        return Briefing(hidden, hidden, torch.from_numpy(start.astype(np.float32)), detail, BEGINS)


def continued(values: np.ndarray, hidden: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Return values whose hidden part smoothly continues those beside it, the nearest most of all.

    Args:
        values: any numbers, (C, *box).
        hidden: what is to be filled, bool (*box).
        tissue: where values may be taken from, bool (*box); anywhere not hidden where it is nowhere.
    """
    usable = tissue & ~hidden
    known = (usable if usable.any() else ~hidden).astype(float)
    total, weight = np.zeros(values.shape), np.zeros(hidden.shape)
    for octave in range(int(np.log2(max(hidden.shape)))):  # Gaussian means, wider and wider
        sigma = 2.0**octave
        total += ndimage.gaussian_filter(values * known, (0, *[sigma] * hidden.ndim)) / sigma**2
        weight += ndimage.gaussian_filter(known, sigma) / sigma**2
    return np.where(hidden, total / np.maximum(weight, 1e-12), values)


def mirrored(values: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return values whose hidden part is the mirror image of what lies beside it, 0 where that is hidden too.

    Args:
        values: any numbers, (C, *box).
        hidden: what may not be shown, bool (*box).
    """
    if not hidden.any() or hidden.all():
        return np.where(hidden, 0, values)
    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    limits = np.array(hidden.shape).reshape(-1, *[1] * hidden.ndim) - 1
    beyond = np.abs(2 * nearest - np.indices(hidden.shape))  # at the box's own edges it is mirrored once more
    beyond = np.clip(limits - np.abs(limits - beyond), 0, limits)
    return np.where(hidden[tuple(beyond)], 0, values[(slice(None), *beyond)])
