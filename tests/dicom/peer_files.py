"""Configurations of peers for the tests' servers."""

from __future__ import annotations

import json
from pathlib import Path

from tests.dicom.servers import DICOM, HTTP, MOVE, PASSWORD, USER

DIMSE = {"kind": "dimse", "host": "127.0.0.1", "port": DICOM, "called_aet": "ORTHANC", "calling_aet": "DIFFAUG",
         "push": True, "timeout": 5, "attempts": 3}  # fmt: skip
WEB = {"kind": "dicomweb", "url": f"http://127.0.0.1:{HTTP}/dicom-web", "user": USER, "push": True, "timeout": 5,
       "attempts": 3}  # fmt: skip


def _toml(value: object) -> str:
    return str(value) if isinstance(value, float) else json.dumps(value)


def write_config(folder: Path, **changes: dict) -> Path:
    """Write peers ``dimse``, ``move`` and ``web``, with keys changed or, where None, left out; return the file.

    Args:
        folder: for the file, the password and the audit log.
        changes: peer name to changed keys; a new name is a copy of ``dimse``, or of ``web`` if ``kind`` says so.
    """
    password = folder / "password"
    password.write_text(PASSWORD + "\n")
    password.chmod(0o600)
    web = WEB | {"password_file": "password"}
    peers = {"dimse": DIMSE, "move": DIMSE | {"retrieve": "move", "move_port": MOVE}, "web": web}
    for name, changed in changes.items():
        base = peers.get(name, web if changed.get("kind") == "dicomweb" else DIMSE)
        peers[name] = {key: value for key, value in (base | changed).items() if value is not None}
    lines = ['audit_log = "audit.jsonl"', 'operator = "tester"']
    for name, table in peers.items():
        lines += [f"[peers.{name}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    path = folder / "peers.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
