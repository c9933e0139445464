"""``monai-diffaug check``: look at a data set before a bundle is trained on it, by the bundle's own configs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.sections import run_sections


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("check", help="look at a data set before training on it", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="bundle folder; configs/data.json is written until it is trained")
    arg("--data", required=True, metavar="DATA", help="images and labels, in train, val and test; or a datalist JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the report, and keep what the bundle needs of it."""
    from monai_diffaug.bundle import find_bundle

    check_data(find_bundle(args.bundle), args.data)
    return 0


def check_data(root: Path, data: str) -> None:
    """Print the report of a data set, and write ``configs/data.json``.

    Raises:
        FileNotFoundError: where the bundle has no config for it.
        ValueError: where the data cannot be used.
    """
    from monai_diffaug.configs import read_configs

    config = root / "configs" / "check.json"
    if not config.is_file():
        raise FileNotFoundError(f"bundle {root.name} cannot look at data: it has no configs/{config.name}")
    parser = read_configs([root / "configs" / "common.json", config])
    parser.update({"bundle_root": str(root), "dataset_dir": data})
    run_sections(parser)
