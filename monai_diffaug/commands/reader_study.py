"""``monai-diffaug reader-study``: a blinded reading of real and synthetic lesions, and its scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the group's parser, with one below it for each step."""
    about = "a blinded reading of real and synthetic lesions"
    parser = commands.add_parser("reader-study", help=about, epilog=DISCLAIMER)
    steps = parser.add_subparsers(dest="subcommand", required=True, metavar="STEP")
    _add_make(steps)
    _add_score(steps)


def _add_make(steps: Any) -> None:
    parser = steps.add_parser("make", help="write the folder for the readers, and its key", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--synthetic", required=True, type=Path, nargs="+", metavar="RUN", help="folders that generate has written")
    arg("--real", required=True, type=Path, metavar="DIR_OR_DATALIST", help="real images with lesions")
    arg("--labels", type=Path, metavar="DIR", help="their labels, paired by stem; a datalist may name them")
    arg("--value", type=int, metavar="V", help="the lesion's value in real labels (default: all that is not zero)")
    arg("--output", required=True, type=Path, metavar="STUDY", help="new folder; the key lies beside it")
    arg("--num", type=int, default=50, metavar="N", help="pictures of each kind (default: 50)")
    arg("--seed", type=int, default=0, metavar="S", help="same seed and files, same study (default: 0)")
    arg("--view", choices=("frame", "window"), default="frame", help="whole frames (default) or close-ups")
    arg("--repeat", type=float, default=0.1, metavar="R", help="share of pictures shown twice (default: 0.1)")
    parser.set_defaults(run=make)


def _add_score(steps: Any) -> None:
    parser = steps.add_parser("score", help="figures of what the readers answered", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("key", type=Path, metavar="STUDY.key.json", help="the key that make wrote")
    arg("answers", type=Path, nargs="+", metavar="CSV", help="one file a reader, as downloaded")
    arg("--output", type=Path, metavar="REPORT", help="write REPORT.json and REPORT.md too")
    arg("--seed", type=int, default=0, metavar="S", help="of the bootstrap (default: 0)")
    arg("--draws", type=int, default=2000, metavar="N", help="of the bootstrap (default: 2000)")
    parser.set_defaults(run=score)


def make(args: argparse.Namespace) -> int:
    """Write a study."""
    from monai_diffaug.evaluation.reader_study.selection import select
    from monai_diffaug.evaluation.reader_study.study import check_output, write_study

    check_output(args.output, args.repeat)
    selection = select(args.synthetic, args.real, args.labels, value=args.value, num=args.num, seed=args.seed)
    study = write_study(selection, args.output, close=args.view == "window", repeat=args.repeat, seed=args.seed)
    for note in filter(None, (*selection.notes, study.warning)):
        print(f"note: {note}")
    print(f"{study.pictures} pictures, {study.repeats} of them shown twice")
    print(f"by the lesion's size alone real and synthetic are told apart with an AUC of {study.size_auc:.2f}")
    print(f"for readers: {study.folder} (they open index.html)")
    print(f"not for readers: {study.key}. {DISCLAIMER}")
    return 0


def score(args: argparse.Namespace) -> int:
    """Score answers and print the table."""
    import json

    from monai_diffaug.evaluation.reader_study.answers import read_all, read_key
    from monai_diffaug.evaluation.reader_study.scores import score as figures_of
    from monai_diffaug.evaluation.reader_study.tables import markdown
    from monai_diffaug.generation.files import atomic_write

    if args.draws < 1 or args.seed < 0:
        raise ValueError(f"--draws must be 1 or more and --seed 0 or more, got {args.draws} and {args.seed}")
    key = read_key(args.key)
    report = figures_of(key, read_all(args.answers, key), seed=args.seed, draws=args.draws)
    text = markdown(report)
    if args.output is not None:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        as_json = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write(args.output.with_name(f"{args.output.name}.json"), f"{as_json}\n".encode())
        atomic_write(args.output.with_name(f"{args.output.name}.md"), text.encode())
    print(text)
    return 0
