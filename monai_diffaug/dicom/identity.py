"""Names and UIDs of synthetic objects: bound to their content, and to a secret that stays with the site."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import uuid
from pathlib import Path

from pydicom.uid import UID

PATIENT_NAME = "SYNTHETIC^DIFFAUG"
PATIENT_PREFIX = "SYN-"
SECRET_BYTES = 32


class SiteSecret:
    """A key from which names and UIDs are derived: the same at each run, and not to be recomputed by others.

    Args:
        key: 16 bytes or more.

    Example:
        >>> site = SiteSecret(b"0123456789abcdef")
        >>> site.patient_id("4711", "") == site.patient_id("4711", "") != site.patient_id("4712", "")
        True
        >>> site.uid("series", "1.2.3") == SiteSecret(b"another key of ours").uid("series", "1.2.3")
        False
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"a site secret must hold 16 bytes or more, got {len(key)}; let the tool make one")
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> SiteSecret:
        """Read the secret of a site; where there is none it is made, readable for its owner alone.

        Raises:
            ValueError: where others may read it, or it is too short.
        """
        if not path.exists():
            _make_secret(path)
        if path.stat().st_mode & 0o077:
            raise ValueError(f"{path} may be read by others, so it is no secret; run: chmod 600 {path}")
        return cls(path.read_bytes())

    def digest(self, *parts: str) -> str:
        """Return 64 hexadecimal digits of a keyed hash."""
        return hmac.new(self._key, "\0".join(parts).encode(), hashlib.sha256).hexdigest()

    def uid(self, *parts: str) -> UID:
        """Return a UID (root 2.25) that depends on all parts and the secret."""
        # Not by pydicom.uid.generate_uid: without a registered root it draws at random, whatever entropy is given.
        return UID(f"2.25.{uuid.UUID(hex=self.digest('uid', *parts)[:32], version=5).int}")

    def patient_id(self, source_id: str, issuer: str) -> str:
        """Return the synthetic patient that all samples from one real patient belong to."""
        return PATIENT_PREFIX + self.digest("patient", source_id, issuer)[:16].upper()


def _make_secret(path: Path) -> None:
    """Write a secret that appears whole; of several processes that do so at once the first one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def default_secret_file() -> Path:
    """Return where a site's secret lies unless told otherwise."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "monai_diffaug" / "site_secret"
