"""What the gate says of accepted samples whose mask was moved or scaled, and of windows with nothing painted.

    python -m benchmarks.polyp.sabotage --bundle polyp_endoscopy --data KVASIR [--json FILE]

Accepted samples on Kvasir's test frames keep their delivered pixels; the mask that they claim is shifted along each
axis, both ways, by 1 to 16 image pixels, or scaled about its centre, with its own paint mask, and the gate judges the
delivered pixels again. Claims that would leave the window are left out. Of the gate's two rounds only this last one is
asked, so the figures are upper bounds. The diameter is the longest side of the mask's bounding box.

Empty paint: the inpainter hands back the source latent. `gate` is the whole pipeline, `masks_alone` what the validator
and the masks would say if the change of the pixels and the look before painting were not asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage
from torch import Tensor

from benchmarks.polyp import common
from benchmarks.polyp.acceptance import paint
from benchmarks.polyp.auditor import delivered_sites
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.metrics import acceptance
from monai_diffaug.synthesis import Canvas, Inpainter, Planner, Renderer
from monai_diffaug.synthesis.inpainter import Keep
from monai_diffaug.synthesis.sites import Site

SHIFTS = (0, 1, 2, 4, 8, 16)
SCALES = (0.7, 1.4)
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2)


@dataclass(frozen=True)
class Claim:
    """A sample's mask, falsified, and what the gate said.

    Args:
        amount: pixels of shift, or factor.
        share: the shift over the diameter.
        accepted: by the gate.
    """

    amount: float
    share: float
    accepted: bool


class EmptyInpainter:
    """Paint nothing: encode and decode as another inpainter does."""

    def __init__(self, inpainter: Inpainter) -> None:
        self.inpainter = inpainter

    def encode(self, image: Tensor) -> Tensor:
        return self.inpainter.encode(image)

    def decode(self, latent: Tensor) -> Tensor:
        return self.inpainter.decode(latent)

    def inpaint(self, canvas: Canvas, prompts: Sequence[str], seeds: Sequence[int], keep: Keep | None = None) -> Tensor:
        return canvas.source


def shifted(mask: np.ndarray, pixels: int) -> Iterator[np.ndarray]:
    """Yield the mask moved along each axis, both ways; moves that would cut it at the image's edge are left out."""
    for axis in range(mask.ndim if pixels else 1):
        for step in (pixels, -pixels)[: 2 if pixels else 1]:
            moved = ndimage.shift(mask.astype(np.uint8), [step * (a == axis) for a in range(mask.ndim)], order=0) > 0
            if moved.sum() == mask.sum():
                yield moved


def scaled(mask: np.ndarray, factor: float) -> np.ndarray:
    """Return the mask scaled about its centroid."""
    centre = np.array(ndimage.center_of_mass(mask))
    matrix = np.full(mask.ndim, 1 / factor)
    return ndimage.affine_transform(mask.astype(np.float32), matrix, centre - matrix * centre, order=1) >= 0.5


def claimed(site: Site, mask: np.ndarray, planner: Planner) -> Site | None:
    """Return the site with another mask and its paint mask; None where the mask leaves the window."""
    known = None if site.known is None else site.known.astype(np.uint8)
    inside = np.zeros(site.spatial, bool)
    inside[site.box] = True
    if not mask.any() or (mask & ~inside).any():
        return None
    return replace(site, plan=replace(site.plan, mask=mask, paint=planner.paint(mask, known)))


def judged(synthesizer: AbnormalitySynthesizer, site: Site, pred: Tensor) -> bool:
    """Return whether the gate accepts a site's mask for a prediction on its delivered pixels."""
    return common.judge(synthesizer, site, pred, change=site.change(site.delivered_view())).accepted


def shift_claims(
    synthesizer: AbnormalitySynthesizer, site: Site, pred: Tensor, *, shifts: Sequence[int] = SHIFTS
) -> list[Claim]:
    """Return what the gate says of an accepted sample when its mask is shifted."""
    planner, diameter = synthesizer.planner, common.extent(site)
    claims = []
    for pixels in shifts:
        for mask in shifted(site.plan.mask, pixels):
            moved = claimed(site, mask, planner)
            if moved is not None:
                claims.append(Claim(pixels, pixels / diameter, judged(synthesizer, moved, pred)))
    return claims


