"""``monai-diffaug remove``: make normal images by removing labelled lesions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("remove", help="make normal images by removing labelled lesions", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="shipped bundle's name, or a bundle folder")
    arg("--images", required=True, type=Path, metavar="DIR_OR_DATALIST", help="PNG, JPEG or NIfTI, or a datalist JSON")
    arg("--labels", type=Path, metavar="DIR", help="what is to be removed, paired by stem; a datalist may name it")
    arg("--output", required=True, type=Path, metavar="OUT", help="new or empty folder")
    arg("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default: 0)")
    arg("--preset", default="fast", help="fast (default) or paper")
    arg("--variant", help="the bundle's config for other images, e.g. volume (default: by the images)")
    arg("--intensity-range", type=float, nargs=2, metavar=("LO", "HI"), help="image values, where not the bundle's")
    arg("--batch-size", type=int, default=1, metavar="B", help="fixed batch shape; part of what the bytes depend on")
    arg("--device", default="auto", help="auto (default), cpu or cuda")
    arg("--resume", action="store_true", help="go on with an interrupted run")
    parser.set_defaults(run=run, after=lambda args: "; what is finished stays, --resume goes on")


def run(args: argparse.Namespace) -> int:
    """Remove the lesions and say how it went."""
    from monai_diffaug.bundle import describe, load_synthesizer, open_bundle
    from monai_diffaug.generation.cases import find_cases
    from monai_diffaug.generation.removal import OfflineRemover
    from monai_diffaug.generation.runfile import refuse_nesting
    from monai_diffaug.synthesis import LesionRemover

    bundle = open_bundle(args.bundle)
    if not bundle.weights:
        raise ValueError(f"bundle {bundle.name} has no networks that know normal tissue; give a trained bundle")
    if args.seed < 0:
        raise ValueError(f"--seed must be an integer from 0, got {args.seed}")
    refuse_nesting(args.images, args.output)
    found = find_cases(args.images, args.labels)
    variant = args.variant or bundle.variant_for(found.spatial_dims)
    synthesizer = load_synthesizer(
        bundle,
        device=args.device,
        preset=args.preset,
        variant=variant,
        intensity_range=args.intensity_range,
        batch_size=args.batch_size,
    )
    about = describe(bundle, preset=args.preset, variant=variant, prompts="standard")
    remover = OfflineRemover(LesionRemover(synthesizer), about, seed=args.seed, resume=args.resume)
    summary = remover(found, args.output)
    if os.environ.get("RANK", "0") != "0":
        return 0
    print(summary.text)
    if summary.planned:
        print(f"wrote {args.output / 'images'}, {args.output / 'labels'} and manifest.jsonl. {DISCLAIMER}")
    return summary.exit_code
