"""Throw-away certificates for tests."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: a certificate authority, a server's and a client's pair, and one that nobody signed."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / f"{name}.pem"


def make_certificates(folder: Path) -> Certificates:
    """Make them with openssl, for ``localhost`` and 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca_key.pem -out ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("server", "client"):
        _openssl(folder, f"req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}_key.pem -out {name}.csr")
        signed = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca_key.pem -CAcreateserial -days 2"
        _openssl(folder, f"{signed} -extfile names -out {name}.pem")
    _openssl(folder, "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout other_key.pem -out other.pem")
    both = (folder / "server_key.pem").read_text() + (folder / "server.pem").read_text()
    (folder / "server_both.pem").write_text(both)
    for key in folder.glob("*_key.pem"):
        key.chmod(0o600)
    return Certificates(folder)


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True, timeout=60)
