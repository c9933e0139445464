"""Nothing is lost or altered unnoticed when peers answer badly, slowly, or not at all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from monai_diffaug.cli import main
from monai_diffaug.dicom.audit import Audit
from monai_diffaug.dicom.journal import Journal
from monai_diffaug.dicom.outgoing import find_outgoing
from monai_diffaug.dicom.peers import PeerError, RefusedError, TransientError, open_peer
from monai_diffaug.dicom.retries import Pace, Retries
from monai_diffaug.dicom.settings import load_settings
from monai_diffaug.dicom.transfer import push
from tests.dicom.faults import CuttingProxy, ScriptedStore, served, web_stub
from tests.dicom.servers import DICOM, HTTP, missing_programs, orthanc
from tests.dicom.synthetic_objects import make_object, write_objects

# pynetdicom leaves closing the socket of a refused or lost connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
PORT = 15000


class Sender:
    """Push a folder to a peer of the configuration, again and again with one journal."""

    def __init__(self, folder: Path, config: Path, peer: str, pace: Pace | None = None) -> None:
        self.settings = load_settings(config, peer)
        self.batch = find_outgoing(folder)
        self.journal = folder.parent / "journal.jsonl"
        self.audit = Audit(self.settings.audit_log, "tester", peer)
        self.pace = pace or Pace()

    def __call__(self, attempts: int = 4):
        peer = open_peer(self.settings.peer)
        try:
            with Journal.opened(self.journal, self.settings.peer.address) as journal:
                retries = Retries(attempts, first_wait=0.01)
                return push(self.batch, peer, journal, self.audit, self.pace, retries=retries)
        finally:
            peer.close()


def make_sender(tmp_path, config, count: int = 6, peer: str = "dimse", pace: Pace | None = None) -> Sender:
    folder = write_objects(tmp_path / "out", [make_object("CT", number, "faults") for number in range(count)])
    return Sender(folder, config, peer, pace)


@pytest.mark.parametrize("fault", ["abort", "keep and abort", 0xA700, "sleep"])
def test_faults_that_pass_are_got_over(loopback, configured, tmp_path, fault):
    send = make_sender(tmp_path, configured(dimse={"port": PORT, "timeout": 0.5}))
    with served(ScriptedStore([0, 0, fault, fault, 0], seconds=0.8), PORT) as store:
        done = send()
    assert (done.sent, done.equal, done.failed) == (6, 6, {})
    assert len(store.objects) == 6


@pytest.mark.parametrize("fault", [0x0122, 0xA900, 0xB000, 0xB007])
def test_refused_objects_are_named_and_the_others_sent(loopback, configured, tmp_path, fault):
    send = make_sender(tmp_path, configured(dimse={"port": PORT}))
    with served(ScriptedStore([0, fault]), PORT) as store:
        done = send()
        assert (done.sent, done.equal) == (5, 5)
        assert list(done.failed.values()) == [f"C-STORE: the peer answered status 0x{fault:04X}"]
        again = send()
    assert (again.sent, again.equal, again.failed) == (1, 6, {})
    assert store.calls == 7


def test_one_flipped_bit_is_found(loopback, configured, tmp_path):
    send = make_sender(tmp_path, configured(dimse={"port": PORT}))
    with served(ScriptedStore([0, "flip"]), PORT):
        done = send()
    assert done.equal == 5
    assert list(done.failed.values()) == ["came back changed: (7FE0,0010) PixelData: differs"]


def test_a_peer_that_keeps_failing_is_given_up(loopback, configured, tmp_path):
    send = make_sender(tmp_path, configured(dimse={"port": PORT, "timeout": 0.5}))
    with served(ScriptedStore([0, *["abort"] * 3]), PORT) as store:
        with pytest.raises(PeerError, match="1 of 6 objects are sent; run again to go on"):
            send(attempts=3)
        assert store.calls == 4
        assert send().equal == 6
    outcomes = [json.loads(line)["outcome"] for line in send.audit.path.read_text().splitlines()]
    assert outcomes.count("failed") == 2 and outcomes.count("equal") == 6, "an object, and its study"


def test_the_audit_log_tells_how_it_ended_where_nobody_answers(loopback, configured, tmp_path):
    config = configured(dimse={"port": PORT, "attempts": 1})
    send = make_sender(tmp_path, config, 2)
    with pytest.raises(PeerError, match="nobody listens"):
        send(attempts=1)
    assert main(["dicom", "verify", str(tmp_path / "out"), "--at", "dimse", "--config", str(config)]) == 1
    lines = [json.loads(line) for line in send.audit.path.read_text().splitlines()]
    studies = [(one["action"], one["outcome"], one.get("reason", "")) for one in lines if not one["instance"]]
    assert [one[:2] for one in studies] == [(a, o) for a in ("push", "verify") for o in ("begun", "failed")]
    assert all("nobody listens" in reason for _, outcome, reason in studies if outcome == "failed")


def test_a_journal_with_a_torn_line_is_of_use(loopback, configured, tmp_path):
    send = make_sender(tmp_path, configured(dimse={"port": PORT}))
    with served(ScriptedStore([]), PORT) as store:
        send()
        send.journal.write_bytes(send.journal.read_bytes()[:-30])
        done = send()
        assert (done.sent, done.equal, store.calls) == (0, 6, 6)
        lines = send.journal.read_bytes().splitlines()
        lines[3] = lines[3][:-20]
        send.journal.write_bytes(b"\n".join(lines))
        assert send().equal == 6


def test_a_journal_belongs_to_one_destination_and_one_push(loopback, configured, tmp_path):
    send = make_sender(tmp_path, configured(dimse={"port": PORT}))
    with Journal.opened(send.journal, "elsewhere@host:1"), pytest.raises(ValueError, match="in use by another push"):
        send()
    with pytest.raises(ValueError, match="belongs to a push to elsewhere@host:1"):
        send()


def test_a_file_that_changed_after_the_check_is_not_sent(loopback, configured, tmp_path):
    send = make_sender(tmp_path, configured(dimse={"port": PORT}))
    real = make_object("CT", 3, "faults")
    real.PatientName, real.SyntheticData = "Doe^Jane", "NO"
    real.save_as(send.batch[3].path, enforce_file_format=True)
    with served(ScriptedStore([]), PORT) as store, pytest.raises(ValueError, match="changed after it was checked"):
        send()
    assert store.calls == 3


@pytest.fixture
def own_archive(loopback, tmp_path):
    """Return a function that runs an Orthanc for one test, again on the same folder."""
    if reason := missing_programs("Orthanc"):
        pytest.skip(reason)
    return lambda: orthanc(tmp_path / "orthanc")


class KillingPace(Pace):
    """Kill the server before the fourth object."""

    server = None
    steps = 0

    def step(self, size: int) -> None:
        self.steps += 1
        if self.steps == 4:
            self.server.kill()


@pytest.mark.parametrize("peer", ["dimse", "web"])
def test_a_push_goes_on_after_the_server_was_killed(own_archive, configured, tmp_path, peer):
    config = configured()
    pace = KillingPace()
    send = make_sender(tmp_path, config, peer=peer, pace=pace)
    with own_archive() as pace.server, pytest.raises(PeerError, match="3 of 6 objects are sent"):
        send(attempts=2)
    send.pace = Pace()
    with own_archive():
        done = send()
    assert done.sent == 3 and done.equal == 6 and not done.failed


def test_a_push_goes_on_after_it_was_killed(loopback, configured, tmp_path):
    config = configured(dimse={"port": PORT})
    send = make_sender(tmp_path, config)
    command = [sys.executable, "-m", "monai_diffaug", "dicom", "push", str(tmp_path / "out"), "--to", "dimse", "--send"]
    command += ["--config", str(config), "--journal", str(send.journal), "--rate", "5"]
    with served(ScriptedStore([]), PORT) as store:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(400):
            if store.calls >= 3:
                break
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        before = store.calls
        assert 3 <= before < 6
        done = send()
    assert done.equal == 6 and store.calls in (6, 7), "at most one is sent twice: that whose line was not written"


def test_the_rate_is_kept(loopback, configured, tmp_path):
    naps: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        now[0] += seconds

    for pace, expected in (
        (Pace(4, 0, lambda: now[0], sleep), 0.25),
        (Pace(0, 2, lambda: now[0], sleep), 0.5),
        (Pace(0, 0, lambda: now[0], sleep), None),
    ):
        naps.clear()
        for _ in range(5):
            pace.step(1_000_000)
        assert naps == ([pytest.approx(expected)] * 4 if expected else [])


@pytest.mark.parametrize("fault", [(503, {}), (429, {}), (500, {}), (0, {})])
def test_web_faults_that_pass_are_got_over(loopback, configured, fault):
    config = configured(web={"url": f"http://127.0.0.1:{PORT}/dicom-web"})
    peer = open_peer(load_settings(config, "web").peer)
    with web_stub(PORT, [fault, fault]) as asked:
        Retries(3, 0.01)(lambda: peer.store(make_object()))
    peer.close()
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((307, {"Location": f"http://127.0.0.1:{PORT + 1}/elsewhere"}), RefusedError),
        ((401, {}), RefusedError),
        ((409, {}), PeerError),
        ((413, {}), PeerError),
        ((204, {}), TransientError),
    ],
)
def test_web_answers_that_are_no_success(loopback, configured, answer, error):
    config = configured(web={"url": f"http://127.0.0.1:{PORT}/dicom-web"})
    peer = open_peer(load_settings(config, "web").peer)
    with web_stub(PORT, [answer]) as asked, web_stub(PORT + 1, []) as elsewhere:
        with pytest.raises(PeerError) as raised:
            peer.store(make_object())
    peer.close()
    assert raised.type is error
    assert len(asked) == 1 and not elsewhere, "one request, to nowhere else"


def push_through_cuts(tmp_path, config, peer: str, target: int, count: int, limits: tuple[int, int]):
    """Push through a proxy that cuts every connection after a drawn number of bytes, as often as it takes."""
    draws = np.random.default_rng(7)
    objects = [make_object(("CT", "SC")[number % 2], number, "thousand", size=8) for number in range(count)]
    send = Sender(write_objects(tmp_path / "out", objects), config, peer)
    proxy = CuttingProxy(PORT, target, lambda _: int(draws.integers(*limits)))
    try:
        for runs in range(1, 50):
            try:
                return send(attempts=3), runs, proxy.cut
            except PeerError:
                continue
    finally:
        proxy.stop()
    raise AssertionError("never finished")


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["dimse", "web"])
def test_a_thousand_objects_through_cut_connections(own_archive, configured, tmp_path, peer):
    url = f"http://127.0.0.1:{PORT}/dicom-web"
    config = configured(dimse={"port": PORT}, web={"url": url})
    target = DICOM if peer == "dimse" else HTTP
    with own_archive():
        done, runs, cuts = push_through_cuts(tmp_path, config, peer, target, 1000, (1_000, 80_000))
    assert cuts > 30
    assert done.equal == 1000 and not done.failed, f"{cuts} cuts, {runs} runs"
