"""How faithful the autoencoder is on held-out windows that are not enlarged: PSNR and SSIM.

    python -m benchmarks.polyp.autoencoder --bundle polyp_endoscopy --data KVASIR --other CLINICDB [--json FILE]

Windows are drawn around real lesions as in use; those of less than one image pixel a cell are left out, because an
enlarged window is smooth and easy. PSNR is the mean over windows, of values clipped to the range, peak 255 of 8 bits.
The same windows with the paint mask blanked, as the inpainter is conditioned, are told apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.polyp import common
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.metrics import psnr, ssim
from monai_diffaug.synthesis.sites import Site


def not_enlarged(sites: Sequence[Site]) -> list[Site]:
    """Return the windows of at least one image pixel a cell."""
    return [site for site in sites if min(np.divide(site.plan.window.shape, site.plan.window.size)) >= 1]


def reconstruction(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site], *, blanked: bool) -> dict[str, Any]:
    """Encode and decode windows; return the mean PSNR and SSIM, also for each window grid.

    Args:
        synthesizer: whose autoencoder is asked.
        sites: windows.
        blanked: with the paint mask at mid range.
    """
    inpainter = synthesizer.renderer.inpainter

    def work(group: list[Site]) -> list[tuple[float, float]]:
        seen = [torch.where(one.paint > 0, 0.0, one.window_image) if blanked else one.window_image for one in group]
        with common.plainly(synthesizer):
            pixels = common.stack(seen, synthesizer)
            back = inpainter.decode(inpainter.encode(pixels)).clamp(-1, 1)
        return list(zip(psnr(back, pixels).tolist(), ssim(back, pixels).tolist(), strict=True))

    found = np.array(common.each_batch(sites, work, batch_size=synthesizer.renderer.batch_size, what="reconstruct"))
    grids = np.array([site.plan.window.size[0] for site in sites])
    return {
        "windows": len(sites),
        "psnr": float(found[:, 0].mean()),
        "psnr_lowest_tenth": float(np.quantile(found[:, 0], 0.1)),
        "ssim": float(found[:, 1].mean()),
        "psnr_by_grid": {str(grid): float(found[grids == grid, 0].mean()) for grid in sorted(set(grids.tolist()))},
        "windows_by_grid": {str(grid): int((grids == grid).sum()) for grid in sorted(set(grids.tolist()))},
    }


def figures(
    synthesizer: AbnormalitySynthesizer, cases: Sequence[Mapping[str, Any]], *, draws: int, seed: int
) -> dict[str, Any]:
    """Return the figures of one centre."""
    sites = not_enlarged(common.real_sites(synthesizer, cases, draws=draws, seed=seed))
    return {
        "plain": reconstruction(synthesizer, sites, blanked=False),
        "blanked": reconstruction(synthesizer, sites, blanked=True),
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    folders = {"kvasir_test": args.data, "clinicdb": args.other}
    found = {}
    for name, folder in folders.items():
        if folder is not None:
            cases = common.read_cases(folder, synthesizer.images, limit=args.limit)
            found[name] = figures(synthesizer, cases, draws=args.draws, seed=args.seed)
    return found


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--draws", type=int, default=2, help="windows for each lesion")
    asked = made.parse_args()
    common.tell(measure(asked), asked)
