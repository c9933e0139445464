"""``monai-diffaug calibrate``: set the gate's thresholds by real lesions, by the bundle's own configs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.sections import run_sections


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("calibrate", help="set the gate's thresholds by real lesions", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("--bundle", required=True, metavar="B", help="bundle folder; configs/calibration.json is written into it")
    arg("--data", required=True, metavar="DATA", help="images and labels, in train, val and test; or a datalist JSON")
    arg("--split", metavar="NAME", help="lesions that no network was trained on (default: val)")
    arg("--train-split", metavar="NAME", help="lesions not to be copied (default: train; none: do not describe them)")
    arg("--rate", type=float, metavar="R", help="share of real lesions that shall pass (default: 0.8)")
    arg("--windows", type=int, metavar="N", help="looks at held-out lesions of each class (default: 600)")
    arg("--device", default="auto", help="auto (default), cpu or cuda")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Calibrate, and say what was found and written."""
    from monai_diffaug.bundle import find_bundle
    from monai_diffaug.configs import read_configs

    root = find_bundle(args.bundle)
    config = root / "configs" / "calibrate.json"
    if not config.is_file():
        raise FileNotFoundError(f"bundle {root.name} cannot be calibrated: it has no configs/{config.name}")
    parser = read_configs([root / "configs" / "common.json", config])
    parser.update(_overrides(args, root))
    run_sections(parser)
    print(f"wrote {root / 'configs' / 'calibration.json'}. {DISCLAIMER}")
    return 0


def _overrides(args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Return the config's entries that the arguments replace."""
    from monai_diffaug.bundle import pick_device

    chosen = {
        "bundle_root": str(root),
        "dataset_dir": args.data,
        "device": str(pick_device(args.device)),
        "split": args.split,
        "train_split": "" if args.train_split == "none" else args.train_split,
        "rate": args.rate,
        "count": args.windows,
    }
    return {name: value for name, value in chosen.items() if value is not None}
