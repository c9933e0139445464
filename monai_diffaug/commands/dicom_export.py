"""``monai-diffaug dicom export``: accepted samples of a run back to DICOM, marked as synthetic."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.dicom_import import need_dicom

if TYPE_CHECKING:
    import numpy as np

    from monai_diffaug.dicom.export import DicomExporter
    from monai_diffaug.dicom.sources import Sources

MAPPING = "exported.jsonl"


def add(subcommands: Any) -> None:
    """Add the command's parser."""
    parser = subcommands.add_parser("export", help="samples of a run as synthetic DICOM with SEG", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--input", required=True, type=Path, metavar="DIR", help="the DICOM files that were imported")
    arg("--imported", required=True, type=Path, metavar="DIR", help="what dicom import has written")
    arg("--generated", required=True, type=Path, metavar="DIR", help="what generate has made of it")
    arg("--output", required=True, type=Path, metavar="OUT", help="a folder for each sample is written here")
    add_marks(parser)
    parser.set_defaults(run=run)


def add_marks(parser: argparse.ArgumentParser) -> None:
    """Add what generate and export have in common."""
    arg = parser.add_argument
    arg("--site-secret", type=Path, metavar="FILE", help="key for names and UIDs (default: made once, in your home)")
    arg("--burned-in-checked", action="store_true", help="you have looked: no writing in the pixels names a patient")
    arg("--watermark", action="store_true", help="write SYNTHETIC into the pixels, for review; not for training")
    arg("--pairs", type=Path, metavar="DIR", help="write a de-identified copy of each source there")


def check_pairs(args: argparse.Namespace) -> None:
    """Raise ValueError where the copies of real images would lie among synthetic ones, or these among them."""
    if args.pairs is None:
        return
    pairs, output = args.pairs.resolve(), args.output.resolve()
    if pairs.is_relative_to(output) or output.is_relative_to(pairs):
        raise ValueError(
            f"--pairs {args.pairs} and --output {args.output} lie one in the other; give --pairs a folder of its own: "
            "its pixels are a patient's"
        )


def run(args: argparse.Namespace) -> int:
    """Export a run and say what became of it: 0 all of it, 1 some samples were refused."""
    need_dicom()
    check_pairs(args)
    return export_run(args, args.input, args.imported, args.generated, args.output)


def export_run(args: argparse.Namespace, files: Path, imported: Path, generated: Path, output: Path) -> int:
    """Write a folder for each accepted sample that has none yet; ``exported.jsonl`` in the run tells which is which."""
    from monai_diffaug.dicom.export import DicomExporter
    from monai_diffaug.dicom.identity import SiteSecret, default_secret_file
    from monai_diffaug.dicom.sources import Sources
    from monai_diffaug.generation import manifest
    from monai_diffaug.generation.runfile import read_run

    bundle = str(read_run(generated)["bundle"])
    site = SiteSecret.from_file(args.site_secret or default_secret_file())
    exporter = DicomExporter(
        site,
        bundle,
        looked_at=args.burned_in_checked,
        watermark=args.watermark,
        pairs=args.pairs,
    )
    sources, refused, written = Sources(files, imported / "sidecars"), 0, 0
    told = _told(generated / MAPPING)
    for line in manifest.read(generated / manifest.NAME):
        if not line["accepted"]:
            continue
        folder = output / line["id"]
        if not folder.exists():
            try:
                _export(line, exporter, sources, imported, generated, folder)
            except ValueError as error:
                refused += 1
                print(f"refused {line['id']}: {error}", file=sys.stderr)
                continue
            written += 1
        # A run that was killed may have left a folder whose line is missing: the folder is there whole or not at all.
        objects = sorted(path.relative_to(output).as_posix() for path in folder.glob("*.dcm"))
        mapped = {"id": line["id"], "source": line["source"], "files": objects}
        if told.get(line["id"]) != mapped:
            manifest.append(generated / MAPPING, mapped)
    print(f"exported {written} samples, each with its SEG; {refused} refused")
    print(f"wrote {output}; {generated / MAPPING} tells which sample came from which source: keep it. {DISCLAIMER}")
    return 1 if refused else 0


def _export(
    line: dict[str, Any], exporter: DicomExporter, sources: Sources, imported: Path, generated: Path, folder: Path
) -> None:
    """Write one sample."""
    from monai_diffaug.dicom.export import Painted
    from monai_diffaug.dicom.sources import painted_over
    from monai_diffaug.generation.files import read_label, read_map, split_suffix
    from monai_diffaug.synthesis.provenance import AbnormalityRecord

    name = split_suffix(PurePosixPath(line["source"]).name)[0]
    source = sources.image(name)
    spatial = source.stored.shape[1:]
    painted = [one for one in line["abnormalities"] if one["attempts"][-1]["accepted"]]
    windows = [AbnormalityRecord.from_json(one).window for one in painted]
    before, after = _numbers(imported / line["source"]), _numbers(generated / line["image"])
    image = painted_over(source, before, after, sources.told(name), windows)
    mask, label = read_map(generated / line["mask"], spatial), read_label(generated / line["label"], spatial).array
    masks = {one["class"]: mask & (label == one["value"]) for one in painted}
    exporter(source, Painted(image, masks, line), folder)


def _told(path: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of the mapping by sample, cutting off one that a crash has torn."""
    whole, _, torn = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
    if torn:
        os.truncate(path, len(whole) + 1 if whole else 0)
    lines = [json.loads(line) for line in whole.split(b"\n") if line]
    return {line["id"]: line for line in lines}


def _numbers(path: Path) -> np.ndarray:
    """Return a file's numbers, (C, *spatial), whatever they are."""
    from monai_diffaug.generation.files import read_stored
    from monai_diffaug.synthesis import ImageFormat

    return read_stored(path, ImageFormat(2, 1, (-1e30, 1e30))).array
