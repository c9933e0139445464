"""The audit log: who did what with which objects at which peer; no names of patients, no secrets."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from monai_diffaug.dicom.peers import Address, PeerError

ONE_OBJECT = ("sent", "equal", "written")
"""Outcomes of one object among many: such lines are handed to the system, and on disk with the next other one."""


def append_line(path: Path, record: dict[str, object], *, sync: bool = True) -> None:
    """Append one JSON line; a line torn by a crash stays a line of its own.

    Args:
        path: file that only its owner may read.
        record: what to write.
        sync: return when it is on disk with all before; else a power cut, not a killed process, may lose it.
    """
    line = json.dumps(record, sort_keys=True).encode()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        os.write(file.fileno(), (b"\n" if torn else b"") + line + b"\n")
        if sync:
            os.fsync(file.fileno())


@dataclass(frozen=True)
class Audit:
    """Append what happens to the audit log.

    Args:
        path: the log, JSON lines.
        operator: who acts.
        peer: the peer's name.
    """

    path: Path
    operator: str
    peer: str

    def __post_init__(self) -> None:
        if not self.operator.strip() or not self.operator.isprintable():
            raise ValueError("the audit log needs to know who acts: give --operator NAME, or operator in the file")

    def __call__(self, action: str, address: Address, outcome: str, sha256: str = "", reason: str = "") -> None:
        """Write one line.

        Args:
            action: ``find``, ``pull``, ``push`` or ``verify``.
            address: of what.
            outcome: a word, ``begun``, ``done``, ``sent``, ``equal``, ``failed``...
            sha256: of the file, where there is one.
            reason: why it failed, where that is known.
        """
        record: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "operator": self.operator,
            "peer": self.peer,
            "action": action,
            "study": address.study,
            "series": address.series,
            "instance": address.instance,
            "outcome": outcome,
        }
        more = {"sha256": sha256, "reason": reason}
        append_line(self.path, record | {key: one for key, one in more.items() if one}, sync=outcome not in ONE_OBJECT)

    @contextmanager
    def action(self, action: str, *addresses: Address) -> Iterator[None]:
        """Write that an action has begun before anything is done, and how it ended; of errors only a peer's text."""
        for address in addresses:
            self(action, address, "begun")
        try:
            yield
        except BaseException as error:
            reason = str(error) if isinstance(error, PeerError) else type(error).__name__
            for address in addresses:
                self(action, address, "failed", reason=reason)
            raise
        for address in addresses:
            self(action, address, "done")
