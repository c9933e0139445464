"""Peers that go wrong on purpose: a proxy that cuts connections, a store that follows a script, a web stub."""

from __future__ import annotations

import http.server
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from monai_diffaug.dicom.contexts import SYNTAXES
from tests.dicom.synthetic_objects import CLASSES

GET = "1.2.840.10008.5.1.4.1.2.2.3"
NOW = struct.pack("ii", 1, 0)


class CuttingProxy:
    """Pass bytes on to a server and cut each connection after as many as ``rule`` says.

    Args:
        port: where it listens on loopback.
        target: port of the server.
        rule: number of the connection, from 0 -> bytes in both directions before it is cut, or None for never.
    """

    def __init__(self, port: int, target: int, rule: Callable[[int], int | None]) -> None:
        self.target, self.rule, self.cut, self.connections = target, rule, 0, 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(0.1)
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            budget = self.rule(self.connections)
            self.connections += 1
            thread = threading.Thread(target=self._pass_on, args=(client, budget), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass_on(self, client: socket.socket, budget: int | None) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            other = {client: server, server: client}
            for one in other:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._ended.is_set():
                for one in select.select(list(other), [], [], 0.1)[0]:
                    try:
                        data = one.recv(65536)
                        other[one].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return
                    budget = None if budget is None else budget - len(data)
                    if budget is not None and budget <= 0:
                        self.cut += 1
                        for end in other:
                            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
                        return


class ScriptedStore:
    """Take and give objects; each C-STORE is answered as the script says, and well once it is at its end.

    Steps: a status, ``abort``, ``keep and abort`` (the answer is lost), ``sleep``, ``flip`` (a bit of the pixels).

    Args:
        script: one step a C-STORE.
        seconds: how long ``sleep`` lasts.
    """

    def __init__(self, script: list[str | int], seconds: float = 2.0) -> None:
        self.script, self.seconds = list(script), seconds
        self.objects: dict[str, bytes] = {}
        self.calls = 0

    def take(self, event: Any) -> int:
        self.calls += 1
        step = self.script.pop(0) if self.script else 0
        if step == "sleep":
            time.sleep(self.seconds)
        if step in ("abort", "keep and abort"):
            if step != "abort":
                self._keep(event, 0)
            event.assoc.abort()
            return 0xC000
        if isinstance(step, int) and step:
            return step
        self._keep(event, step)
        return 0

    def _keep(self, event: Any, step: str | int) -> None:
        data = bytearray(event.encoded_dataset())
        if step == "flip":
            data[-1] ^= 1
        self.objects.setdefault(str(event.request.AffectedSOPInstanceUID), bytes(data))

    def give(self, event: Any) -> Iterator[Any]:
        wanted = event.identifier
        found = [dcmread(BytesIO(data)) for data in self.objects.values()]
        found = [one for one in found if one.SeriesInstanceUID == wanted.SeriesInstanceUID]
        if wanted.get("SOPInstanceUID"):
            found = [one for one in found if one.SOPInstanceUID == wanted.SOPInstanceUID]
        yield len(found)
        for one in found:
            yield 0xFF00, one


@contextmanager
def served(store: ScriptedStore, port: int, ssl_context: Any = None) -> Iterator[ScriptedStore]:
    """Let a store listen on loopback, title ORTHANC."""
    from pynetdicom import AE, evt

    entity = AE(ae_title="ORTHANC")
    for syntax in CLASSES.values():
        entity.add_supported_context(syntax, list(SYNTAXES), scu_role=True, scp_role=True)
    entity.add_supported_context(GET)
    entity.add_supported_context("1.2.840.10008.1.1")
    handlers: Any = [(evt.EVT_C_STORE, store.take), (evt.EVT_C_GET, store.give)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=ssl_context)
    try:
        yield store
    finally:
        server.shutdown()


@contextmanager
def web_stub(port: int, answers: list[tuple[int, dict[str, str]]], ssl_context: Any = None) -> Iterator[list[str]]:
    """Answer requests with these codes and headers in turn, then every STOW-RS with success; yields what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self._body()
            asked.append(f"POST {self.path}")
            code, headers = answers.pop(0) if answers else (200, {})
            if code == 0:
                self.close_connection = True
                return
            text = json.dumps(_stored(body)).encode() if code == 200 else b"no"
            self.send_response(code)
            for key, value in (headers | {"Content-Type": "application/dicom+json"}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    if ssl_context:
        server.socket = ssl_context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # clients that do not trust us end the connection
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _stored(body: bytes) -> dict[str, Any]:
    one = dcmread(BytesIO(body[body.index(b"\r\n\r\n") + 4 :].rpartition(b"\r\n--")[0]))
    item, answer = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
    answer.ReferencedSOPSequence = [item]
    return answer.to_json_dict()
