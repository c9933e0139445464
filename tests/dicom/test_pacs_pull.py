"""A pull asks for a list only where a count does not say that all is there."""

from __future__ import annotations

import io

import pytest
from pydicom.dataset import Dataset

from monai_diffaug.dicom.audit import Audit
from monai_diffaug.dicom.collecting import pull
from monai_diffaug.dicom.peers import Address, PeerError, TransientError
from monai_diffaug.dicom.retries import Retries
from tests.dicom.synthetic_objects import make_object

OBJECTS = [make_object("CT", number, "pull", size=8) for number in range(1, 6)]
WHERE = Address(str(OBJECTS[0].StudyInstanceUID), str(OBJECTS[0].SeriesInstanceUID))


def as_file(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class FakePeer:
    """Hold the objects.

    Args:
        count: number it tells of its series, None = it tells none.
        lost: how many objects do not come with the whole series.
        error: raised when the whole series was given.
        twice: give each object twice.
    """

    def __init__(
        self, count: int | None, *, lost: int = 0, error: Exception | None = None, twice: bool = False
    ) -> None:
        self.count, self.lost, self.error, self.twice = count, lost, error, twice
        self.asked: list[str] = []

    def find(self, level, keys):
        self.asked.append(level)
        if level == "instance":
            return OBJECTS
        one = Dataset()
        one.StudyInstanceUID, one.SeriesInstanceUID = WHERE.study, WHERE.series
        if self.count is not None:
            one.NumberOfSeriesRelatedInstances = self.count
        return [one]

    def fetch(self, address, sop_classes, receive):
        self.asked.append(f"fetch {address.level}")
        given = [one for one in OBJECTS if address.instance in ("", one.SOPInstanceUID)]
        for one in given[: len(given) - (0 if address.instance else self.lost)]:
            for _ in range(1 + self.twice):
                receive(as_file(one))
        if self.error is not None and not address.instance:
            raise self.error


def run(peer: FakePeer, folder, **options):
    retries = Retries(3, sleep=lambda seconds: None)
    return pull(peer, WHERE, folder / "out", Audit(folder / "audit", "tester", "fake"), retries, **options)


def files(folder) -> set[str]:
    return {path.stem for path in (folder / "out").rglob("*.dcm")}


@pytest.mark.parametrize("twice", [False, True])
def test_where_the_count_is_met_nothing_is_listed(tmp_path, twice):
    peer = FakePeer(5, twice=twice)
    done = run(peer, tmp_path)
    assert (done.new, done.kept, done.missing) == (5, 0, {}) and peer.asked == ["series", "fetch series"]
    assert files(tmp_path) == {str(one.SOPInstanceUID) for one in OBJECTS}


@pytest.mark.parametrize("count", [None, 0, 5, 7])
@pytest.mark.parametrize("error", [None, TransientError("lost"), PeerError("some failed")])
def test_what_does_not_come_with_the_series_is_asked_for_again(tmp_path, count, error):
    peer = FakePeer(count, lost=2, error=error)
    done = run(peer, tmp_path)
    assert (done.new, done.missing) == (5, {}) and "instance" in peer.asked
    assert len(files(tmp_path)) == 5


def test_a_resumed_pull_goes_by_the_list(tmp_path):
    run(FakePeer(5), tmp_path)
    sorted((tmp_path / "out").rglob("*.dcm"))[0].unlink()
    done = run(FakePeer(5), tmp_path, resume=True)
    assert (done.new, done.kept) == (1, 4) and len(files(tmp_path)) == 5


def test_objects_of_another_series_are_not_kept(tmp_path):
    peer, address = FakePeer(5), Address(WHERE.study, "1.2.3")
    peer.find = lambda level, keys: [_series_of("1.2.3")] if level == "series" else OBJECTS
    done = pull(peer, address, tmp_path / "out", Audit(tmp_path / "audit", "tester", "fake"), Retries(1))
    assert not files(tmp_path) and done.new == 0 and len(done.missing) == 5
    assert all("another one" in reason for reason in done.missing.values())


def _series_of(uid: str) -> Dataset:
    one = Dataset()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.NumberOfSeriesRelatedInstances = WHERE.study, uid, 5
    return one
