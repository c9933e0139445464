"""The configuration file: named peers, how to reach each, and where the audit log is.

TOML, for example::

    operator = "jane"
    audit_log = "/var/log/diffaug-pacs.jsonl"

    [peers.research]                 # DIMSE
    kind = "dimse"
    host = "pacs.example"
    port = 11112
    called_aet = "ORTHANC"
    calling_aet = "DIFFAUG"
    ca_file = "ca.pem"               # TLS; with cert_file and key_file where the peer asks for ours
    push = true                      # without it nothing is ever sent there

    [peers.web]                      # DICOMweb
    kind = "dicomweb"
    url = "https://pacs.example/dicom-web"
    user = "diffaug"
    password_env = "PACS_PASSWORD"   # or password_file; token_env or token_file in place of user and password
"""

from __future__ import annotations

import ipaddress
import math
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monai_diffaug.dicom.secret_values import Secret, refuse_readable_by_others, secret_from


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient and how gentle to be.

    Args:
        timeout: longest wait for an answer, in seconds.
        attempts: tries of one step before giving up, at least 1.
        objects_per_second, megabytes_per_second: highest rates of sending; 0 is no limit.
    """

    timeout: float = 30.0
    attempts: int = 5
    objects_per_second: float = 0.0
    megabytes_per_second: float = 0.0

    def __post_init__(self) -> None:
        rates = (self.objects_per_second, self.megabytes_per_second)
        finite = all(math.isfinite(one) for one in (self.timeout, *rates))
        if not finite or self.timeout <= 0 or self.attempts < 1 or min(rates) < 0:
            raise ValueError(
                "timeout must be above 0 seconds, attempts at least 1, rates 0 (no limit) or more, all of them finite"
            )


@dataclass(frozen=True, kw_only=True)
class DimseSettings(Limits):
    """A peer that speaks DIMSE.

    Args:
        name: what the configuration calls it.
        host, port: where it listens.
        called_aet, calling_aet: application entity titles, its own and ours, at most 16 characters.
        push: whether synthetic objects may be sent there.
        retrieve: ``get`` (C-GET) or ``move`` (C-MOVE to ourselves).
        move_host, move_port: where we listen during a C-MOVE; the peer must know our title there.
        ca_file, cert_file, key_file: PEM files; with ``ca_file`` the connection is TLS and the peer's name is checked.
    """

    name: str
    host: str
    port: int
    called_aet: str
    calling_aet: str
    push: bool = False
    retrieve: str = "get"
    move_host: str = "127.0.0.1"
    move_port: int = 0
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for title in (self.called_aet, self.calling_aet):
            if not (0 < len(title.strip()) <= 16 and title.isascii() and title.isprintable() and "\\" not in title):
                raise ValueError(f"an application entity title has 1 to 16 plain characters, got {title!r}")
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be from 1 to 65535, got {self.port}")
        if self.retrieve not in ("get", "move"):
            raise ValueError(f"retrieve must be 'get' or 'move', got {self.retrieve!r}")
        if self.retrieve == "move" and not 0 < self.move_port < 65536:
            raise ValueError("retrieve = 'move' needs move_port, the port that the peer knows us by")
        if self.retrieve == "move" and self.ca_file:
            raise ValueError("C-MOVE would come back without TLS; use retrieve = 'get' with ca_file")
        if (self.cert_file is None) != (self.key_file is None) or (self.cert_file and not self.ca_file):
            raise ValueError("TLS needs ca_file; cert_file and key_file come together")
        _check_files(self.ca_file, self.cert_file, self.key_file)

    @property
    def address(self) -> str:
        """What identifies the destination, in journals and messages."""
        return f"{self.called_aet}@{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class WebSettings(Limits):
    """A peer that speaks DICOMweb.

    Args:
        name: what the configuration calls it.
        url: root of its services; no user or password in it.
        push: whether synthetic objects may be sent there.
        user, password: for basic authentication.
        token: bearer token, in place of user and password.
        ca_file, cert_file, key_file: PEM files: who signs the server, and our own certificate.
    """

    name: str
    url: str
    push: bool = False
    user: str | None = None
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        parts = urlsplit(self.url)
        if parts.username is not None or parts.password is not None:
            raise ValueError("url must hold no user or password; give user and password_env")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("url must be http(s)://host[:port]/path without a query")
        if (self.user is None) != (self.password is None) or (self.user and self.token):
            raise ValueError("give user with its password, or a token alone")
        if parts.scheme == "http" and (self.user or self.token) and not is_loopback(parts.hostname):
            raise ValueError(f"http:// would send the credentials to {parts.hostname} in the clear; use https://")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file come together")
        _check_files(self.ca_file, self.cert_file, self.key_file)

    @property
    def address(self) -> str:
        """What identifies the destination, in journals and messages."""
        return self.url


PeerSettings = DimseSettings | WebSettings


@dataclass(frozen=True)
class Settings:
    """One peer of the file, with what holds for all of them.

    Args:
        peer: how to reach it.
        audit_log: file that every action is written to.
        operator: who acts, where the file says so.
    """

    peer: PeerSettings
    audit_log: Path
    operator: str | None = None


def load_settings(path: Path, name: str) -> Settings:
    """Return the settings of one peer; secrets of other peers are not looked up.

    Args:
        path: the TOML file; files that it names are found from its folder.
        name: the peer's name in it.
    """
    table = _read_toml(path)
    peers = table.pop("peers", {})
    if not isinstance(peers, dict) or not all(isinstance(one, dict) for one in peers.values()):
        raise ValueError(f"{path}: peers must be tables, [peers.NAME]")
    _refuse_unknown(table, {"audit_log", "operator"}, str(path))
    if any({"password", "token"} & set(peer) for peer in peers.values()):
        refuse_readable_by_others(path, "a password or token")
    if name not in peers:
        raise ValueError(f"{path} knows no peer {name!r}; it has {', '.join(sorted(peers)) or 'none'}")
    if not isinstance(operator := table.get("operator", ""), str):
        raise ValueError(f"{path}: operator must be a name in quotes, got {type(operator).__name__}")
    if not isinstance(table.get("audit_log"), str) or not table["audit_log"]:
        raise ValueError(f"{path} must name an audit_log, the file that every action is written to")
    log = path.parent / Path(table["audit_log"]).expanduser()
    return Settings(_peer(dict(peers[name]), name, path), log, table.get("operator"))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for certain."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no configuration of peers at {path}; give --config FILE")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        where = str(error).rpartition("(")[2].rstrip(")") if "(at" in str(error) else "its encoding"
        raise ValueError(f"{path} is not valid TOML: look {where}") from None  # the line itself may hold a secret


def _peer(table: dict[str, Any], name: str, path: Path) -> PeerSettings:
    """Return checked settings from one table."""
    where = f"{path}: peers.{name}"
    kind = table.pop("kind", None)
    if kind not in ("dimse", "dicomweb"):
        raise ValueError(f"{where}: kind must be 'dimse' or 'dicomweb', got {kind!r}")
    form: Any = DimseSettings if kind == "dimse" else WebSettings
    secrets = {"password", "token"} if kind == "dicomweb" else set()
    known = {one.name for one in fields(form)} - {"name"} | {f"{one}_{way}" for one in secrets for way in _WAYS}
    _refuse_unknown(table, known, where)
    for key in [key for key in table if key.endswith("_file")]:
        table[key] = path.parent / Path(_text(table[key], f"{where}: {key}")).expanduser()
    for key in secrets:
        text, variable, file = (table.pop(one, None) for one in (key, f"{key}_env", f"{key}_file"))
        table[key] = secret_from(text, variable, file, f"{where}: {key}")
    try:
        _check_types(form, table)
        return form(name=name, **table)
    except TypeError as error:
        raise ValueError(f"{where}: {str(error).replace('__init__() ', '')}") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


_WAYS = ("env", "file")


def _check_types(form: Any, table: dict[str, Any]) -> None:
    """Refuse a value of another type than its field's."""
    types: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
    for one in fields(form):
        wanted = types.get(str(one.type).removesuffix(" | None"))
        value = table.get(one.name)
        if (
            value is not None
            and wanted
            and (not isinstance(value, wanted) or isinstance(value, bool) != (wanted is bool))
        ):
            raise ValueError(f"{one.name} must be of type {one.type}, got {type(value).__name__}")


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} must be a path, got {type(value).__name__}")
    return value


def _refuse_unknown(table: dict[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known | {'kind'}))}")


def _check_files(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> None:
    for file in (ca_file, cert_file):
        if file is not None and not file.is_file():
            raise FileNotFoundError(f"certificate {file} does not exist")
    if key_file is not None:
        refuse_readable_by_others(key_file, "a private key")
