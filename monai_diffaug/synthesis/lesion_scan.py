"""How much of a whole image looks like lesions to a bundle's own gate: for images that shall be normal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from monai_diffaug.synthesis.gate import SURE
from monai_diffaug.synthesis.resample import resample
from monai_diffaug.synthesis.synthesizer import AbnormalitySynthesizer
from monai_diffaug.synthesis.tiles import Tiles


def windows_with_lesions(
    synthesizer: AbnormalitySynthesizer, image: np.ndarray, *, sides: Sequence[int] = (128, 256)
) -> float:
    """Return the share of windows over a whole image in which the bundle's gate sees a lesion.

    Args:
        synthesizer: its validator looks, its gate inspects.
        image: stored values, (C, *spatial); all of it is covered by half-overlapping windows of each side, and by
            windows as large as fit.
        sides: of the windows in pixels; each is resampled to the smallest network grid.
    """
    grid = (synthesizer.planner.windows.sizes[0],) * (image.ndim - 1)
    values = torch.from_numpy(2 * synthesizer.images.to_unit(image) - 1)
    shortest = min(image.shape[1:])
    views = [
        resample(values[(slice(None), *box)], grid)
        for side in sorted({min(side, shortest) for side in (*sides, shortest)})
        for box in Tiles(image.shape[1:], (side,) * len(grid)).boxes
    ]
    renderer, gate = synthesizer.renderer, synthesizer.renderer.gate
    least = torch.zeros(1, *grid)
    least[(slice(None), *(slice(3 * n // 8, 5 * n // 8) for n in grid))] = 1  # no lesion is painted smaller
    found, size = 0, renderer.batch_size
    for first in range(0, len(views), size):
        part = views[first : first + size]
        batch = torch.stack(part + part[-1:] * (size - len(part))).to(renderer.device)
        with torch.no_grad():
            latent = renderer.inpainter.encode(batch)
            preds = (renderer.validator(latent, latent, grid).cpu() > SURE).float().amax(1, keepdim=True)
        found += sum(bool(gate.inspect(least, pred, 0 * pred)) for pred in preds[: len(part)])
    return found / len(views)
