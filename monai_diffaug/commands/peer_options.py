"""What the commands that talk to a PACS share: their options, and the peer that these name."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_diffaug.dicom.audit import Audit
    from monai_diffaug.dicom.peers import Peer
    from monai_diffaug.dicom.retries import Retries
    from monai_diffaug.dicom.settings import Settings

VARIABLE = "MONAI_DIFFAUG_PEERS"


def add_peer_options(parser: Any) -> None:
    """Add where peers are configured, and who acts; credentials come from there alone."""
    arg = parser.add_argument
    arg("--config", type=Path, metavar="TOML", help=f"configuration of peers (default: ${VARIABLE})")
    arg("--operator", metavar="NAME", help="who acts, for the audit log (default: operator in the configuration)")


@dataclass(frozen=True)
class Connection:
    """An opened peer, with what acting on it needs."""

    settings: Settings
    peer: Peer
    audit: Audit
    retries: Retries


@contextmanager
def connected(args: argparse.Namespace, name: str) -> Iterator[Connection]:
    """Open the peer of that name, and close it."""
    from monai_diffaug.dicom.audit import Audit
    from monai_diffaug.dicom.peers import open_peer
    from monai_diffaug.dicom.retries import Retries

    settings = settings_of(args, name)
    audit = Audit(settings.audit_log, args.operator or settings.operator or "", name)
    peer = open_peer(settings.peer)
    try:
        yield Connection(settings, peer, audit, Retries(settings.peer.attempts))
    finally:
        peer.close()


def settings_of(args: argparse.Namespace, name: str) -> Settings:
    """Return the settings of a peer."""
    from monai_diffaug.dicom.settings import load_settings

    given = args.config or os.environ.get(VARIABLE)
    if not given:
        raise ValueError(f"no configuration of peers: give --config TOML, or set {VARIABLE}")
    return load_settings(Path(given), name)
