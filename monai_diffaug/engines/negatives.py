"""Windows that look painted but hold no lesion: what the validator must not be taken in by (method 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from monai_diffaug.engines.bank import Group, batch_of, device_of, select, take
from monai_diffaug.synthesis.diffusion import append_dims
from monai_diffaug.synthesis.inpainter import Canvas, Inpainter
from monai_diffaug.synthesis.prompts import NORMAL_TEXT


def repainted(
    groups: Sequence[Group],
    inpainter: Inpainter,
    *,
    count: int,
    batch_size: int = 16,
    again: float = 0.5,
    amp: bool = True,
) -> list[Group]:
    """Paint normal tissue anew, as normal tissue; the target stays what was there before.

    Lesion-shaped pieces of it, with the masks of lesions: whoever sees a lesion in the result has read the mask, not
    the tissue. And whole windows, from nothing, as frames made from noise are.

    Args:
        groups: the bank; its ``normal`` and ``bare`` windows are used, each in proportion.
        inpainter: with trained weights.
        count: windows to paint in the first group; the others in proportion to their size.
        batch_size: windows at once.
        amp: bfloat16 autocast.
        again: share of the results that are decoded and encoded once more, as the gate's second look sees them.
        amp: bfloat16 autocast.
    """
    done = []
    for group, normal in zip(groups, select(groups, kinds={"normal", "bare"}), strict=True):
        wanted = min(len(normal["names"]), max(1, round(count * len(group["names"]) / len(groups[0]["names"]))))
        rows = torch.linspace(0, len(normal["names"]) - 1, wanted).round().int().tolist()
        painted = []
        for first in tqdm(range(0, wanted, batch_size), desc="repaint normal tissue", disable=None):
            with torch.no_grad(), torch.autocast(device_of(inpainter), torch.bfloat16, enabled=amp):
                painted.append(_painted(normal, rows[first : first + batch_size], inpainter, again))
        done.append({**take(normal, rows), "latent": torch.cat(painted).half(), "kinds": ["repainted"] * wanted})
    return done


def _painted(group: Group, rows: list[int], inpainter: Inpainter, again: float) -> Tensor:
    batch = batch_of(group, rows)
    label, paint = batch["label"].float(), batch["paint"].float()
    canvas = Canvas(batch["latent"], batch["blanked"], label, paint, batch["scale"])
    latent = inpainter.inpaint(canvas, [NORMAL_TEXT] * len(rows), rows).cpu()
    second = int(again * len(rows))
    if second:
        latent[:second] = inpainter.encode(inpainter.decode(latent[:second])).cpu()
    return latent


class SingleStep:
    """Bring noised latents back in one step of the denoiser (Eq. 11), the background held.

    Args:
        network: ``DenoiserPass`` with trained weights; it is not trained here.
    """

    def __init__(self, network: Any) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, noised: Tensor, level: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the estimate of the clean latent, (N, c, *latent)."""
        x = torch.cat([noised, batch["area"], batch["blanked"]], dim=1)
        velocity = self.network(x, level * 1000, batch["prompts"], batch["scale"]).float()
        estimate = noised - append_dims(level, noised) * velocity
        return torch.where(batch["hold"] > 0, estimate, batch["latent"])
