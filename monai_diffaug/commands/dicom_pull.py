"""``monai-diffaug dicom pull``: fetch a study or a series from a PACS into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.peer_options import add_peer_options, connected


def add(commands: Any) -> None:
    """Add the command's parser."""
    about = "fetch a study or a series into DIR/SERIES/INSTANCE.dcm, as the PACS holds it"
    parser = commands.add_parser("pull", help="fetch from a PACS into a folder", description=about, epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("peer", metavar="PEER", help="name of the peer in the configuration")
    arg("--study", required=True, metavar="UID", help="its StudyInstanceUID")
    arg("--series", default="", metavar="UID", help="only this series of it")
    arg("--output", required=True, type=Path, metavar="DIR", help="new or empty folder")
    arg("--resume", action="store_true", help="go on with an interrupted pull")
    add_peer_options(parser)
    parser.set_defaults(run=run, after=lambda args: "; what is fetched stays, --resume goes on")


def run(args: argparse.Namespace) -> int:
    """Fetch, and say how it went."""
    from monai_diffaug.dicom.collecting import pull
    from monai_diffaug.dicom.finding import checked_uid
    from monai_diffaug.dicom.peers import Address

    series = checked_uid(args.series, "--series") if args.series else ""
    address = Address(checked_uid(args.study, "--study"), series)
    with connected(args, args.peer) as at:
        done = pull(at.peer, address, args.output, at.audit, at.retries, resume=args.resume)
    earlier = f", {done.kept} were here already" if done.kept else ""
    print(f"fetched {done.new} objects into {args.output}{earlier}")
    for instance, reason in done.missing.items():
        print(f"missing {instance}: {reason}")
    return 1 if done.missing else 0
