"""Write the lists of images of the two scenarios of `docs/evidence.md`.

    python -m benchmarks.scenarios --clinicdb CVC_CLINICDB --kvasir KVASIR --output LISTS

`transfer.json`: CVC-ClinicDB, sequences 1 to 12 under `training` and 13 to 21 under `test`; cohorts of a user are
drawn from `training`, while the bundle was trained on Kvasir. `strict_100.json` and `strict_400.json`: so many of
Kvasir's training images, chosen by the sha256 of their names, 85 of 100 under `training` and the rest under
`validation`: all that a bundle of its own may see. `strict_100_all.json` and `strict_400_all.json`: the same images
under `training` alone, for the segmenters. `clinicdb_all.json`: all of ClinicDB under `test`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

LAST = 12
"""The last of ClinicDB's sequences that a user has."""


def sequence(path: Path) -> int:
    """Return the number of a ClinicDB frame's sequence: `s07_134.jpg` is of 7."""
    found = re.match(r"s(\d+)_", path.name)
    if found is None:
        raise SystemExit(f"{path} is not named sSS_NNN, so its sequence is unknown")
    return int(found.group(1))


def entries(images: Iterable[Path], masks: Path) -> list[dict[str, str]]:
    """Return a datalist's entries, each image with the mask of its name."""
    named = {path.stem: path for path in masks.iterdir()}
    return [{"image": str(path.resolve()), "label": str(named[path.stem].resolve())} for path in images]


def write(path: Path, **splits: Sequence[dict[str, str]]) -> None:
    path.write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: " + ", ".join(f"{len(one)} {name}" for name, one in splits.items()))


def main(arguments: list[str] | None = None) -> None:
    """Write all lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clinicdb", type=Path, required=True, help="folder with images and masks")
    parser.add_argument("--kvasir", type=Path, required=True, help="folder with train, which has images and masks")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    args.output.mkdir(parents=True, exist_ok=True)
    frames = sorted((args.clinicdb / "images").iterdir())
    masks = args.clinicdb / "masks"
    first, rest = ([one for one in frames if (sequence(one) <= LAST) == own] for own in (True, False))
    write(args.output / "transfer.json", training=entries(first, masks), test=entries(rest, masks))
    write(args.output / "clinicdb_all.json", test=entries(frames, masks))
    train = args.kvasir / "train"
    ordered = sorted((train / "images").iterdir(), key=lambda one: hashlib.sha256(one.name.encode()).hexdigest())
    for num in (100, 400):
        chosen, held = entries(ordered[:num], train / "masks"), num * 15 // 100
        write(args.output / f"strict_{num}.json", training=chosen[held:], validation=chosen[:held])
        write(args.output / f"strict_{num}_all.json", training=chosen)


if __name__ == "__main__":
    main()
