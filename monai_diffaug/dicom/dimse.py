"""A peer that speaks DIMSE: C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE; plain or over TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from monai_diffaug.dicom.contexts import retrieval_contexts, storage_roles
from monai_diffaug.dicom.move_target import Inbox, MoveTarget
from monai_diffaug.dicom.peers import Address, PeerError, Receive, RefusedError, TransientError, refuse_ignored_keys
from monai_diffaug.dicom.settings import DimseSettings

VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
LEVELS = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
DUPLICATE = 0x0111


class DimsePeer:
    """Talk to one application entity; associations are opened when needed and kept while they serve.

    Args:
        settings: how to reach it.
    """

    def __init__(self, settings: DimseSettings) -> None:
        from pynetdicom import AE

        self.settings = settings
        self._entity = AE(ae_title=settings.calling_aet)
        self._entity.acse_timeout = settings.timeout
        self._entity.dimse_timeout = settings.timeout
        self._entity.network_timeout = settings.timeout
        self._entity.connection_timeout = settings.timeout
        self._link: Any = None
        self._asked: frozenset[tuple[str, str]] = frozenset()
        self._inbox = Inbox()
        self._move_target: MoveTarget | None = None

    def echo(self) -> None:
        """Return if the peer answers a C-ECHO, raise ``PeerError`` if not."""
        _check(self._associate({(VERIFICATION, "1.2.840.10008.1.2")}).send_c_echo(), "C-ECHO")

    def find(self, level: str, keys: Mapping[str, str]) -> list[Dataset]:
        """Return what matches a C-FIND at a level, one dataset each."""
        link = self._associate({(STUDY_ROOT_FIND, "1.2.840.10008.1.2")})
        query = Dataset()
        query.QueryRetrieveLevel = LEVELS[level]
        for key, value in keys.items():
            setattr(query, key, value)
        found = []
        for status, answer in _guarded(link.send_c_find(query, STUDY_ROOT_FIND)):
            if status.get("Status") in (0xFF00, 0xFF01):
                found.append(answer)
            else:
                _check(status, "C-FIND")
        return refuse_ignored_keys([one for one in found if one is not None], keys)

    def fetch(self, address: Address, sop_classes: tuple[str, ...], receive: Receive) -> None:
        """Hand every object of a series, or one instance, to ``receive``."""
        query = Dataset()
        query.QueryRetrieveLevel = LEVELS[address.level]
        query.StudyInstanceUID = address.study
        query.SeriesInstanceUID = address.series
        if address.instance:
            query.SOPInstanceUID = address.instance
        self._inbox.open(receive)
        try:
            answers = self._move(query) if self.settings.retrieve == "move" else self._get(query, sop_classes)
            for status, _ in _guarded(answers):
                if status.get("Status") not in (0xFF00, 0xFF01):
                    self._inbox.check()
                    _check(status, f"C-{self.settings.retrieve.upper()}")
        except Exception:
            self._inbox.check()  # what ended the transfer on our side says more than how the peer took it
            raise
        finally:
            self._inbox.close()

    def store(self, dataset: Dataset) -> None:
        """Send one object by C-STORE in its own transfer syntax."""
        pair = (str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID))
        link = self._associate({pair})
        name = f"{UID(pair[0]).name} in {UID(pair[1]).name}"
        if not any((one.abstract_syntax, one.transfer_syntax[0]) == pair for one in link.accepted_contexts):
            raise PeerError(
                f"{self.settings.address} does not take {name}; ask its administrator, nothing is re-encoded"
            )
        try:
            status = link.send_c_store(dataset)
        except RuntimeError as error:
            raise TransientError(f"the association with {self.settings.address} was lost") from error
        if "Status" in status and status.Status == DUPLICATE:
            return  # it has an object of this UID; the comparison tells whether it is this one
        _check(status, "C-STORE")

    def close(self) -> None:
        """Release the association and stop listening."""
        self._release()
        if self._move_target is not None:
            self._move_target.stop()
            self._move_target = None

    def _get(self, query: Dataset, sop_classes: tuple[str, ...]) -> Any:
        pairs = {(STUDY_ROOT_GET, "1.2.840.10008.1.2"), *retrieval_contexts(sop_classes)}
        return self._associate(pairs).send_c_get(query, STUDY_ROOT_GET)

    def _move(self, query: Dataset) -> Any:
        if self._move_target is None:
            self._move_target = MoveTarget(self.settings, self._inbox)
        link = self._associate({(STUDY_ROOT_MOVE, "1.2.840.10008.1.2")})
        return link.send_c_move(query, self.settings.calling_aet, STUDY_ROOT_MOVE)

    def _associate(self, pairs: set[tuple[str, str]]) -> Any:
        """Return an association that offers these pairs of SOP class and transfer syntax."""
        if self._link is not None and self._link.is_established and pairs <= self._asked:
            return self._link
        kept = {pair for pair in self._asked if pair[0].startswith("1.2.840.10008.5.1.4.1.1.")}
        getting = any(syntax == STUDY_ROOT_GET for syntax, _ in pairs)
        wanted = pairs | kept if not getting and len(pairs | kept) <= 100 else pairs
        self._release()
        self._asked = frozenset(wanted)
        self._link = self._request(sorted(wanted), getting)
        return self._link

    def _request(self, pairs: list[tuple[str, str]], getting: bool) -> Any:
        from pynetdicom import build_context, evt

        settings = self.settings
        seen: list[Any] = []
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, send_at_once)]
        handlers += [(one, lambda event: seen.append(event.event)) for one in (evt.EVT_CONN_OPEN, evt.EVT_ACCEPTED)]
        if getting:
            handlers.append((evt.EVT_C_STORE, self._inbox.take))
        link = self._entity.associate(
            settings.host,
            settings.port,
            contexts=[build_context(*pair) for pair in pairs],
            ae_title=settings.called_aet,
            ext_neg=storage_roles({pair[0] for pair in pairs}) if getting else [],
            tls_args=tls_arguments(settings),
            evt_handlers=handlers,
        )
        if not link.is_established:
            if evt.EVT_ACCEPTED in seen:
                names = sorted({UID(pair[0]).name for pair in pairs})
                raise PeerError(f"{settings.address} does not take {', '.join(names[:3])}; ask its administrator")
            raise _refusal(link, settings, connected=bool(seen))
        return link

    def _release(self) -> None:
        if self._link is not None and self._link.is_established:
            self._link.release()
        elif self._link is not None and self._link.is_alive():
            self._link.kill()
        self._link, self._asked = None, frozenset()


def send_at_once(event: Any) -> None:
    """Turn off the wait for more to send: it costs 40 ms and more for each small object."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def tls_arguments(settings: DimseSettings) -> tuple[ssl.SSLContext, str] | None:
    """Return how to secure the connection: TLS 1.2 or later, the peer's name checked; None without ``ca_file``."""
    if settings.ca_file is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file and settings.key_file:
        context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_passphrase)
    return context, settings.host


