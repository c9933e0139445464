"""Passwords and tokens: read from an environment variable or a private file, shown nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class Secret:
    """Hold a password or token that no text of ours shows: only ``reveal`` gives it.

    >>> Secret("swordfish")
    Secret(***)
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not text or text != text.strip() or not text.isprintable():
            raise ValueError(
                "a password or token is empty, has blanks at its ends or cannot be printed; check where it comes from"
            )
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; only for the call that signs in."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not stored or sent to another process")


def refuse_readable_by_others(path: Path, what: str) -> None:
    """Refuse a file that more people than its owner may read or change.

    Args:
        path: the file.
        what: what it holds, for the error.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is to hold {what}, but does not exist") from None
    if mode & 0o077:
        raise ValueError(f"{path} holds {what} and has mode {mode:04o}: others may read it; run chmod 600 {path}")


def secret_from(text: str | None, variable: str | None, file: Path | None, what: str) -> Secret | None:
    """Return the one secret that was named, or None where none was.

    Args:
        text: the secret itself, from a private configuration file.
        variable: name of the environment variable that holds it.
        file: private file that holds nothing else.
        what: its name for errors, e.g. ``peers.archive: password``.
    """
    if sum(one is not None for one in (text, variable, file)) > 1:
        raise ValueError(f"{what} is given in more than one way; keep one of them")
    if variable is not None:
        found = os.environ.get(variable)
        if not found:
            raise ValueError(f"{what}: environment variable {variable} is not set; set it, or name a private file")
        return Secret(found)
    if file is not None:
        refuse_readable_by_others(file, what)
        return Secret(file.read_text(encoding="utf-8").strip("\r\n"))
    return None if text is None else Secret(text)
