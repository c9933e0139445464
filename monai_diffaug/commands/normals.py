"""``monai-diffaug normals``: make frames of normal tissue from noise."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("normals", help="make frames of normal tissue from noise", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="shipped bundle's name, or a bundle folder; trained")
    arg("--output", required=True, type=Path, metavar="OUT", help="folder; what is there is not made again")
    arg("--num", type=int, required=True, metavar="N", help="frames wanted")
    arg("--shape", type=int, nargs=2, default=(216, 288), metavar=("H", "W"), help="pixels (default: 216 288)")
    arg("--seed", type=int, default=0, metavar="S", help="of the first frame (default: 0)")
    arg("--steps", type=int, default=24, help="of the first pass (24)")
    arg(
        "--most-lesions", type=float, default=0.1, metavar="F", help="share of windows that may look like lesions (0.1)"
    )
    arg("--batch-size", type=int, default=4, metavar="B", help="fixed batch shape; part of what the bytes depend on")
    arg("--device", default="auto", help="auto (default), cpu or cuda")
    parser.set_defaults(run=run, after=lambda args: "; what is finished stays, the same command goes on")


def run(args: argparse.Namespace) -> int:
    """Make the frames and say how many there are."""
    from monai_diffaug.bundle import describe, load_synthesizer, open_bundle
    from monai_diffaug.generation.normals import NormalFrames, quick_stages

    bundle = open_bundle(args.bundle)
    if min(args.num, args.batch_size) < 1 or args.seed < 0 or not 0 <= args.most_lesions <= 1:
        raise ValueError("--num and --batch-size must be 1 or more, --seed 0 or more, --most-lesions between 0 and 1")
    if not bundle.weights:
        raise ValueError(f"bundle {bundle.name} has no networks that know normal tissue; give a trained bundle")
    # What was distilled knows the levels of inpainting alone.
    synthesizer = load_synthesizer(bundle, preset="paper", device=args.device, batch_size=args.batch_size)
    stages = quick_stages(synthesizer.planner.windows.sizes[0], args.steps)
    frames = NormalFrames(synthesizer, stages, tuple(args.shape), most_lesions=args.most_lesions)
    about = describe(bundle, preset="paper", variant=None, prompts="standard")
    about.pop("bundle_root")
    count = frames(args.output, args.num, args.seed, about)
    print(f"wrote {count} of {args.num} frames to {args.output / 'images'}. {DISCLAIMER}")
    return 0 if count == args.num else 3
