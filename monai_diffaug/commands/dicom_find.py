"""``monai-diffaug dicom find``: ask a PACS what it holds, or whether it answers."""

from __future__ import annotations

import argparse
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.peer_options import add_peer_options, connected

LEVELS = ("study", "series", "instance")


def add(commands: Any) -> None:
    """Add the command's parser."""
    about = "ask a PACS what it holds, one line of JSON each; what is listed may name patients"
    parser = commands.add_parser("find", help="ask a PACS what it holds", description=about, epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("peer", metavar="PEER", help="name of the peer in the configuration")
    arg("--echo", action="store_true", help="only ask whether the peer answers")
    arg("--level", choices=LEVELS, default="study", help="what to list (default: study)")
    arg("--where", action="append", default=[], metavar="KEYWORD=VALUE", help="DICOM keyword; may be repeated")
    add_peer_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what the peer holds."""
    from monai_diffaug.dicom.finding import find_keys, found_rows
    from monai_diffaug.dicom.peers import Address

    keys = {} if args.echo else find_keys(args.level, args.where)
    with connected(args, args.peer) as to:
        address = Address(keys.get("StudyInstanceUID", ""), keys.get("SeriesInstanceUID", ""))
        with to.audit.action("echo" if args.echo else "find", address):
            if args.echo:
                to.peer.echo()
                print(f"{args.peer} ({to.settings.peer.address}) answers")
                return 0
            rows = found_rows(to.retries(lambda: to.peer.find(args.level, keys)), keys)
    for row in rows:
        print(row)
    return 0
