"""Find, pull, push and verify against a real Orthanc, over DIMSE and over DICOMweb."""

from __future__ import annotations

import json

import pytest
from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from monai_diffaug.cli import main
from monai_diffaug.dicom.verification import differences
from tests.dicom.synthetic_objects import make_object, syntax_of, uid, write_objects

# pynetdicom leaves closing the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
BOTH = pytest.mark.parametrize("peer", ["dimse", "web"])
ALL = pytest.mark.parametrize("peer", ["dimse", "move", "web"])


def make_study(key: str, count: int = 4) -> list:
    """Return a study of CT and SC objects in several transfer syntaxes."""
    objects = [make_object("CT", number, key) for number in range(count)] + [make_object("SC", 1, key)]
    objects[1].file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    objects[2].compress(RLELossless, generate_instance_uid=False)
    return objects


def dicom(*arguments: object) -> int:
    return main(["dicom", *map(str, arguments)])


@BOTH
def test_a_peer_answers(archive, configured, capsys, peer):
    assert dicom("find", peer, "--echo", "--config", configured()) == 0
    assert "answers" in capsys.readouterr().out


@ALL
def test_what_is_pushed_comes_back_by_all_ways(archive, configured, tmp_path, capsys, peer):
    key, config = f"whole-{peer}", configured()
    folder = write_objects(tmp_path / "out", make_study(key))
    assert dicom("push", folder, "--to", peer, "--send", "--config", config) == 0
    assert "5 of 5 came back equal" in capsys.readouterr().out
    assert dicom("verify", folder, "--at", peer, "--config", config) == 0
    assert dicom("pull", peer, "--study", uid(key), "--output", tmp_path / "in", "--config", config) == 0
    pulled = {one.SOPInstanceUID: one for one in map(dcmread, (tmp_path / "in").rglob("*.dcm"))}
    for path in folder.glob("*.dcm"):
        ours = dcmread(path)
        theirs = pulled.pop(ours.SOPInstanceUID)
        assert differences(ours, theirs) == []
        assert syntax_of(ours) == syntax_of(theirs), "nothing is re-encoded"
    assert not pulled
    assert not list((tmp_path / "in").rglob("*.part"))


@BOTH
def test_what_is_listed_can_be_narrowed(archive, configured, tmp_path, capsys, peer):
    key, config = f"listed-{peer}", configured()
    folder = write_objects(tmp_path / "out", make_study(key))
    assert dicom("push", folder, "--to", peer, "--send", "--config", config) == 0
    capsys.readouterr()
    assert dicom("find", peer, "--where", f"PatientID=SYN-{key}", "--config", config) == 0
    (study,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert study["StudyInstanceUID"] == uid(key)
    where = ("--where", f"StudyInstanceUID={uid(key)}")
    assert dicom("find", peer, "--level", "series", *where, "--config", config) == 0
    series = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {one["Modality"] for one in series} == {"CT", "OT"}
    where += ("--where", f"SeriesInstanceUID={uid(key, 'CT')}")
    assert dicom("find", peer, "--level", "instance", *where, "--config", config) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_without_send_nothing_is_sent(archive, configured, tmp_path, capsys):
    folder = write_objects(tmp_path / "out", make_study("dry"))
    assert dicom("push", folder, "--to", "dimse", "--config", configured()) == 0
    assert "would send 5 objects of 2 series" in capsys.readouterr().out
    assert dicom("find", "dimse", "--where", "PatientID=SYN-dry", "--config", configured()) == 0
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.glob("*.jsonl")) or not (tmp_path / "out.push-dimse.jsonl").exists()


@BOTH
@pytest.mark.parametrize(
    ("mark", "value"), [("SyntheticData", "NO"), ("SyntheticData", None), ("PatientID", "1"), ("PatientName", "Doe^J")]
)
def test_one_object_without_a_mark_stops_all(archive, configured, tmp_path, capsys, peer, mark, value):
    objects = make_study(f"unmarked-{peer}-{mark}-{value}")
    setattr(objects[-1], mark, value)
    objects[-1].SyntheticData = objects[-1].get("SyntheticData") if value else None
    folder = write_objects(tmp_path / "out", objects)
    assert dicom("push", folder, "--to", peer, "--send", "--config", configured()) == 2
    said = capsys.readouterr().err
    assert mark in said and "nothing was sent" in said and "Doe" not in said
    where = f"StudyInstanceUID={objects[0].StudyInstanceUID}"
    assert dicom("find", "web", "--where", where, "--config", configured()) == 0
    assert capsys.readouterr().out == ""


