"""``monai-diffaug generate``: make a set of synthetic images with masks."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER

LEVELS = ("minimal", "standard", "extended")


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("generate", help="make a set of synthetic images with masks", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--images", required=True, type=Path, metavar="DIR_OR_DATALIST", help="PNG, JPEG or NIfTI, or a datalist JSON")
    arg("--labels", type=Path, metavar="DIR", help="what is there already, paired by stem")
    arg("--regions", type=Path, metavar="DIR", help="non-zero where an abnormality may lie, paired by stem")
    arg("--output", required=True, type=Path, metavar="OUT", help="new or empty folder")
    add_order(parser)
    arg("--dry-run", action="store_true", help="check the inputs, say what would be made, write nothing")
    parser.set_defaults(run=run, after=_after)


def add_order(parser: argparse.ArgumentParser) -> None:
    """Add what says how many samples of what kind are made, and by which bundle."""
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="shipped bundle's name, or a bundle folder")
    many = parser.add_mutually_exclusive_group(required=True)
    many.add_argument("--num", type=int, metavar="N", help="number of planned samples")
    many.add_argument("--ratio", type=float, metavar="R", help="planned samples per usable image")
    arg("--per-image", type=int, metavar="K", help="samples of each used image (default: spread evenly)")
    arg("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default: 0)")
    arg("--preset", default="fast", help="fast (default) or paper")
    arg("--intensity-range", type=float, nargs=2, metavar=("LO", "HI"), help="image values, where not the bundle's")
    arg("--variant", help="the bundle's config for other images, e.g. volume (default: by the images)")
    arg("--abnormality", metavar="NAME", help="class to paint, where the bundle has several")
    arg("--counts", type=float, nargs="+", metavar="W", help="weights of 1, 2, 3 ... abnormalities in one image")
    arg("--misses", type=Path, metavar="CSV", help="draw sizes, places and looks where a model misses lesions")
    arg("--shapes-from", metavar="DATA[:SPLIT]", help="draw outlines and sizes of the lesions in these labelled images")
    arg("--prompts", default="standard", metavar="BANK", help='minimal, standard, extended, or "your own text"')
    arg("--on-existing", choices=("beside", "skip"), default="beside", help="images that have lesions already")
    arg("--batch-size", type=int, default=1, metavar="B", help="fixed batch shape; part of what the bytes depend on")
    arg("--device", default="auto", help="auto (default), cpu or cuda")
    arg("--audit", action="store_true", help="keep refused samples under rejected/ too")
    arg("--resume", action="store_true", help="go on with an interrupted run")
    # Else argparse takes -1e+06 for an option.
    parser._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")


def _after(args: argparse.Namespace) -> str:
    return "" if args.dry_run else "; what is finished stays, --resume goes on"


def run(args: argparse.Namespace) -> int:
    """Make the set and say how it went."""
    from monai_diffaug.bundle import bundle_entry, describe, load_synthesizer, open_bundle
    from monai_diffaug.evaluation.shapes import shaped
    from monai_diffaug.generation.cases import find_cases
    from monai_diffaug.generation.misses import aimed
    from monai_diffaug.generation.offline import OfflineGenerator
    from monai_diffaug.generation.runfile import refuse_nesting

    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}")
    order, own_text = _order(args), args.prompts not in LEVELS
    bundle = open_bundle(args.bundle)
    refuse_nesting(args.images, args.output)
    found = find_cases(args.images, args.labels, args.regions)
    variant = args.variant or bundle.variant_for(found.spatial_dims)
    bank = "standard" if own_text else args.prompts
    synthesizer = load_synthesizer(
        bundle,
        device=args.device,
        preset=args.preset,
        variant=variant,
        prompts=bank,
        intensity_range=args.intensity_range,
        batch_size=args.batch_size,
        counts=args.counts,
    )
    synthesizer = shaped(synthesizer, args.shapes_from)
    synthesizer = aimed(synthesizer, args.misses, bundle_entry(bundle, "attribute_cuts", variant=variant))
    synthesizer.planner.check_order(order.prompt, order.abnormality)
    about = describe(bundle, preset=args.preset, variant=variant, prompts=bank)
    generator = OfflineGenerator(synthesizer, order, about, audit=args.audit, resume=args.resume)
    if args.dry_run:
        return _dry_run(generator, found)
    return _report_run(generator(found, args.output), args.output)


def _order(args: argparse.Namespace) -> Any:
    """Return what is asked for."""
    from monai_diffaug.generation.order import Order

    return Order(
        num=args.num,
        ratio=args.ratio,
        per_image=args.per_image,
        seed=args.seed,
        prompt=args.prompts if args.prompts not in LEVELS else None,
        abnormality=args.abnormality,
        on_existing=args.on_existing,
    )


def _report_run(summary: Any, output: Path) -> int:
    """Print how a run went and return its exit code; of several processes the first speaks for all."""
    if os.environ.get("RANK", "0") != "0":
        return 0
    print(summary.text)
    if summary.planned:
        print(f"wrote {output / 'gallery.html'} and {output / 'manifest.jsonl'}. {DISCLAIMER}")
    return summary.exit_code


def _dry_run(generator: Any, found: Any) -> int:
    cases = generator.check(found)
    samples = generator.order.plan(cases.usable) if cases.usable else []
    print(f"{len(cases.usable)} usable images, {len(samples)} samples would be made, nothing was written")
    for sample in samples[:3]:
        print(f"  {sample.id} from {sample.case.source}, seed {sample.seed}")
    for source, sentence in cases.bad:
        print(f"bad input: {sentence if source in sentence else f'{source}: {sentence}'}")
    return 1 if cases.bad else 0
