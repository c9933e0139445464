"""``monai-diffaug fidelity``: compare a run's lesions with real ones, beside what held-out real lesions get."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "fidelity", help="compare synthetic with real lesions: realism, diversity, copies, the gate", epilog=DISCLAIMER
    )
    arg = parser.add_argument
    arg("--synthetic", required=True, type=Path, metavar="RUN", help="folder of generate, best with --audit")
    arg("--real", required=True, type=Path, metavar="DIR_OR_DATALIST", help="images that the bundle was trained on")
    arg("--labels", type=Path, metavar="DIR", help="their labels, paired by stem; a datalist may name them")
    arg("--held-out", required=True, type=Path, metavar="DIR_OR_DATALIST", help="images that it was not trained on")
    arg("--held-out-labels", type=Path, metavar="DIR", help="their labels")
    arg("--output", required=True, type=Path, metavar="DIR", help="new folder for the report")
    arg("--bundle", metavar="B", help="whose format, classes and words are used (default: the run's)")
    arg("--cache", type=Path, metavar="DIR", help="keep the network's features here, for the next time")
    arg("--seed", type=int, default=0, metavar="S", help="of every draw (default: 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the report, and print its table."""
    from monai_diffaug.bundle import open_bundle
    from monai_diffaug.evaluation.fidelity.features import EfficientNetLite0
    from monai_diffaug.evaluation.fidelity.lesion_sets import Terms, read_real, read_run_lesions, refuse_shared
    from monai_diffaug.evaluation.fidelity.measures import Measures
    from monai_diffaug.evaluation.fidelity.report import write_report
    from monai_diffaug.generation import manifest
    from monai_diffaug.generation.runfile import read_run

    if args.output.exists():
        raise ValueError(f"{args.output} is there already; give a new folder")
    made, lines = read_run(args.synthetic), manifest.read(args.synthetic / manifest.NAME)
    bundle = open_bundle(args.bundle or _bundle_of(args.synthetic, made))
    low, high = made["intensity_range"]
    terms = Terms.of(bundle, variant=made["variant"], intensity_range=(low, high))
    net = EfficientNetLite0()
    planned = read_run_lesions(args.synthetic, lines, terms)
    held_out = read_real(args.held_out, args.held_out_labels, terms, what="held-out lesions")
    training = read_real(args.real, args.labels, terms, what="training lesions")
    refuse_shared(training, held_out)
    found = Measures(net, cache=args.cache, seed=args.seed)(planned, training.views, held_out.views)
    write_report(args.output, found, planned, _settings(args, made, net))
    print((args.output / "fidelity.md").read_text("utf-8"))
    print(f"wrote {args.output}/fidelity.md, fidelity.json, nearest.png and windows.png. {DISCLAIMER}")
    return 0


def _bundle_of(folder: Path, made: dict[str, Any]) -> str | Path:
    """Return the bundle that a run was made with: the folder that it names, else its name."""
    root = folder / str(made.get("bundle_root", ""))
    return root if (root / "configs" / "metadata.json").is_file() else str(made["bundle"])


def _settings(args: argparse.Namespace, made: dict[str, Any], net: Any) -> dict[str, Any]:
    from monai_diffaug.synthesis.provenance import file_digest, versions

    paths = ("synthetic", "real", "labels", "held_out", "held_out_labels")
    keys = ("bundle", "bundle_version", "preset", "variant", "prompts", "weights", "order", "batch_size", "audit")
    return {
        "given": {name: None if (path := getattr(args, name)) is None else str(path) for name in paths},
        "run": {key: made.get(key) for key in keys},
        "manifest_sha256": file_digest(args.synthetic / "manifest.jsonl"),
        "feature_net": {"name": net.name, "sha256": net.digest},
        "seed": args.seed,
        "versions": versions(),
    }