@BOTH
def test_a_uid_that_is_taken_by_other_pixels_is_found_by_reading_back(archive, configured, tmp_path, capsys, peer):
    key, config = f"twice-{peer}", configured()
    first = write_objects(tmp_path / "first", [make_object("CT", 1, key, seed=1)])
    other = write_objects(tmp_path / "other", [make_object("CT", 1, key, seed=2)])
    assert dicom("push", first, "--to", peer, "--send", "--config", config) == 0
    assert dicom("push", other, "--to", peer, "--send", "--config", config) == 1
    assert "(7FE0,0010) PixelData: differs" in capsys.readouterr().out
    assert dicom("verify", other, "--at", peer, "--config", config) == 1
    assert dicom("verify", first, "--at", peer, "--config", config) == 0


@ALL
def test_a_pull_goes_on_and_overwrites_nothing(archive, configured, tmp_path, capsys, peer):
    key, config = f"again-{peer}", configured()
    folder = write_objects(tmp_path / "out", make_study(key))
    assert dicom("push", folder, "--to", "web", "--send", "--config", config) == 0
    pull = ("pull", peer, "--study", uid(key), "--output", tmp_path / "in", "--config", config)
    assert dicom(*pull, "--series", uid(key, "CT")) == 0
    files = sorted((tmp_path / "in").rglob("*.dcm"))
    files[0].unlink()
    files[1].write_bytes(b"left as it is")
    assert dicom(*pull) == 1  # not empty
    assert "--resume" in capsys.readouterr().err
    assert dicom(*pull, "--resume") == 0
    assert "fetched 2 objects" in capsys.readouterr().out
    assert files[1].read_bytes() == b"left as it is"


@BOTH
def test_what_is_not_there_is_said(archive, configured, tmp_path, capsys, peer):
    folder = write_objects(tmp_path / "out", [make_object("CT", 1, "absent")])
    assert dicom("verify", folder, "--at", peer, "--config", configured()) == 1
    assert "not given back" in capsys.readouterr().out
    pull = ("pull", peer, "--study", uid("absent"), "--output", tmp_path / "in", "--config", configured())
    assert dicom(*pull) == 1
    assert "lists no objects" in capsys.readouterr().err


def test_a_folder_may_be_sent_only_where_the_configuration_says_so(archive, configured, tmp_path, capsys):
    folder = write_objects(tmp_path / "out", [make_object()])
    assert dicom("push", folder, "--to", "dimse", "--send", "--config", configured(dimse={"push": False})) == 2
    assert "push = true" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"called_aet": "WRONG"}, "Called AE title not recognised"),
        ({"calling_aet": "STRANGER"}, "no answer"),
        ({"port": 9}, "nobody listens"),
    ],
)
def test_refused_and_absent_peers(archive, configured, tmp_path, capsys, changes, said):
    folder = write_objects(tmp_path / "out", [make_object("CT", 1, "refused")])
    config = configured(dimse=changes | {"attempts": 2})
    assert dicom("push", folder, "--to", "dimse", "--send", "--config", config) == 1
    assert said in capsys.readouterr().err


def test_a_sop_class_that_the_peer_does_not_take(archive, configured, tmp_path, capsys):
    one = make_object("CT", 1, "labelmap")
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
    folder = write_objects(tmp_path / "out", [one, make_object("CT", 2, "labelmap")])
    assert dicom("push", folder, "--to", "dimse", "--send", "--config", configured()) == 1
    said = capsys.readouterr().out
    assert "does not take" in said and "1 of 2 came back equal" in said


@pytest.mark.parametrize("changes", [{"password_file": None, "user": None}, {"user": "stranger"}])
def test_wrong_and_missing_credentials(archive, configured, capsys, changes):
    assert dicom("find", "web", "--echo", "--config", configured(web=changes)) == 1
    assert "refused the credentials" in capsys.readouterr().err


def test_the_audit_log_tells_it_all_and_names_nobody(archive, configured, tmp_path):
    config = configured()
    folder = write_objects(tmp_path / "out", [make_object("CT", 1, "audit")])
    assert dicom("push", folder, "--to", "web", "--send", "--config", config, "--operator", "jane") == 0
    assert dicom("pull", "web", "--study", uid("audit"), "--output", tmp_path / "in", "--config", config) == 0
    log = tmp_path / "audit.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert " ".join(f"{one['action']}:{one['outcome']}" for one in lines) == (
        "push:begun push:sent push:equal push:done pull:begun pull:written pull:done"
    )
    assert lines[0]["operator"] == "jane" and lines[4]["operator"] == "tester"
    assert "SYN" not in log.read_text() and log.stat().st_mode & 0o077 == 0
