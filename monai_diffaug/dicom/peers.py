"""What a PACS can do for us: answer, find, give and take objects; and how it may fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from pydicom.dataset import Dataset

from monai_diffaug.dicom.settings import DimseSettings, PeerSettings

Receive = Callable[[bytes], None]
"""Takes one object as the bytes of a DICOM file, with its file meta information."""


class PeerError(RuntimeError):
    """The peer refused, or answered what it must not; trying again would not help."""


class TransientError(PeerError):
    """The peer could not be reached, was lost, too slow or too busy; trying again may help."""


class RefusedError(PeerError):
    """The peer does not talk to us at all, so that no other object would fare better."""


@dataclass(frozen=True)
class Address:
    """Where objects lie in a PACS: a study, one of its series, or one instance.

    Args:
        study, series, instance: their UIDs; the narrowest that is not empty counts.
    """

    study: str
    series: str = ""
    instance: str = ""

    @property
    def level(self) -> str:
        return "instance" if self.instance else "series" if self.series else "study"


class Peer(Protocol):
    """One PACS; the same four verbs over DIMSE and over DICOMweb."""

    def echo(self) -> None:
        """Return if the peer answers us, raise ``PeerError`` if not."""

    def find(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        """Return what matches, one dataset each.

        Args:
            level: ``study``, ``series`` or ``instance``.
            keys: DICOM keyword to what is asked for; empty to only have it returned.
        """

    def fetch(self, address: Address, sop_classes: tuple[str, ...], receive: Receive) -> None:
        """Hand every object of a series, or one instance, to ``receive`` in the transfer syntax it is stored in.

        Args:
            address: of a series or an instance.
            sop_classes: SOP classes to expect.
            receive: called once an object; what it raises ends the transfer.
        """

    def store(self, dataset: Dataset) -> None:
        """Send one object in its own transfer syntax and return once the peer says that it has it."""

    def close(self) -> None:
        """End the connection, if any."""


def open_peer(settings: PeerSettings) -> Peer:
    """Return the peer that the settings describe; nothing is connected yet."""
    try:
        if isinstance(settings, DimseSettings):
            from monai_diffaug.dicom.dimse import DimsePeer

            return DimsePeer(settings)
        from monai_diffaug.dicom.web import WebPeer

        return WebPeer(settings)
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is needed to talk to a PACS: pip install 'monai_diffaug[pacs]'") from error


def refuse_ignored_keys(found: list[Dataset], keys: Mapping[str, str]) -> list[Dataset]:
    """Return the answers, or refuse them where the peer has ignored a key, as servers do with keys they do not know.

    Args:
        found: the answers.
        keys: what was asked for; only exact values are compared, no wild cards, ranges or names.
    """
    exact = {
        key: value for key, value in keys.items() if key.endswith("UID") or key in ("PatientID", "AccessionNumber")
    }
    for one in found:
        for key, value in exact.items():
            answer = str(one.get(key) or "")
            if value and not set("*?\\") & set(value) and answer and answer.strip() != value.strip():
                raise PeerError(f"the peer ignored {key} and answered with other objects; ask for less")
    return found
