"""Push and pull of a CT of 120 slices against the bare transfer, with a real Orthanc: python -m benchmarks.pacs

Needs root and Debian's orthanc and orthanc-dicomweb: the server runs in a network of this process's own. Bare is what
pynetdicom needs to send the files one after the other, and to get them into files again. Ours is the same by this
package: checks, journal and audit log synced to the disk, files written whole or not at all; the comparison after
sending, which reads everything back, is told apart. Prints seconds, medians of the turns, and ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import build_role
from pynetdicom.sop_class import CTImageStorage, PatientRootQueryRetrieveInformationModelGet

from monai_diffaug.dicom.audit import Audit
from monai_diffaug.dicom.collecting import pull
from monai_diffaug.dicom.journal import Journal
from monai_diffaug.dicom.outgoing import find_outgoing
from monai_diffaug.dicom.peers import Address, open_peer
from monai_diffaug.dicom.retries import Pace, Retries
from monai_diffaug.dicom.settings import load_settings
from monai_diffaug.dicom.transfer import push, verify
from tests.dicom.loopback import own_network
from tests.dicom.peer_files import write_config
from tests.dicom.servers import DICOM, orthanc
from tests.dicom.synthetic_objects import make_object

Timed = dict[str, list[float]]


def written(folder: Path, turn: int, slices: int) -> Path:
    """Write a series of 512 x 512 x 16 bit slices, other ones each turn."""
    folder.mkdir(parents=True)
    for number in range(1, slices + 1):
        make_object("CT", number, f"turn{turn}{folder.name}", size=512).save_as(
            folder / f"{number:04d}.dcm", enforce_file_format=True
        )
    return folder


def without_delay(event: evt.Event) -> None:
    """Send small packets at once, as the package does."""
    import socket

    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def bare_push(folder: Path) -> None:
    entity = AE("DIFFAUG")
    entity.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    association = entity.associate(
        "127.0.0.1", DICOM, ae_title="ORTHANC", evt_handlers=[(evt.EVT_CONN_OPEN, without_delay)]
    )
    for path in sorted(folder.iterdir()):
        assert association.send_c_store(dcmread(path)).Status == 0
    association.release()


def bare_pull(address: Address, folder: Path) -> None:
    folder.mkdir()

    def keep(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dataset.save_as(folder / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
        return 0

    entity = AE("DIFFAUG")
    entity.add_requested_context(PatientRootQueryRetrieveInformationModelGet)
    entity.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1")
    role: SCP_SCU_RoleSelectionNegotiation = build_role(CTImageStorage, scp_role=True)
    handlers = [(evt.EVT_C_STORE, keep), (evt.EVT_CONN_OPEN, without_delay)]
    association = entity.associate("127.0.0.1", DICOM, ae_title="ORTHANC", ext_neg=[role], evt_handlers=handlers)
    from pydicom.dataset import Dataset

    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.SeriesInstanceUID = "SERIES", address.study, address.series
    for _ in association.send_c_get(query, PatientRootQueryRetrieveInformationModelGet):
        pass
    association.release()


def timed(seconds: Timed, name: str, work: Callable[[], object]) -> None:
    begun = time.perf_counter()
    work()
    seconds.setdefault(name, []).append(time.perf_counter() - begun)


def turn(number: int, slices: int, work: Path, config: Path, seconds: Timed) -> None:
    """Push and pull once by each way; bare and ours take turns at going first."""
    settings = load_settings(config, "dimse")
    bare, ours = (written(work / f"{kind}{number}", number, slices) for kind in ("bare", "ours"))
    retries, audit, pace = Retries(3), Audit(settings.audit_log, "benchmark", "dimse"), Pace()

    def our_push() -> None:
        batch, peer = find_outgoing(ours), open_peer(settings.peer)
        with Journal.opened(work / f"journal{number}", settings.peer.address) as journal:
            assert push(batch, peer, journal, audit, pace, retries=retries).equal == slices
        peer.close()

    def our_look() -> None:
        peer = open_peer(settings.peer)
        verify(find_outgoing(ours), peer, lambda one, wrong: None, retries)
        peer.close()

    def our_pull() -> None:
        peer, address = open_peer(settings.peer), find_outgoing(ours)[0].address
        assert pull(peer, Address(address.study, address.series), work / f"got{number}", audit, retries).new == slices
        peer.close()

    address = find_outgoing(bare)[0].address
    steps = [("bare push", lambda: bare_push(bare)), ("our push and comparison", our_push)]
    steps = steps[:: 1 if number % 2 else -1]
    steps += [("our comparison", our_look)]
    pulls = [("bare pull", lambda: bare_pull(address, work / f"bare_got{number}")), ("our pull", our_pull)]
    for name, one in (*steps, *pulls[:: 1 if number % 2 else -1]):
        timed(seconds, name, one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    seconds: Timed = {}
    with tempfile.TemporaryDirectory() as name, own_network(), orthanc(Path(name) / "orthanc"):
        config = write_config(Path(name))
        for number in range(args.turns):
            turn(number, args.slices, Path(name), config, seconds)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in middle.items():
        print(f"{name}: {value:.2f} s")
    ours = [
        push - look + pulled
        for push, look, pulled in zip(
            seconds["our push and comparison"], seconds["our comparison"], seconds["our pull"], strict=True
        )
    ]
    bare = [a + b for a, b in zip(seconds["bare push"], seconds["bare pull"], strict=True)]
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    print(f"push + pull without the comparison, ours over bare: {statistics.median(ratios):.2f} ({min(ratios):.2f} to "
          f"{max(ratios):.2f}); with it {(sum(ours) + sum(seconds['our comparison'])) / sum(bare):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
