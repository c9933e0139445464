"""What became of every object of a push, on disk before the next step, so that an interrupted push goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from monai_diffaug.dicom.outgoing import Outgoing

FORMAT = 1


@dataclass
class Journal:
    """Append and look up what happened to objects at one destination.

    Args:
        path: JSON lines; the first names the destination.
        destination: address of the peer.
    """

    path: Path
    destination: str
    _states: dict[tuple[str, str], str] = field(default_factory=dict, init=False)

    @classmethod
    @contextmanager
    def opened(cls, path: Path, destination: str) -> Iterator[Journal]:
        """Open a journal for one process at a time."""
        with path.open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"{path} is in use by another push; wait for it") from None
            journal = cls(path, destination)
            journal._load()
            yield journal

    def state(self, one: Outgoing) -> str:
        """Return ``sent``, ``equal`` or ``failed``, or an empty string if nothing happened to this very file yet."""
        return self._states.get((one.address.instance, one.sha256), "")

    def note(self, one: Outgoing, state: str) -> None:
        """Write what happened to a file."""
        self._append({"instance": one.address.instance, "sha256": one.sha256, "state": state})
        self._states[one.address.instance, one.sha256] = state

    def _load(self) -> None:
        lines = self.path.read_bytes().split(b"\n")
        records = []
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # torn by a crash: that object is sent again, which changes nothing
            records.append(record)
        if not records:
            return self._append({"format": FORMAT, "destination": self.destination})
        if records[0].get("format") != FORMAT or records[0].get("destination") != self.destination:
            raise ValueError(
                f"{self.path} belongs to a push to {records[0].get('destination')}, not to {self.destination}; "
                "give another --journal"
            )
        for record in records[1:]:
            self._states[record["instance"], record["sha256"]] = record["state"]

    def _append(self, record: dict[str, object]) -> None:
        with self.path.open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
            # Not synced: what a power cut takes away is sent again, which changes nothing.
            file.write((b"\n" if torn else b"") + json.dumps(record, sort_keys=True).encode() + b"\n")
