"""Real servers for tests: Orthanc and dcmtk's, as Debian packages them, inside a network of loopback alone."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HTTP, DICOM, MOVE = 18042, 14242, 11113
USER, PASSWORD = "tester", "swordfish-4711-never-shown"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def missing_programs(*names: str) -> str:
    """Return why tests must be skipped, or an empty string."""
    absent = [name for name in names if program(name) is None]
    if "Orthanc" in names and not PLUGIN.exists():
        absent.append("the DICOMweb plug-in of Orthanc")
    return f"not installed: {', '.join(absent)} (Debian: orthanc orthanc-dicomweb dcmtk)" if absent else ""


def program(name: str) -> str | None:
    """Return where a program is; not beside Python's own, where pynetdicom puts another storescp."""
    own = Path(sys.executable).parent
    folders = [one for one in os.get_exec_path() if Path(one) != own]
    return shutil.which(name, path=os.pathsep.join([*folders, "/usr/sbin"]))


@dataclass
class Server:
    """A running server; ``kill`` it at will.

    Args:
        process: of the server.
        folder: its scratch folder.
    """

    process: subprocess.Popen[bytes]
    folder: Path

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        self.process.kill()
        self.process.wait(10)


def orthanc_settings(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return Orthanc's configuration; credentials are needed, unknown titles may not store."""
    peer = {"AET": "DIFFAUG", "Host": "127.0.0.1", "Port": MOVE}
    allowed = {f"Allow{verb}": True for verb in ("Echo", "Store", "Find", "Get", "Move")}
    settings = {
        "Name": "diffaug-test", "StorageDirectory": str(folder), "IndexDirectory": str(folder),
        "Plugins": [str(PLUGIN)], "HttpPort": HTTP, "RemoteAccessAllowed": False, "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD}, "WebDavEnabled": False, "DicomAet": "ORTHANC", "DicomPort": DICOM,
        "DicomCheckCalledAet": True, "DicomAlwaysAllowStore": False, "DicomAlwaysAllowFind": False,
        "DicomAlwaysAllowGet": False, "DicomAlwaysAllowMove": False, "DicomModalities": {"diffaug": peer | allowed},
        "UnknownSopClassAccepted": False, "OverwriteInstances": False, "StableAge": 1,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
    }  # fmt: skip
    return settings | changes


@contextmanager
def orthanc(folder: Path, **changes: Any) -> Iterator[Server]:
    """Run Orthanc until the end of the block; ``folder`` keeps what it stores."""
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    settings = orthanc_settings(store, **changes)
    (folder / "orthanc.json").write_text(json.dumps(settings))
    path = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    with (folder / "orthanc.log").open("ab") as log:
        environment = {"TCP_NODELAY": "1", "PATH": "/usr/bin:/usr/sbin"}
        process = subprocess.Popen([path, str(folder / "orthanc.json")], stdout=log, stderr=log, env=environment)
    server = Server(process, folder)
    try:
        _wait_for_http("https" if changes.get("SslEnabled") else "http", process)
        yield server
    finally:
        server.kill()


def _wait_for_http(scheme: str, process: subprocess.Popen[bytes]) -> None:
    import ssl

    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    request = urllib.request.Request(f"{scheme}://127.0.0.1:{HTTP}/system", headers={"Authorization": f"Basic {login}"})
    context = ssl._create_unverified_context() if scheme == "https" else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError(f"Orthanc ended with {process.returncode}")
        try:
            with opener.open(request, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError("Orthanc did not start within ten seconds")


@contextmanager
def storescp(folder: Path, port: int, *options: str) -> Iterator[Server]:
    """Run dcmtk's storescp, which stores into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with _program(["storescp", *options, "-od", str(folder), "-aet", "STORESCP", str(port)], folder, port) as server:
        yield server


@contextmanager
def dcmqrscp(folder: Path, port: int) -> Iterator[Server]:
    """Run dcmtk's dcmqrscp, title DCMQR, which knows DIFFAUG at the port for C-MOVE."""
    (folder / "store").mkdir(parents=True, exist_ok=True)
    text = f"""NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
us = (DIFFAUG, localhost, {MOVE})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
DCMQR {folder / "store"} RW (200, 1024mb) us
AETable END
"""
    (folder / "dcmqrscp.cfg").write_text(text)
    with _program(["dcmqrscp", "-c", str(folder / "dcmqrscp.cfg")], folder, port) as server:
        yield server


@contextmanager
def _program(command: list[str], folder: Path, port: int) -> Iterator[Server]:
    """Run a server until the end of the block, with all processes that it forks."""
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen([program(command[0]) or command[0], *command[1:]], stdout=log, stderr=log)
    server = Server(process, folder)
    try:
        for _ in range(200):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}")
            listening = (
                Path(f"/proc/{process.pid}/net/tcp").read_text() + Path("/proc/thread-self/net/tcp6").read_text()
            )
            if f":{port:04X} " in listening:
                break
            time.sleep(0.02)
        yield server
    finally:
        server.kill()
