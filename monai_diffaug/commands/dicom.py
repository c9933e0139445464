"""``monai-diffaug dicom``: images from DICOM, and back; a PACS at either end."""

from __future__ import annotations

from typing import Any

from monai_diffaug.commands import (
    DISCLAIMER,
    dicom_export,
    dicom_find,
    dicom_generate,
    dicom_import,
    dicom_pull,
    dicom_push,
    dicom_verify,
)

SUBCOMMANDS = (dicom_find, dicom_pull, dicom_import, dicom_generate, dicom_export, dicom_push, dicom_verify)
"""Each a module with ``add``."""


def add(commands: Any) -> None:
    """Add the group's parser, with one below it for each sub-command."""
    parser = commands.add_parser("dicom", help="images from DICOM, and back", epilog=DISCLAIMER)
    subcommands = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for one in SUBCOMMANDS:
        one.add(subcommands)
