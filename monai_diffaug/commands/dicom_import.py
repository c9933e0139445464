"""``monai-diffaug dicom import``: images, labels and a datalist from a folder of DICOM."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER

TOLD = 20  # notes, and refused series, that are printed


def add(subcommands: Any) -> None:
    """Add the command's parser."""
    parser = subcommands.add_parser("import", help="images, labels and a datalist from DICOM", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--input", required=True, type=Path, metavar="DIR", help="folder of DICOM files, searched with those below it")
    arg("--output", required=True, type=Path, metavar="OUT", help="new or empty folder")
    add_choice(parser)
    parser.set_defaults(run=run)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add what says which series and labels are taken."""
    arg = parser.add_argument
    arg("--series", metavar="UID", help="only the series of this SeriesInstanceUID (default: every one)")
    arg("--labels-from", choices=("auto", "seg", "rtstruct", "none"), default="auto", metavar="KIND",
        help="seg, rtstruct, auto (default: SEG where there is one, else RTSTRUCT) or none")  # fmt: skip
    arg("--lesion", action="append", metavar="NAME=VALUE", help="segment or ROI to take and its label value; repeat")
    arg("--by-position", action="store_true", help="take labels drawn on another series in the same place too")
    arg("--frames", action="store_true", help="slices of CT and MR one by one, as PNG")
    arg("--split", action="store_true", help="slices of several orientations or sizes as an image for each")
    arg("--allow-synthetic", action="store_true", help="take what is marked as synthetic data too")


def run(args: argparse.Namespace) -> int:
    """Import a folder and say what became of it: 0 all of it, 1 some of it was refused."""
    need_dicom()
    return import_run(args, args.input, args.output)


def import_run(args: argparse.Namespace, files: Path, output: Path) -> int:
    """Import ``files`` into ``output`` as the arguments choose, and tell what became of them."""
    from monai_diffaug.dicom.conversion import LabelChoice, import_folder
    from monai_diffaug.generation.placed import write_placed

    done = import_folder(
        files,
        output,
        write_placed,
        series=args.series,
        labels=LabelChoice(args.labels_from, _values(args.lesion), args.by_position),
        frames=args.frames,
        split=args.split,
        synthetic=args.allow_synthetic,
    )
    for reason, count in Counter(reason for _, reason in done.skipped).items():
        print(f"skipped {count} file(s): {reason}", file=sys.stderr)
    for note in _first(done.notes):
        print(f"note: {note}", file=sys.stderr)
    for series, sentence in done.refused[:TOLD]:
        print(f"refused {series}: {sentence}", file=sys.stderr)
    labelled = sum("label" in case for case in done.cases)
    print(f"imported {len(done.cases)} images, {labelled} of them with a label; {len(done.refused)} refused")
    print(f"wrote {output / 'images'}, sidecars and datalist.json. {DISCLAIMER}")
    return 1 if done.refused else 0


def need_dicom() -> None:
    """Raise ImportError where the extra is not installed."""
    from importlib.util import find_spec

    for name in ("pydicom", "highdicom"):
        if find_spec(name) is None:
            raise ImportError(f"{name} is not installed; run: pip install 'monai_diffaug[dicom]'")


def _values(given: list[str] | None) -> dict[str, int] | None:
    if given is None:
        return None
    values: dict[str, int] = {}
    for one in given:
        name, _, value = one.rpartition("=")
        if not name.strip() or not value.isdecimal() or not 0 < int(value) < 65536:
            raise ValueError(f"--lesion {one!r} needs a name, = and a label value from 1, such as polyp=1")
        if name in values:
            raise ValueError(f"--lesion {name!r} was given twice; name each structure once")
        values[name] = int(value)
    return values


def _first(notes: list[str]) -> list[str]:
    more = len(notes) - TOLD
    return [*notes[:TOLD], *([f"and {more} more"] if more > 0 else [])]
