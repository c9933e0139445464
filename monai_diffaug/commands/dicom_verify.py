"""``monai-diffaug dicom verify``: compare synthetic objects with what a PACS holds of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.peer_options import add_peer_options, connected


def add(commands: Any) -> None:
    """Add the command's parser."""
    about = "read every object back from a PACS and compare it with its file, element by element"
    parser = commands.add_parser(
        "verify", help="compare sent objects with a PACS's", description=about, epilog=DISCLAIMER
    )
    arg = parser.add_argument
    arg("folder", type=Path, metavar="DIR", help="holds the DICOM files that were sent")
    arg("--at", required=True, metavar="PEER", help="name of the peer in the configuration")
    add_peer_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare, and say how it went."""
    from monai_diffaug.dicom.outgoing import Outgoing, find_outgoing
    from monai_diffaug.dicom.transfer import studies_of, verify

    batch = find_outgoing(args.folder)
    wrong: dict[str, str] = {}
    with connected(args, args.at) as at:

        def report(one: Outgoing, reason: str) -> None:
            at.audit("verify", one.address, "failed" if reason else "equal", one.sha256)
            if reason:
                wrong[one.address.instance] = reason

        with at.audit.action("verify", *studies_of(batch)):
            verify(batch, at.peer, report, at.retries)
    print(f"{len(batch) - len(wrong)} of {len(batch)} objects came back equal from {args.at}")
    for instance, reason in wrong.items():
        print(f"failed {instance}: {reason}")
    return 1 if wrong else 0
