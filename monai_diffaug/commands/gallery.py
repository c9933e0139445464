"""``monai-diffaug gallery``: write the page to look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("gallery", help="write the page to look at", epilog=DISCLAIMER)
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that generate has written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page."""
    from monai_diffaug.generation.gallery import write_gallery

    print(f"wrote {write_gallery(args.output)}")
    return 0
