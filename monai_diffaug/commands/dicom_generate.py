"""``monai-diffaug dicom generate``: a folder of DICOM in, synthetic series with SEG out; import, generate, export."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER, dicom_export, dicom_import, generate

FOLDERS = ("imported", "generated", "dicom")


def add(subcommands: Any) -> None:
    """Add the command's parser."""
    parser = subcommands.add_parser("generate", help="synthetic DICOM series with SEG from DICOM", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--input", required=True, type=Path, metavar="DIR", help="folder of DICOM files, searched with those below it")
    arg("--output", required=True, type=Path, metavar="OUT", help="new folder: imported, generated, dicom")
    dicom_import.add_choice(parser)
    generate.add_order(parser)
    dicom_export.add_marks(parser)
    parser.set_defaults(run=run, after=lambda args: "; what is finished stays, --resume goes on")


def run(args: argparse.Namespace) -> int:
    """Import, generate and export; return the first exit code that is not 0."""
    dicom_import.need_dicom()
    imported, generated, dicom = (args.output / name for name in FOLDERS)
    codes = [_begin(args, imported)]
    lists = sorted(imported.glob("datalist*.json"))
    if len(lists) != 1:
        raise ValueError(f"{args.input} holds frames and volumes; one bundle takes one of them: choose with --series")
    order = argparse.Namespace(**vars(args))
    order.images, order.labels, order.regions, order.output, order.dry_run = lists[0], None, None, generated, False
    codes.append(generate.run(order))
    if (generated / "manifest.jsonl").exists():
        codes.append(dicom_export.export_run(args, args.input, imported, generated, dicom))
    return next((code for code in codes if code), 0)


def _begin(args: argparse.Namespace, imported: Path) -> int:
    """Import, unless that was done by the run that is resumed."""
    if args.resume and imported.exists():
        return 0
    if args.output.exists() and any(args.output.iterdir()):
        raise ValueError(f"output folder {args.output} is not empty; give a new one, or --resume its run")
    return dicom_import.import_run(args, args.input, imported)
