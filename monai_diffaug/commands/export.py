"""``monai-diffaug export``: hand a generated set over to other tools, with the real cases it is used with."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser, with one below it for each format."""
    parser = commands.add_parser("export", help="hand a generated set over to other tools", epilog=DISCLAIMER)
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    for name, about, run, more in (
        ("monai", "a MONAI datalist with its files", _monai, (_sets,)),
        ("nnunet", "an nnU-Net v2 raw dataset with folds", _nnunet, (_sets, _folds)),
        ("coco", "COCO annotations of pictures, one a lesion", _coco, (_sets,)),
        ("csv", "a table of provenance, one row a lesion", _csv, ()),
    ):
        one = formats.add_parser(name, help=about, description=about, epilog=DISCLAIMER)
        one.add_argument("generated", type=Path, metavar="OUT", help="folder that generate has written")
        one.add_argument("--output", required=True, type=Path, metavar="DIR", help="new or empty folder")
        for extend in more:
            extend(one)
        one.set_defaults(run=run)


def _sets(parser: Any) -> None:
    arg = parser.add_argument
    arg("--real", type=Path, metavar="DATA", help="images and labels, also in train, val and test; or a datalist JSON")
    arg("--groups", metavar="REGEX_OR_CSV", help="each case's patient, from its id or from columns id and group")
    arg("--class", action="append", dest="classes", metavar="NAME=VALUE", help="one more label value; may be repeated")
    arg("--link", action="store_true", help="hard links to images in place of copies")


def _folds(parser: Any) -> None:
    arg = parser.add_argument
    arg(
        "--folds", default="5", metavar="K", help="number of folds over the real cases (5), or own: their train and val"
    )
    arg("--seed", type=int, default=0, metavar="S", help="of the folds (default: 0)")
    arg("--channels", metavar="A,B", help="names of the channels, e.g. CT (default: R,G,B or image)")


def _monai(args: argparse.Namespace) -> int:
    from monai_diffaug.generation.handover.monai_datalist import write_monai

    cases, classes = _gathered(args)
    return _say(write_monai(cases, classes, args.output, link=args.link))


def _coco(args: argparse.Namespace) -> int:
    from monai_diffaug.generation.handover.coco import write_coco

    cases, classes = _gathered(args)
    return _say(write_coco(cases, classes, args.output, link=args.link))


def _csv(args: argparse.Namespace) -> int:
    from monai_diffaug.generation.handover.generated import read_generated
    from monai_diffaug.generation.handover.provenance_table import write_table

    return _say(write_table(read_generated(args.generated), args.output))


def _nnunet(args: argparse.Namespace) -> int:
    from monai_diffaug.generation.handover.folds import draw_folds, own_split
    from monai_diffaug.generation.handover.nnunet import NnunetWriter

    if args.real is None:
        raise ValueError("nnU-Net validates on the dataset's own cases, which must be real ones: give --real DATA")
    if args.folds != "own" and not args.folds.isdecimal():
        raise ValueError(f"--folds must be a number or own, got {args.folds!r}")
    cases, classes = _gathered(args)
    used = cases.of("training", "validation")
    folds = own_split(cases) if args.folds == "own" else draw_folds(used, int(args.folds), args.seed)
    writer = NnunetWriter(classes, (args.channels or "").split(",") if args.channels else (), args.link)
    return _say(writer(cases, folds, args.output))


def _gathered(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return all cases, and their classes."""
    from monai_diffaug.generation.handover.case_sets import gather
    from monai_diffaug.generation.handover.class_table import ClassTable
    from monai_diffaug.generation.handover.generated import read_generated
    from monai_diffaug.generation.handover.groups import each_alone, read_groups
    from monai_diffaug.generation.handover.real import find_real
    from monai_diffaug.generation.handover.staging import check_output

    generated = read_generated(args.generated)
    check_output(args.output, generated.folder, *([args.real] if args.real else []))
    classes = ClassTable({**generated.run.get("classes", {}), **_values(args.classes or ())})
    grouping = read_groups(args.groups) if args.groups else each_alone
    real = find_real(args.real, grouping) if args.real else ()
    return gather(generated, real, grouping), classes


def _values(given: Any) -> dict[str, int]:
    """Return the classes that arguments name."""
    parts = [one.rpartition("=") for one in given]
    wrong = [one for one, (name, _, value) in zip(given, parts, strict=True) if not name or not value.isdecimal()]
    if wrong:
        raise ValueError(f"--class must be NAME=VALUE with a whole number, got {wrong[0]!r}")
    return {name: int(value) for name, _, value in parts}


def _say(text: str) -> int:
    print(f"{text}. {DISCLAIMER}")
    return 0
