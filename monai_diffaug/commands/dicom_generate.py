"""``monai-diffaug dicom generate``: a folder of DICOM in, synthetic series with SEG out; import, generate, export."""

from __future__ import annotations

import argparse
import json
import sys
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
    dicom_export.check_pairs(args)
    imported, generated, dicom = (args.output / name for name in FOLDERS)
    codes = [_begin(args, imported)]
    order = argparse.Namespace(**vars(args), images=_usable(args, imported), labels=None, regions=None, dry_run=False)
    order.output = generated
    codes.append(generate.run(order))
    if (generated / "manifest.jsonl").exists():
        codes.append(dicom_export.export_run(args, args.input, imported, generated, dicom))
    return next((code for code in codes if code), 0)


def _usable(args: argparse.Namespace, imported: Path) -> Path:
    """Return a datalist of the images that may be exported later: nothing is painted into the others in vain."""
    from monai_diffaug.configs import write_json
    from monai_diffaug.dicom.derived import check_kind
    from monai_diffaug.dicom.export import check_writing
    from monai_diffaug.dicom.sources import Sources
    from monai_diffaug.generation.files import split_suffix

    lists = sorted(imported.glob("datalist*.json"))
    if len(lists) != 1:
        raise ValueError(f"{args.input} holds frames and volumes; one bundle takes one of them: choose with --series")
    listed, sources, kept = json.loads(lists[0].read_text("utf-8")), Sources(args.input, imported / "sidecars"), []
    for case in listed["training"]:
        try:
            source = sources.image(split_suffix(Path(case["image"]).name)[0])
            check_kind(source)
            if not args.burned_in_checked:
                check_writing(source)
        except ValueError as error:
            print(f"refused {case['image']}: {error}", file=sys.stderr)
        else:
            kept.append(case)
    if not kept:
        raise ValueError(
            f"no image of {args.input} could be exported later, so none is painted; the reasons stand above"
        )
    write_json(checked := imported / "checked.json", {**listed, "training": kept})
    return checked


def _begin(args: argparse.Namespace, imported: Path) -> int:
    """Import, unless that was done by the run that is resumed."""
    if args.resume and imported.exists():
        return 0
    if args.output.exists() and any(args.output.iterdir()):
        raise ValueError(f"output folder {args.output} is not empty; give a new one, or --resume its run")
    return dicom_import.import_run(args, args.input, imported)
