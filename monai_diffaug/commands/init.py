"""``monai-diffaug init``: start a bundle for images of one's own."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser("init", help="start a bundle for images of your own", epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("folder", type=Path, metavar="FOLDER", help="new or empty folder")
    arg("--spatial-dims", type=int, choices=(2, 3), required=True, help="2 for frames, 3 for volumes")
    arg("--channels", type=int, required=True, metavar="C", help="channels of an image, 3 for RGB")
    arg("--intensity-range", type=float, nargs=2, required=True, metavar=("LO", "HI"), help="image values")
    arg("--organ", required=True, metavar="WORD[=VALUE]", help="what the images show; VALUE: lesions lie in this label")
    arg("--lesion", action="append", required=True, metavar="NAME=VALUE", help="a class and its label value; repeat")
    arg("--protect", action="append", type=int, default=[], metavar="VALUE", help="label value that stays; repeat")
    arg("--patient", metavar="REGEX", help="finds the patient in a case's path, so that none is in two splits")
    arg("--from", dest="source", metavar="BUNDLE", help="bundle whose trained autoencoder is used again")
    arg("--autoencoder-only", action="store_true", help="with --from: the other networks start from nothing")
    # Else argparse takes -1e+06 for an option.
    parser._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the bundle and say what comes next."""
    from monai_diffaug.bundle import open_bundle
    from monai_diffaug.template import BundleSpec, start_bundle

    if args.autoencoder_only and args.source is None:
        raise ValueError("--autoencoder-only says what is taken from --from BUNDLE; name the bundle")
    organ, _, value = args.organ.partition("=")
    spec = BundleSpec(
        spatial_dims=args.spatial_dims,
        channels=args.channels,
        intensity_range=tuple(args.intensity_range),
        organ=organ,
        lesions=_lesions(args.lesion),
        organ_values=[_whole(args.organ, value)] if value else [],
        protected=args.protect,
        patient=_pattern(args.patient),
    )
    source = None if args.source is None else open_bundle(args.source)
    start_bundle(args.folder, spec, source=None if source is None else source.root, terms=_terms(source))
    if source is not None:
        _reuse(args.folder, source, others=not args.autoencoder_only)
    first = "inpainter" if source else "autoencoder"
    print(f"wrote {args.folder}; next: monai-diffaug check --bundle {args.folder} --data DATA, then")
    print(f"monai-diffaug train {first} --bundle {args.folder} --data DATA. {DISCLAIMER}")
    return 0


def _lesions(given: list[str]) -> dict[str, int]:
    lesions: dict[str, int] = {}
    for one in given:
        name, _, value = one.rpartition("=")
        if name in lesions:
            raise ValueError(f"--lesion {name!r} was given twice; name each class once")
        lesions[name] = _whole(one, value)
    return lesions


def _whole(given: str, value: str) -> int:
    if not value.isdecimal() or not given.partition("=")[0].strip():
        raise ValueError(f"{given!r} needs a name, = and a label value, such as polyp=1")
    return int(value)


def _pattern(patient: str | None) -> str | None:
    try:
        re.compile(patient or "")
    except re.error as error:
        raise ValueError(f"--patient {patient!r} is no regular expression: {error}") from error
    return patient


def _terms(source: Any) -> str:
    if source is None:
        return ""
    digest = source.weights.get("model.pt", "")
    return (
        f"\nThe networks began with the weights of the bundle {source.name} (sha256 {digest}), whose terms are:\n\n"
        + (source.data_terms + "\n")
    )


def _reuse(folder: Path, source: Any, *, others: bool) -> None:
    """Put the other bundle's weights into the new one; without them there is no new one."""
    import shutil

    try:
        _take_weights(folder, source.root, others=others)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _take_weights(folder: Path, source: Path, *, others: bool) -> None:
    from monai_diffaug.configs import read_configs
    from monai_diffaug.engines.reuse import reuse_weights

    networks = []
    for root in (folder, source):
        parser = read_configs([root / "configs" / "common.json"])
        parser.update({"bundle_root": str(root)})
        networks.append(parser.get_parsed_content("network_def"))
    reuse_weights(folder, networks[0], source, networks[1].text_encoder.index, others=others)
