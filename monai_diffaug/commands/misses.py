"""``monai-diffaug misses``: measure which lesions a model misses, as a table for targeted synthesis."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("misses", help="measure which lesions a model misses", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="whose classes, image format and words are used")
    arg("--images", required=True, type=Path, metavar="DIR_OR_DATALIST", help="PNG, JPEG or NIfTI, or a datalist JSON")
    arg("--labels", type=Path, metavar="DIR", help="the truth, paired by stem; a datalist may name it")
    arg("--predictions", required=True, type=Path, metavar="DIR", help="what a model found, paired by stem")
    arg("--output", required=True, type=Path, metavar="CSV", help="new file, for generate --misses")
    arg("--least-recall", type=float, default=0.3, metavar="R", help="share found below which one is missed (0.3)")
    arg("--variant", help="the bundle's config for other images, e.g. volume (default: by the images)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the table, and print how many were missed of which kind."""
    from monai_diffaug.bundle import config_files, open_bundle
    from monai_diffaug.configs import read_configs
    from monai_diffaug.engines.lesions import LabelledCases
    from monai_diffaug.engines.misses import lesion_outcomes, told
    from monai_diffaug.generation.cases import find_cases
    from monai_diffaug.generation.files import read_label
    from monai_diffaug.generation.folders import Partners, stem_below
    from monai_diffaug.generation.misses import write_outcomes
    from monai_diffaug.generation.pairs import read_found

    if args.output.exists():
        raise ValueError(f"{args.output} is there already; give a new file")
    if not 0 < args.least_recall <= 1:
        raise ValueError(f"--least-recall must lie in (0, 1], got {args.least_recall}")
    bundle, found = open_bundle(args.bundle), find_cases(args.images, args.labels)
    variant = args.variant or bundle.variant_for(found.spatial_dims)
    parser = read_configs(config_files(bundle.root, variant=variant))
    parser.update({"bundle_root": str(bundle.root)})
    images, known = parser.get_parsed_content("images"), parser.get_parsed_content("planner::abnormalities")
    regions = parser.get_parsed_content("regions")
    partner, cases = Partners("prediction", args.predictions), read_found(found, images)
    labelled = LabelledCases(cases, known, organ=regions.organ, protected=regions.protected, least=12)
    predictions = [
        read_label(partner(stem_below(case.image, found.root)), read["label"].shape).array
        for case, read in zip(found.cases, cases, strict=True)
    ]
    outcomes = lesion_outcomes(labelled, predictions, images, least_recall=args.least_recall)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_outcomes(args.output, outcomes)
    print(told(outcomes))
    print(f"wrote {args.output}; next: monai-diffaug generate --misses {args.output} ...")
    return 0