def _no_passphrase() -> str:
    raise ValueError(
        "the private key has a passphrase, which nobody is here to type; give a key file without, mode 0600"
    )


def _guarded(answers: Iterator[tuple[Dataset, Dataset | None]]) -> Iterator[tuple[Dataset, Dataset | None]]:
    """Yield answers; a lost association becomes a ``TransientError``, a context that was not accepted a refusal."""
    try:
        yield from answers
    except ValueError as error:
        raise PeerError(f"the peer does not offer this service: {error}") from None
    except RuntimeError as error:
        if isinstance(error, PeerError):
            raise
        raise TransientError("the association was lost") from error


def _check(status: Dataset, what: str) -> None:
    """Refuse everything but success; an empty status is a lost association or one that took too long."""
    if "Status" not in status:
        raise TransientError(f"{what}: no answer; the association was lost, aborted by the peer or timed out")
    if status.Status != 0:
        partly = (
            what in ("C-GET", "C-MOVE") and status.Status == 0xB000
        )  # some objects failed: those are asked for again
        busy = status.Status in range(0xA700, 0xA800) or (what == "C-STORE" and status.Status in (0x0110, 0xC000))
        raise (TransientError if partly or busy else PeerError)(
            f"{what}: the peer answered status 0x{status.Status:04X}"
        )


def _refusal(link: Any, settings: DimseSettings, connected: bool) -> PeerError:
    """Return why there is no association."""
    where = settings.address
    if link.is_rejected:
        answer = link.acceptor.primitive
        kind = TransientError if answer.result == 2 else RefusedError
        return kind(f"{where} refused the association of {settings.calling_aet}: {answer.reason_str}")
    if connected:
        return TransientError(f"{where} aborted the association, or did not answer within {settings.timeout:g} s")
    secured = ", or its TLS certificate is not one that ca_file vouches for" if settings.ca_file else ""
    return TransientError(f"cannot connect to {where}: nobody listens there{secured}")
