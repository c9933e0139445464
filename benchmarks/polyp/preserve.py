"""What the preserve term is for: the error outside the mask before anything is held or composited.

    python -m benchmarks.polyp.preserve --bundle polyp_endoscopy --data KVASIR --cache DIR [--json FILE]

Two short trainings of the denoiser from the same weights, on the same draws of the bundle's own training windows; only
lambda differs. Then held-out windows are painted with the background free to change: the sampler runs from noise
everywhere, and what it makes outside the paint mask is compared with the window's own latent (mean squared error;
latents have about unit variance). Beside it the same error of single-step estimates from the noised window, outside
and inside the mask, in windows around real lesions with text that fits. Weights are those of the last step.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.polyp import common
from benchmarks.polyp.painting import asked
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.bundle import config_files, open_bundle
from monai_diffaug.configs import read_configs
from monai_diffaug.engines.bank import LatentBatches, bank_key, build_bank, cached_bank
from monai_diffaug.engines.training import Pace, build_trainer, run_training
from monai_diffaug.losses import InpaintingLoss
from monai_diffaug.networks.passes import DenoiserPass
from monai_diffaug.synthesis.diffusion import draw_noise, estimate_clean, sample_inpainting
from monai_diffaug.synthesis.latent_diffusion import to_latent_max
from monai_diffaug.synthesis.sites import Site

LEVELS = (0.25, 0.5, 0.75, 1.0)


def trained(
    start: DenoiserPass, groups: Sequence[Any], *, preserve: float, pace: Pace, batch_cells: int, device: str = "cpu"
) -> DenoiserPass:
    """Return a copy of a network, trained with this lambda; equal arguments see equal draws."""
    network = copy.deepcopy(start)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-4, weight_decay=0.0)
    batches = LatentBatches(groups, batch_cells=batch_cells, seed=pace.seed)
    loss = InpaintingLoss(preserve=preserve)
    run_training(build_trainer(network, loss, optimizer, batches, pace=pace, device=device))
    return network.eval()


def outside_error(painted: Tensor, source: Tensor, hold: Tensor) -> Tensor:
    """Return each sample's mean squared error where nothing should change, (N,).

    Args:
        painted: (N, c, *latent).
        source: (N, c, *latent).
        hold: above 0 where the latent may change, (N, 1, *latent).
    """
    kept = (hold <= 0).float()
    error = (painted - source).square().mean(1, keepdim=True)
    return (error * kept).flatten(1).sum(1) / kept.flatten(1).sum(1).clamp_min(1)


def free_errors(synthesizer: AbnormalitySynthesizer, sites: Sequence[Site]) -> dict[str, float]:
    """Return the mean error outside the paint mask of prepared windows, sampled and estimated without holding.

    Args:
        synthesizer: with a latent diffusion inpainter.
        sites: prepared ones; those whose paint mask fills the window count as 0.
    """
    renderer: Any = synthesizer.renderer

    def work(group: list[Site]) -> list[dict[str, float]]:
        canvas, (prompts, seeds) = common.canvas(synthesizer, group), asked(group, renderer.batch_size)
        source = canvas.source
        hold = to_latent_max(canvas.paint_mask, source.shape[2:])
        noise = draw_noise(source.shape[1:], seeds).to(source)
        with common.plainly(synthesizer):
            denoise = renderer.inpainter.bind(canvas, prompts)
            made = sample_inpainting(denoise, source, noise, torch.ones_like(hold), renderer.inpainter.levels)
            errors = {"sampled_outside": outside_error(made, source, hold)}
            for level in LEVELS:
                guess = estimate_clean(denoise, source, noise, torch.full((len(source),), level, dtype=torch.float64))
                errors[f"estimate_at_{level:g}_outside"] = outside_error(guess, source, hold)
                errors[f"estimate_at_{level:g}_inside"] = outside_error(guess, source, 1 - hold)
        return [{name: float(values[place]) for name, values in errors.items()} for place in range(len(group))]

    rows = common.each_batch(sites, work, batch_size=renderer.batch_size, what="without holding")
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def with_network(synthesizer: AbnormalitySynthesizer, network: DenoiserPass) -> AbnormalitySynthesizer:
    """Return a synthesizer that paints with another denoiser and text encoder."""
    inpainter: Any = copy.copy(synthesizer.renderer.inpainter)
    inpainter.denoiser, inpainter.text_encoder = network.denoiser, network.text_encoder
    renderer = copy.copy(synthesizer.renderer)
    renderer.inpainter = inpainter
    return AbnormalitySynthesizer(synthesizer.images, synthesizer.planner, renderer, weights=synthesizer.weights)


def training_of(args: argparse.Namespace, counts: Mapping[str, int]) -> tuple[list[Any], DenoiserPass]:
    """Return the encoded windows of the bundle's own training config, and the weights to start from."""
    root = open_bundle(args.bundle).root
    parser = read_configs([*config_files(root), root / "configs" / "train_inpainter.json"])
    parser.update({"bundle_root": str(root), "device": args.device, "dataset_dir": str(args.data)})
    drawn = copy.deepcopy(parser.get_parsed_content("network_def"))  # before the bundle's weights are loaded into it
    network, encoder = parser.get_parsed_content("network"), parser.get_parsed_content("encoder")

    windows = parser.get_parsed_content("train::windows")[:1]
    key = bank_key(network, [str(args.data)], windows=windows, counts=[counts])
    build = partial(build_bank, windows, [counts], encoder)
    groups = cached_bank(args.cache / "preserve_bank.pt", key, build)
    start = drawn if args.start == "scratch" else network
    return groups, DenoiserPass(start.denoiser, start.text_encoder)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    synthesizer = common.build(args)
    cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
    sites = common.planned_sites(synthesizer, cases, draws=args.draws, seed=args.seed)
    synthesizer.renderer.prepare(sites)
    share = args.windows / 20
    counts = {"lesion": round(9 * share), "cut": round(2 * share), "normal": round(7 * share), "frame": round(share),
              "bare": round(share)}  # fmt: skip
    groups, start = training_of(args, counts)
    pace = Pace(args.steps, 1, epoch_steps=args.steps, warmup=min(50, args.steps // 4), seed=args.seed)
    found: dict[str, Any] = {"steps": args.steps, "start": args.start, "windows": len(sites)}
    for preserve in args.preserve:
        network = trained(start, groups, preserve=preserve, pace=pace, batch_cells=args.batch_cells, device=args.device)
        found[f"lambda {preserve:g}"] = free_errors(with_network(synthesizer, network), sites)
    return found


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--cache", type=Path, required=True, help="folder outside the repository for encoded windows")
    made.add_argument("--preserve", type=float, nargs="+", default=[0.0, 0.5], help="the lambdas")
    made.add_argument("--steps", type=int, default=300, help="of each training")
    made.add_argument("--start", choices=("scratch", "bundle"), default="scratch", help="weights to start from")
    made.add_argument("--windows", type=int, default=2000, help="training windows to encode")
    made.add_argument("--batch-cells", type=int, default=16 * 32 * 32, help="latent cells a step")
    made.add_argument("--draws", type=int, default=1, help="held-out windows for each frame")
    asked_for = made.parse_args()
    common.tell(measure(asked_for), asked_for)
