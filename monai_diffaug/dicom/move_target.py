"""Where objects arrive: in a C-GET on our own association, in a C-MOVE on one that the peer opens to us."""

from __future__ import annotations

import threading
from typing import Any

from monai_diffaug.dicom.contexts import SYNTAXES
from monai_diffaug.dicom.peers import PeerError, Receive, TransientError
from monai_diffaug.dicom.settings import DimseSettings


class Inbox:
    """Pass arriving objects on while it is open, and keep the first error of whoever takes them."""

    def __init__(self) -> None:
        self._receive: Receive | None = None
        self._error: Exception | None = None
        self._lock = threading.Lock()

    def open(self, receive: Receive) -> None:
        """Take objects from now on."""
        with self._lock:
            self._receive, self._error = receive, None

    def close(self) -> None:
        """Take no more objects."""
        with self._lock:
            self._receive = None

    def check(self) -> None:
        """Raise the error that ended the taking, if any."""
        if self._error is not None:
            raise self._error

    def take(self, event: Any) -> int:
        """Answer a C-STORE: its status."""
        with self._lock:
            if self._receive is None or self._error is not None:
                return 0xA700
            try:
                self._receive(event.encoded_dataset())
            except Exception as error:  # raised again by ``check`` on the side that waits
                self._error = error
                return 0xA700
            return 0x0000


class MoveTarget:
    """Listen for what a peer sends us in a C-MOVE; only that peer may connect.

    Args:
        settings: of the peer, with ``move_host`` and ``move_port``.
        inbox: takes the objects.
    """

    def __init__(self, settings: DimseSettings, inbox: Inbox) -> None:
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        from monai_diffaug.dicom.dimse import send_at_once

        entity = AE(ae_title=settings.calling_aet)
        entity.require_called_aet = True
        entity.require_calling_aet = [settings.called_aet]
        entity.maximum_associations = 4
        entity.network_timeout = entity.dimse_timeout = entity.acse_timeout = settings.timeout
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), list(SYNTAXES))
        handlers: list[Any] = [(evt.EVT_CONN_OPEN, send_at_once), (evt.EVT_C_STORE, inbox.take)]
        where = (settings.move_host, settings.move_port)
        try:
            self._server: Any = entity.start_server(where, block=False, evt_handlers=handlers)
        except OSError as error:
            kind = TransientError if error.errno == 98 else PeerError
            raise kind(f"cannot listen for the C-MOVE on {where[0]}:{where[1]}: {error.strerror}") from error

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
