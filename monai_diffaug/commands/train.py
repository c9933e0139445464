"""``monai-diffaug train``: train a network of a bundle, by the bundle's own configs."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.check import check_data
from monai_diffaug.commands.sections import run_sections

CONFIGS = {
    "autoencoder": ("train_autoencoder",),
    "inpainter": ("train_inpainter",),
    "distillation": ("train_inpainter", "train_distillation"),
    "halving": ("train_inpainter", "train_distillation", "train_halving"),
    "validator": ("train_inpainter", "train_validator"),
}
"""Config files of each stage, over ``common.json``, in the order of training."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("train", help="train a network of a bundle", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("stage", choices=CONFIGS, help="in this order: each lives in the latent space of those before it")
    arg("--bundle", required=True, metavar="B", help="bundle folder whose models/model.pt is written at the end")
    arg("--data", required=True, metavar="DATA", help="images and labels, in train, val and test; or a datalist JSON")
    arg("--output", type=Path, metavar="DIR", help="checkpoint and log (default: B/models/training/STAGE)")
    arg("--resume", action="store_true", help="go on from the checkpoint, exactly as if it had not been stopped")
    arg("--max-steps", type=int, metavar="N", help="optimiser steps in all (default: the config's)")
    arg("--batch-size", type=int, metavar="N", help="samples a step on each process (default: the config's)")
    arg("--workers", type=int, metavar="N", help="processes that prepare batches (default: the config's)")
    arg("--device", default="auto", help="auto (default), cpu or cuda")
    arg("--features", type=Path, metavar="FILE", help="perceptual weights, .safetensors or .pt (autoencoder only)")
    parser.set_defaults(run=run, after=_after)


def run(args: argparse.Namespace) -> int:
    """Train and say where the weights are."""
    from monai_diffaug.bundle import find_bundle
    from monai_diffaug.configs import read_configs

    if args.features and args.stage != "autoencoder":
        raise ValueError(f"--features is the autoencoder's perceptual loss; the {args.stage} has none, leave it out")
    root = find_bundle(args.bundle)
    configs = [root / "configs" / f"{name}.json" for name in CONFIGS[args.stage]]
    if lacking := [config.name for config in configs if not config.is_file()]:
        raise FileNotFoundError(f"bundle {root.name} cannot be trained: it has no configs/{lacking[0]}")
    if not (root / "configs" / "data.json").is_file():
        # Every process of torchrun needs what is found; the first alone tells it.
        with redirect_stdout(sys.stdout if os.environ.get("RANK", "0") == "0" else None):
            check_data(root, args.data)
    args.output = args.output or root / "models" / "training" / args.stage
    parser = read_configs([root / "configs" / "common.json", *configs])
    parser.update(_overrides(args, root, parser))
    # What ignite says of a stop is no news beside the sentence that follows.
    logging.getLogger("ignite").addHandler(logging.NullHandler())
    run_sections(parser)
    if os.environ.get("RANK", "0") == "0":
        print(f"wrote {root / 'models' / 'model.pt'}; log, metrics and checkpoint are in {args.output}. {DISCLAIMER}")
    return 0


def _overrides(args: argparse.Namespace, root: Path, parser: Any) -> dict[str, Any]:
    """Return the config's entries that the arguments replace.

    Raises:
        ValueError: where the config lacks one of them.
    """
    from monai_diffaug.bundle import pick_device

    chosen = {
        "bundle_root": str(root),
        "dataset_dir": args.data,
        "output_dir": str(args.output),
        "resume": args.resume,
        "device": str(pick_device(args.device)),
        "max_steps": args.max_steps,
        "batch_size": args.batch_size,
        "workers": args.workers,
        "feature_weights": str(args.features) if args.features else None,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    entries = ["initialize", "run", "finalize", *chosen]
    if lacking := [name for name in entries if name not in parser.config]:
        raise ValueError(f"the configs of bundle {root.name} lack the entries {lacking}, which its training needs")
    return chosen


def _after(args: argparse.Namespace) -> str:
    there = args.output is not None and (args.output / "checkpoint.pt").is_file()
    return f"; {args.output / 'checkpoint.pt'} is whole, --resume goes on" if there else ""
