"""What counts as the same object, and what does not."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from monai_diffaug.cli import main
from monai_diffaug.dicom.finding import find_keys
from monai_diffaug.dicom.images import BadDicom
from monai_diffaug.dicom.object_files import write_new
from monai_diffaug.dicom.outgoing import find_outgoing
from monai_diffaug.dicom.peers import PeerError, refuse_ignored_keys
from monai_diffaug.dicom.verification import differences
from tests.dicom.synthetic_objects import make_object, write_objects


def through_file(one: Dataset) -> Dataset:
    buffer = BytesIO()
    one.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("kind", ["CT", "SC"])
@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_encodings_do_not_count(kind, syntax):
    ours, theirs = make_object(kind), make_object(kind)
    if syntax == RLELossless:
        theirs.compress(syntax, generate_instance_uid=False)
    elif syntax:
        theirs.file_meta.TransferSyntaxUID = syntax
    theirs.file_meta.ImplementationVersionName = "OTHER"
    assert differences(through_file(ours), through_file(theirs)) == []


def test_byte_order_does_not_count():
    ours, theirs = make_object("SC"), make_object("SC")
    theirs.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    assert differences(through_file(ours), through_file(theirs)) == []


def test_items_of_sequences_count():
    ours, theirs = make_object(), make_object()
    theirs.ContributingEquipmentSequence[0].Manufacturer = "other"
    (found,) = differences(through_file(ours), through_file(theirs))
    assert found == "(0018,A001) ContributingEquipmentSequence[1] > (0008,0070) Manufacturer: differs"
    theirs.ContributingEquipmentSequence.append(Dataset())
    assert "1 items, came back with 2" in differences(through_file(ours), through_file(theirs))[0]


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("SyntheticData", "NO", "(0008,001C) SyntheticData: differs"),
        ("PixelSpacing", ["0.7", "0.70"], "(0028,0030) PixelSpacing: differs"),
        ("PatientID", None, "(0010,0020) PatientID: lost"),
        ("InstitutionName", "new", "(0008,0080) InstitutionName: added"),
    ],
)
def test_every_element_counts(keyword, value, said):
    ours, theirs = make_object(), make_object()
    if value is None:
        delattr(theirs, keyword)
    else:
        setattr(theirs, keyword, value)
    assert differences(through_file(ours), through_file(theirs)) == [said]
    theirs.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert differences(through_file(ours), through_file(theirs)) == [said]


def test_private_elements_count():
    ours, theirs = make_object(), make_object()
    theirs.private_block(0x0099, "MONAI_DIFFAUG_TEST")[1].value = "even"
    assert differences(through_file(ours), through_file(theirs)) == ["(0099,1001) private or unknown: differs"]


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_every_bit_of_the_pixels_counts(syntax):
    ours, theirs = make_object("CT"), make_object("CT")
    changed = bytearray(theirs.PixelData)
    changed[100] ^= 1
    theirs.PixelData = bytes(changed)
    if syntax:
        theirs.compress(syntax, generate_instance_uid=False)
    assert differences(through_file(ours), through_file(theirs)) == ["(7FE0,0010) PixelData: differs"]


def test_pixels_that_nothing_can_decode_are_not_called_equal():
    ours, theirs = make_object("CT"), make_object("CT")
    theirs.compress(RLELossless, generate_instance_uid=False)
    theirs.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.999"
    assert "(7FE0,0010) PixelData: differs" in differences(through_file(ours), theirs)


def test_answers_that_ignore_the_question_are_refused():
    answer = Dataset()
    answer.PatientID = "SYN-2"
    assert refuse_ignored_keys([answer], {"PatientID": "SYN-*"}) == [answer]
    with pytest.raises(PeerError, match="ignored PatientID"):
        refuse_ignored_keys([answer], {"PatientID": "SYN-1"})


@pytest.mark.parametrize(
    ("level", "where", "said"),
    [
        ("study", [], "needs --where KEYWORD"),
        ("study", ["Nonsense=1"], "DICOM keyword"),
        ("study", ["PatientID"], "KEYWORD=VALUE"),
        ("study", ["SyntheticData=YES"], "list real objects too"),
        ("study", ["Modality=ES"], "ModalitiesInStudy"),
        ("series", ["PatientID=1"], "needs --where StudyInstanceUID"),
    ],
)
def test_questions_that_are_refused(level, where, said):
    with pytest.raises(ValueError, match=said):
        find_keys(level, where)


@pytest.mark.parametrize("study", ["", "1.2*", "../x"])
def test_a_study_that_is_no_uid_is_not_asked_for(configured, tmp_path, capsys, study):
    output = tmp_path / "pulled"
    assert (
        main(["dicom", "pull", "dimse", "--config", str(configured()), "--study", study, "--output", str(output)]) == 2
    )
    assert "must be a UID" in capsys.readouterr().err and not output.exists()


def test_a_file_is_written_once_and_whole(tmp_path):
    write_new(tmp_path / "a.dcm", b"1")
    with pytest.raises(FileExistsError, match="not overwritten"):
        write_new(tmp_path / "a.dcm", b"2")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1"]


def test_files_that_are_not_whole_stop_all(tmp_path):
    folder = write_objects(tmp_path / "out", [make_object("CT", 1), make_object("CT", 2)])
    (folder / "notes.txt").write_text("not looked at")
    assert len(find_outgoing(folder)) == 2
    whole = (folder / "0001.dcm").read_bytes()
    before_pixels = whole.index(b"\xe0\x7f\x10\x00")
    for cut in (whole[:-100], whole[:before_pixels], whole[:300], whole[:100], b""):
        (folder / "0001.dcm").write_bytes(cut)
        with pytest.raises(BadDicom, match="0001.dcm"):
            find_outgoing(folder)


@pytest.mark.parametrize("absent", ["Rows", "Columns", "PixelData"])
def test_files_that_lack_what_pixels_need_stop_all(tmp_path, absent):
    one = make_object("CT")
    delattr(one, absent)
    with pytest.raises(BadDicom, match="nothing was sent"):
        find_outgoing(write_objects(tmp_path / "out", [one]))


def test_what_a_stopped_export_left_is_not_sent(tmp_path):
    folder = write_objects(tmp_path / "out", [make_object("CT", 1)])
    write_objects(folder / ".S0002.part", [make_object("CT", 2)])
    assert len(find_outgoing(folder)) == 1


def test_one_uid_for_two_objects_stops_all(tmp_path):
    folder = write_objects(tmp_path / "out", [make_object(seed=1), make_object(seed=1)])
    assert len(find_outgoing(folder)) == 1
    write_objects(folder, [make_object(seed=1), make_object(seed=2)])
    with pytest.raises(BadDicom, match="differ but have one SOPInstanceUID"):
        find_outgoing(folder)
