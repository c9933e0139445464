"""``monai-diffaug evaluate``: does synthesis help a segmenter, on these images, against what else one could do."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("evaluate", help="train segmenters with and without synthesis", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="shipped bundle's name, or a bundle folder: who paints")
    arg("--train", required=True, metavar="DATA[:SPLIT]", help="labelled images that cohorts are drawn from")
    arg("--test", required=True, nargs="+", metavar="NAME=DATA[:SPLIT]", help="labelled images of each test set")
    arg("--output", required=True, type=Path, metavar="OUT", help="folder of the experiment; goes on where it was")
    arg("--num", type=int, nargs="+", default=[50], metavar="N", help="real images in a cohort (default: 50)")
    arg("--arms", nargs="+", default=list(DEFAULT), metavar="ARM", help="see docs/evidence.md (default: nine arms)")
    arg("--ratios", type=float, nargs="+", metavar="R", help="planned synthetic images for each real one (default: 3)")
    arg(
        "--seeds", type=int, default=3, metavar="S", help="trainings of each arm, each with its own cohort (default: 3)"
    )
    arg("--normals", type=Path, metavar="DIR", help="images without lesions, as new backgrounds")
    arg("--patient", metavar="REGEX", help="finds the patient or sequence in a case's path: what intervals are over")
    arg("--steps", type=int, default=2000, help="optimiser steps of every segmenter (2000)")
    arg("--batch", type=int, default=8, help="images of each step (8)")
    arg("--size", type=int, default=160, help="longest side of what the segmenter sees (160)")
    arg("--shifts", action="store_true", help="test on images with changed colour, blur, noise and JPEG too")
    arg("--segmenter", type=Path, metavar="FILE", help="MONAI config whose `segmenter` is trained (MONAI's U-Net)")
    arg("--device", default="cpu", help="cpu (default) or cuda")
    arg("--most-cells", type=int, metavar="K", help="stop after so many trainings")
    parser.set_defaults(run=run, after=lambda args: "; finished cells stay, the same command goes on")


DEFAULT = (
    *("standard", "copy_paste", "gated", "gated_copy_paste", "backgrounds", "ungated"),
    *("targeted", "pretrained", "carve_mix"),
)


def run(args: argparse.Namespace) -> int:
    """Train what is not trained yet, and write the report."""
    from monai_diffaug.evaluation.arms import find_arms
    from monai_diffaug.evaluation.cells import ranked

    if args.seeds < 1 or min(args.num) < 1 or min(args.ratios or [1]) <= 0:
        raise ValueError("--seeds must be 1 or more, --num 1 or more, --ratios above 0")
    cells = ranked(find_arms(args.arms), args.num, args.seeds, args.ratios or [None])
    experiment = _experiment(args)
    for count, _ in enumerate(experiment.run(cells), start=1):
        if args.most_cells is not None and count >= args.most_cells:
            break
    return _report(experiment)


def _report(experiment: Any) -> int:
    """Write ``results.json``, and the report that is made from it alone."""
    from monai_diffaug.evaluation.cells import write_json
    from monai_diffaug.evaluation.diagnoses import diagnoses
    from monai_diffaug.evaluation.figures import draw_figures
    from monai_diffaug.evaluation.report import write_tables
    from monai_diffaug.generation.files import atomic_write

    results = experiment.results()
    if not results["cells"]:
        print("no cell is finished yet")
        return 0
    write_json(experiment.output / "results.json", results)
    text = write_tables(results) + diagnoses(results)
    atomic_write(experiment.output / "report.md", text.encode())
    for name, picture in draw_figures(results).items():
        atomic_write(experiment.output / name, picture)
    print(text)
    print(f"wrote results.json, report.md and its pictures to {experiment.output}")
    return 0


def _experiment(args: argparse.Namespace) -> Any:
    from monai_diffaug.bundle import config_files, open_bundle
    from monai_diffaug.configs import read_configs
    from monai_diffaug.evaluation.cohorts import find_data, read_test
    from monai_diffaug.evaluation.experiment import Experiment
    from monai_diffaug.evaluation.networks import read_segmenter
    from monai_diffaug.evaluation.segmenter import Budget

    bundle = open_bundle(args.bundle)
    training = find_data(args.train, "train", patient=args.patient)
    parser = read_configs(config_files(bundle.root, variant=bundle.variant_for(training.spatial_dims)))
    parser.update({"bundle_root": str(bundle.root)})
    images, regions = parser.get_parsed_content("images"), parser.get_parsed_content("regions")
    labels = {
        "abnormalities": parser.get_parsed_content("planner::abnormalities"),
        "organ": regions.organ,
        "protected": regions.protected,
    }
    tests = []
    for text in args.test:
        name, _, data = text.partition("=")
        if not name or not data:
            raise ValueError(f"--test {text!r} has no name or no data; give NAME=DATA, such as clinic=images/test")
        found = find_data(data, "test", patient=args.patient)
        tests.append(read_test(name, found, images, labels, args.patient))
    budget = Budget(args.steps, args.batch, args.size, device=args.device)
    more = {"patient": args.patient, "normals": args.normals, "shifts": args.shifts}
    more["network"] = None if args.segmenter is None else read_segmenter(args.segmenter)
    return Experiment(bundle, images, labels, training, tests, budget, args.output, **more)
