"""The command line: parses first, imports later, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LEVELS = ("minimal", "standard", "extended")
DISCLAIMER = "Synthetic images are for research and training only, not for diagnosis."


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 fine, 1 bad inputs, 2 usage, 3 too few accepted, 4 replay differs."""
    args = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.filterwarnings("default", module="monai_diffaug")  # our own are notes, whatever the filters are
        warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Run the command; whatever a person can put right becomes one sentence on standard error."""
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"stopped{_after(args)}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, FileNotFoundError) as error:
        print(f"monai-diffaug {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        what = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        print(f"monai-diffaug {args.command}: {what}{where}{_after(args)}", file=sys.stderr)
        return 1
    except (RuntimeError, ImportError) as error:  # out of GPU memory, an extra that is not installed...
        what = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(f"monai-diffaug {args.command}: {what}{_after(args)}", file=sys.stderr)
        return 1


def _after(args: argparse.Namespace) -> str:
    """Say what becomes of a stopped run, where it can go on."""
    return "; what is finished stays, --resume goes on" if args.command == "generate" and not args.dry_run else ""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser("monai-diffaug", description=_ABOUT, epilog=DISCLAIMER)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_generate(commands)
    _add_replay(commands)
    gallery = commands.add_parser("gallery", help="write the page to look at", epilog=DISCLAIMER)
    gallery.add_argument("output", type=Path, metavar="OUT", help="folder that generate has written")
    gallery.set_defaults(run=_gallery)
    return parser


_ABOUT = "Put validated synthetic abnormalities into normal medical images."


def _add_generate(commands: Any) -> None:
    add = commands.add_parser("generate", help="make a set of synthetic images with masks", epilog=DISCLAIMER)
    arg = add.add_argument
    arg("--bundle", required=True, metavar="B", help="shipped bundle's name, or a bundle folder")
    arg("--images", required=True, type=Path, metavar="DIR_OR_DATALIST", help="PNG, JPEG or NIfTI, or a datalist JSON")
    arg("--labels", type=Path, metavar="DIR", help="what is there already, paired by stem")
    arg("--regions", type=Path, metavar="DIR", help="non-zero where an abnormality may lie, paired by stem")
    arg("--output", required=True, type=Path, metavar="OUT", help="new or empty folder")
    many = add.add_mutually_exclusive_group(required=True)
    many.add_argument("--num", type=int, metavar="N", help="number of planned samples")
    many.add_argument("--ratio", type=float, metavar="R", help="planned samples per usable image")
    arg("--per-image", type=int, metavar="K", help="samples of each used image (default: spread evenly)")
    arg("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default: 0)")
    arg("--preset", default="fast", help="fast (default) or paper")
    arg("--intensity-range", type=float, nargs=2, metavar=("LO", "HI"), help="image values, where not the bundle's")
    arg("--variant", help="the bundle's config for other images, e.g. volume (default: by the images)")
    arg("--abnormality", metavar="NAME", help="class to paint, where the bundle has several")
    arg("--prompts", default="standard", metavar="BANK", help='minimal, standard, extended, or "your own text"')
    arg("--on-existing", choices=("beside", "skip"), default="beside", help="images that have lesions already")
    arg("--batch-size", type=int, default=1, metavar="B", help="fixed batch shape; part of what the bytes depend on")
    arg("--device", default="auto", help="auto (default), cpu or cuda")
    arg("--audit", action="store_true", help="keep refused samples under rejected/ too")
    arg("--resume", action="store_true", help="go on with an interrupted run")
    arg("--dry-run", action="store_true", help="check the inputs, say what would be made, write nothing")
    # Else argparse takes -1e+06 for an option.
    add._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
    add.set_defaults(run=_generate)


def _add_replay(commands: Any) -> None:
    add = commands.add_parser("replay", help="make recorded samples again and compare", epilog=DISCLAIMER)
    arg = add.add_argument
    arg("manifest", type=Path, metavar="OUT/manifest.jsonl")
    arg("--id", metavar="ID", help="one sample (default: all accepted ones)")
    arg("--output", required=True, type=Path, metavar="DIR", help="new or empty folder")
    arg("--images", type=Path, metavar="ROOT", help="where the sources lie now")
    arg("--bundle", metavar="B", help="the bundle, if it is not a shipped one; its configs can execute code")
    arg("--device", help="auto, cpu or cuda (default: as recorded)")
    add.set_defaults(run=_replay)


def _generate(args: argparse.Namespace) -> int:
    from monai_diffaug.bundle import describe, load_synthesizer, open_bundle
    from monai_diffaug.generation.cases import find_cases
    from monai_diffaug.generation.offline import OfflineGenerator
    from monai_diffaug.generation.order import Order
    from monai_diffaug.generation.runfile import refuse_nesting

    if args.batch_size < 1:
        raise ValueError(f"--batch-size must be 1 or more, got {args.batch_size}")
    own_text = args.prompts not in LEVELS
    order = Order(
        num=args.num,
        ratio=args.ratio,
        per_image=args.per_image,
        seed=args.seed,
        prompt=args.prompts if own_text else None,
        abnormality=args.abnormality,
        on_existing=args.on_existing,
    )
    bundle = open_bundle(args.bundle)
    refuse_nesting(args.images, args.output)
    found = find_cases(args.images, args.labels, args.regions)
    variant = args.variant or bundle.variant_for(_spatial_dims(found))
    bank = "standard" if own_text else args.prompts
    synthesizer = load_synthesizer(
        bundle,
        device=args.device,
        preset=args.preset,
        variant=variant,
        prompts=bank,
        intensity_range=args.intensity_range,
        batch_size=args.batch_size,
    )
    synthesizer.planner.check_order(order.prompt, order.abnormality)
    about = describe(bundle, preset=args.preset, variant=variant, prompts=bank)
    generator = OfflineGenerator(synthesizer, order, about, audit=args.audit, resume=args.resume)
    if args.dry_run:
        return _dry_run(generator, found)
    return _report_run(generator(found, args.output), args.output)


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


def _replay(args: argparse.Namespace) -> int:
    from monai_diffaug.bundle import load_synthesizer
    from monai_diffaug.generation.replay import Replayer, accepted_lines
    from monai_diffaug.generation.runfile import read_run

    lines = accepted_lines(args.manifest, args.id)
    source = args.manifest.parent
    run = read_run(source)
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise ValueError(f"output {args.output} is not an empty folder; give a new one")
    synthesizer = load_synthesizer(
        args.bundle or _recorded_bundle(run, source),
        device=args.device or ("cpu" if run["environment"].get("device") == "cpu" else "cuda"),
        preset=run["preset"],
        variant=run["variant"],
        prompts=run["prompts"],
        intensity_range=tuple(run["intensity_range"]),
        batch_size=run["batch_size"],
    )
    replayer = Replayer(source, synthesizer, args.images)
    bad, results = [], []
    for line in lines:
        try:
            results.append(replayer(line, args.output))
        except ValueError as error:
            bad.append(str(error) if line["id"] in str(error) else f"{line['id']}: {error}")
    return _report_replay(replayer, results, bad)


def _report_replay(replayer: Any, results: list[Any], bad: list[str]) -> int:
    for sentence in bad:
        print(f"bad input: {sentence}", file=sys.stderr)
    compared = [result for result in results if result.difference is not None]
    differing = [result for result in compared if result.difference]
    print(f"{len(results)} samples replayed, {len(compared)} compared, {len(differing)} differ")
    if differing:
        worst = max(differing, key=lambda result: result.difference)
        print(f"largest difference: {worst.difference:g} in {worst.id}")
        for difference in replayer.differing_environment() or ["nothing in the recorded environment differs"]:
            print(f"  {difference}")
        return 4
    return 1 if bad else 0


def _recorded_bundle(run: dict[str, Any], output: Path) -> Path:
    """Return the shipped bundle that a run was made with.

    A bundle's configs can execute code: a folder that only a file names is not opened.

    Raises:
        ValueError: when the run was made with a bundle that is not shipped.
    """
    from monai_diffaug.bundle import shipped_bundles

    folder, shipped = (output / str(run["bundle_root"])).resolve(), shipped_bundles().get(str(run["bundle"]))
    if shipped is None or (folder.is_dir() and folder != shipped.resolve()):
        raise ValueError(f"this run was made with the bundle at {folder}; give --bundle {folder} if you trust it")
    return shipped


def _spatial_dims(found: Any) -> int:
    """Return 3 where the first case is a volume's file, else 2."""
    return 3 if found.cases and found.cases[0].image.name.lower().endswith((".nii", ".nii.gz")) else 2


def _gallery(args: argparse.Namespace) -> int:
    from monai_diffaug.generation.gallery import write_gallery

    print(f"wrote {write_gallery(args.output)}")
    return 0
