"""``monai-diffaug dicom push``: send synthetic objects to a PACS and compare what it then holds."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from monai_diffaug.commands import DISCLAIMER
from monai_diffaug.commands.peer_options import add_peer_options, connected, settings_of


def add(commands: Any) -> None:
    """Add the command's parser."""
    about = "send objects that are marked as synthetic, read each back and compare; without --send nothing is sent"
    parser = commands.add_parser("push", help="send synthetic objects to a PACS", description=about, epilog=DISCLAIMER)
    arg = parser.add_argument
    arg("folder", type=Path, metavar="DIR", help="holds the DICOM files; one that is not marked refuses them all")
    arg("--to", required=True, metavar="PEER", help="name of the peer in the configuration, with push = true")
    arg("--send", action="store_true", help="really send; without it only say what would be sent")
    arg("--journal", type=Path, metavar="FILE", help="what is done (default: DIR.push-PEER.jsonl); resumes by itself")
    arg("--rate", type=float, metavar="N", help="at most N objects a second (default: the peer's configuration)")
    add_peer_options(parser)
    parser.set_defaults(run=run, after=lambda args: "; what is sent is in the journal, the same command goes on")


def run(args: argparse.Namespace) -> int:
    """Send, or say what would be sent."""
    from monai_diffaug.dicom.outgoing import find_outgoing

    settings = settings_of(args, args.to)
    if args.rate is not None and not 0 < args.rate < math.inf:
        raise ValueError(f"--rate must be a finite number above 0, in objects a second, got {args.rate:g}")
    batch = find_outgoing(args.folder)
    size = sum(one.size for one in batch) / 1e6
    series = len({one.address.series for one in batch})
    what = f"{len(batch)} objects of {series} series, {size:.1f} MB, to {args.to} ({settings.peer.address})"
    if not args.send:
        print(f"would send {what}; add --send to send them")
        return 0
    if not settings.peer.push:
        raise ValueError(f"{args.to} does not say push = true in the configuration, so nothing is sent there")
    print(f"sending {what}")
    return _send(args, batch)


def _send(args: argparse.Namespace, batch: Any) -> int:
    from monai_diffaug.dicom.journal import Journal
    from monai_diffaug.dicom.retries import Pace
    from monai_diffaug.dicom.transfer import push

    path = args.journal or args.folder.absolute().with_name(f"{args.folder.absolute().name}.push-{args.to}.jsonl")
    with connected(args, args.to) as to, Journal.opened(path, to.settings.peer.address) as journal:
        pace = Pace.of(to.settings.peer)
        pace.objects_per_second = args.rate or pace.objects_per_second
        done = push(batch, to.peer, journal, to.audit, pace, retries=to.retries)
    print(f"sent {done.sent} objects; {done.equal} of {len(batch)} came back equal. {DISCLAIMER}")
    for instance, reason in done.failed.items():
        print(f"failed {instance}: {reason}")
    return 0 if done.equal == len(batch) else 1