def scale_claims(
    synthesizer: AbnormalitySynthesizer, site: Site, pred: Tensor, *, scales: Sequence[float] = SCALES
) -> list[Claim]:
    """Return what the gate says of an accepted sample when its mask is scaled."""
    changed = [(factor, claimed(site, scaled(site.plan.mask, factor), synthesizer.planner)) for factor in scales]
    return [Claim(factor, 0.0, judged(synthesizer, one, pred)) for factor, one in changed if one is not None]


def curve(claims: Sequence[Claim]) -> dict[str, Any]:
    """Return the acceptance for each amount."""
    amounts = sorted({claim.amount for claim in claims})
    return {f"{amount:g}": _share([c for c in claims if c.amount == amount]) for amount in amounts}


def curve_of_shares(claims: Sequence[Claim]) -> dict[str, Any]:
    """Return the acceptance for each range of shift over diameter."""
    ends = [*SHARES[1:], float("inf")]
    found = {"not shifted": _share([claim for claim in claims if claim.amount == 0])}
    moved = [claim for claim in claims if claim.amount > 0]
    for low, high in zip(SHARES, ends, strict=True):
        name = f"{low:.0%} to {high:.0%}" if np.isfinite(high) else f"beyond {low:.0%}"
        found[name] = _share([claim for claim in moved if low < claim.share <= high])
    return found


def _share(claims: Sequence[Claim]) -> dict[str, Any]:
    accepted = [claim.accepted for claim in claims]
    return {"claims": len(claims), "accepted": float(np.mean(accepted)) if accepted else None}


def empty_paint(
    synthesizer: AbnormalitySynthesizer, cases: Sequence[Mapping[str, Any]], *, draws: int, seed: int
) -> dict[str, Any]:
    """Return how much of nothing is accepted: by the whole pipeline, and by the masks alone."""
    renderer = synthesizer.renderer
    empty = Renderer(
        EmptyInpainter(renderer.inpainter),
        renderer.validator,
        renderer.gate,
        batch_size=renderer.batch_size,
        device=renderer.device,
        autocast=renderer.autocast,
    )
    lazy = AbnormalitySynthesizer(synthesizer.images, synthesizer.planner, empty)
    records = [result.record for result in paint(lazy, cases, draws=draws, seed=seed)]
    sites = common.planned_sites(synthesizer, cases, draws=draws, seed=seed)
    preds = common.predict_sites(synthesizer, sites)
    alone = [
        common.judge(synthesizer, site, pred, change=np.inf).accepted for site, pred in zip(sites, preds, strict=True)
    ]
    return {"gate": acceptance(records), "masks_alone": float(np.mean(alone)) if alone else None}


def draw_curve(figures: Mapping[str, Mapping[str, Any]], width: int = 40) -> str:
    """Return a curve as lines of text."""
    longest = max(len(name) for name in figures)
    lines = []
    for name, one in figures.items():
        accepted = one["accepted"]
        bar = "no claim" if accepted is None else f"{'#' * round(width * accepted):<{width}} {accepted:6.1%}"
        lines.append(f"{name:>{longest}}  {bar}  ({one['claims']})")
    return "\n".join(lines)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    results = paint(synthesizer, cases, draws=args.draws, seed=args.seed)
    sites, _ = delivered_sites(synthesizer, cases, results, draws=args.draws)
    preds = common.predict_sites(synthesizer, sites, image=lambda site: site.delivered_view())
    pairs = list(zip(sites, preds, strict=True))
    shifts = [claim for site, pred in pairs for claim in shift_claims(synthesizer, site, pred)]
    scales = [claim for site, pred in pairs for claim in scale_claims(synthesizer, site, pred)]
    return {
        "samples": len(sites),
        "shift_px": curve(shifts),
        "shift_over_diameter": curve_of_shares(shifts),
        "scale": curve(scales),
        "empty_paint": empty_paint(synthesizer, cases, draws=1, seed=args.seed),
    }


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=3, help="samples for each frame")
    asked = made.parse_args()
    measured = measure(asked)
    common.tell(measured, asked)
    for kind in ("shift_px", "shift_over_diameter", "scale"):
        print(f"\nacceptance by {kind}\n{draw_curve(measured[kind])}" if measured[kind] else f"\nno {kind}")
