"""TLS to dcmtk's storescp, to a store of our own and to Orthanc; and dcmtk's archive without it."""

from __future__ import annotations

import shutil
import ssl

import pytest
from pydicom import dcmread

from monai_diffaug.cli import main
from monai_diffaug.dicom.peers import PeerError, open_peer
from monai_diffaug.dicom.settings import load_settings
from monai_diffaug.dicom.verification import differences
from tests.dicom.certificates import make_certificates
from tests.dicom.faults import ScriptedStore, served, web_stub
from tests.dicom.servers import DICOM, HTTP, dcmqrscp, missing_programs, storescp
from tests.dicom.synthetic_objects import make_object, uid, write_objects

# pynetdicom leaves closing the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl):ResourceWarning")
PORT = 15100


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def tls(certificates, own: str | None = "client", **more):
    """Return the keys of a peer that is reached over TLS."""
    keys = {"host": "localhost", "port": PORT, "ca_file": str(certificates.ca), "attempts": 1}
    if own:
        keys |= {"cert_file": str(getattr(certificates, own)), "key_file": str(getattr(certificates, f"{own}_key"))}
    return keys | more


def dicom(*arguments: object) -> int:
    return main(["dicom", *map(str, arguments)])


def test_what_storescp_gets_over_tls_is_what_was_sent(loopback, configured, certificates, tmp_path):
    if reason := missing_programs("storescp"):
        pytest.skip(reason)
    options = ("+tls", str(certificates.server_key), str(certificates.server), "+cf", str(certificates.ca))
    one = make_object("SC", 1, "tls")
    settings = load_settings(configured(dimse=tls(certificates, called_aet="STORESCP")), "dimse").peer
    with storescp(tmp_path / "got", PORT, *options):
        peer = open_peer(settings)
        peer.echo()
        peer.store(one)
        peer.close()
    (path,) = [path for path in (tmp_path / "got").iterdir() if path.is_file()]
    assert differences(one, dcmread(path)) == []


def server_context(certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.load_verify_locations(certificates.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_push_over_tls_with_a_certificate_of_our_own(loopback, configured, certificates, tmp_path, capsys):
    folder = write_objects(tmp_path / "out", [make_object("CT", number, "mutual") for number in range(3)])
    config = configured(dimse=tls(certificates))
    with served(ScriptedStore([]), PORT, server_context(certificates)):
        assert dicom("push", folder, "--to", "dimse", "--send", "--config", config) == 0
    assert "3 of 3 came back equal" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", [{"ca_file": "other"}, {"host": "127.0.0.2"}, {"ca_file": None, "cert_file": None, "key_file": None}]
)
def test_a_server_that_cannot_be_trusted_gets_nothing(loopback, configured, certificates, change):
    change = change | ({"ca_file": str(certificates.other)} if change.get("ca_file") else {})
    settings = load_settings(configured(dimse=tls(certificates) | change | {"timeout": 1}), "dimse").peer
    with served(ScriptedStore([]), PORT, server_context(certificates)) as store:
        peer = open_peer(settings)
        with pytest.raises(PeerError):
            peer.store(make_object())
        peer.close()
    assert not store.calls


def test_dicomweb_over_https(loopback, configured, certificates):
    url = f"https://localhost:{HTTP}/dicom-web"
    config = configured(
        web={"url": url, "ca_file": str(certificates.ca)}, stranger={"kind": "dicomweb", "url": url},
        other={"kind": "dicomweb", "url": url, "ca_file": str(certificates.other)},
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    with web_stub(HTTP, [], context) as asked:
        for name in ("stranger", "other"):
            peer = open_peer(load_settings(config, name).peer)
            with pytest.raises(PeerError, match="not one that ca_file vouches for"):
                peer.store(make_object())
            peer.close()
        assert not asked
        peer = open_peer(load_settings(config, "web").peer)
        peer.store(make_object())
        peer.close()
    assert len(asked) == 1


@pytest.mark.parametrize("way", ["dimse", "move"])
def test_dcmtk_s_archive(loopback, configured, tmp_path, capsys, way):
    if reason := missing_programs("dcmqrscp"):
        pytest.skip(reason)
    config = configured(**{way: {"port": DICOM, "called_aet": "DCMQR"}})
    objects = [make_object("CT", number, "dcmtk") for number in range(3)] + [make_object("SC", 1, "dcmtk")]
    folder = write_objects(tmp_path / "out", objects)
    with dcmqrscp(tmp_path / "qr", DICOM):
        assert dicom("push", folder, "--to", way, "--send", "--config", config) == 0
        assert "4 of 4 came back equal" in capsys.readouterr().out
        assert dicom("find", way, "--where", "PatientID=SYN-dcmtk", "--config", config) == 0
        assert uid("dcmtk") in capsys.readouterr().out
        assert dicom("pull", way, "--study", uid("dcmtk"), "--output", tmp_path / "in", "--config", config) == 0
    pulled = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "in").rglob("*.dcm"))}
    sent = [dcmread(path) for path in folder.iterdir()]
    assert all(differences(one, pulled[one.SOPInstanceUID]) == [] for one in sent) and len(pulled) == 4
