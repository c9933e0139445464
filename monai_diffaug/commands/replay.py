"""``monai-diffaug replay``: make recorded samples again and compare."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("replay", help="make recorded samples again and compare", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("manifest", type=Path, metavar="OUT/manifest.jsonl")
    arg("--id", metavar="ID", help="one sample (default: all accepted ones)")
    arg("--output", required=True, type=Path, metavar="DIR", help="new or empty folder")
    arg("--images", type=Path, metavar="ROOT", help="where the sources lie now")
    arg("--bundle", metavar="B", help="the bundle, if it is not a shipped one; its configs can execute code")
    arg("--device", help="auto, cpu or cuda (default: as recorded)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the samples again, compare, and say how it went."""
    from monai_diffaug.bundle import load_synthesizer
    from monai_diffaug.generation.replay import Replayer, accepted_lines
    from monai_diffaug.generation.runfile import read_run

    lines = accepted_lines(args.manifest, args.id)
    source = args.manifest.parent
    made = read_run(source)
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise ValueError(f"output {args.output} is not an empty folder; give a new one")
    synthesizer = load_synthesizer(
        args.bundle or _recorded_bundle(made, source),
        device=args.device or ("cpu" if made["environment"].get("device") == "cpu" else "cuda"),
        preset=made["preset"],
        variant=made["variant"],
        prompts=made["prompts"],
        intensity_range=tuple(made["intensity_range"]),
        batch_size=made["batch_size"],
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
