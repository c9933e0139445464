"""Fetching a known set of objects until all are here, and a study or series into a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from monai_diffaug.dicom.audit import Audit
from monai_diffaug.dicom.object_files import read_address, settle, write_new
from monai_diffaug.dicom.peers import Address, Peer, PeerError, RefusedError, TransientError
from monai_diffaug.dicom.retries import Retries

ASKED = {"StudyInstanceUID": "", "SeriesInstanceUID": "", "SOPInstanceUID": "", "SOPClassUID": ""}


def gather(
    peer: Peer, series: Address, wanted: Mapping[str, str], receive: Callable[[str, bytes], None], retries: Retries
) -> dict[str, str]:
    """Fetch objects of a series, each handed over once, and return those that the peer does not give, with the reason.

    Args:
        peer: holds them.
        series: where they lie.
        wanted: instance UID to SOP class UID.
        receive: takes an instance UID and the bytes of a DICOM file.
        retries: how often to try again without anything new arriving.
    """
    missing = dict(wanted)

    def arrived(data: bytes) -> None:
        instance = _instance(data, series)
        if instance in missing:
            receive(instance, data)
            del missing[instance]

    tried, whole = 0, len(wanted) > 1
    while missing:
        before = len(missing)
        try:
            reasons = _fetch(peer, series, missing, whole, arrived)
        except TransientError:
            tried = 1 if len(missing) < before else tried + 1
            if tried >= retries.attempts:
                raise
            retries.wait(tried)
        else:
            if not whole:
                return {one: reasons.get(one, "the peer does not have it") for one in missing}
        whole = False
    return {}


def _instance(data: bytes, series: Address) -> str:
    """Return the UID of an object that arrived, if it is of the series that was asked for."""
    study, found_series, instance = read_address(data)
    if (study, found_series) != (series.study, series.series):
        raise PeerError(f"asked for series {series.series}, the peer sent an object of another one")
    return _plain(instance)


def _fetch(
    peer: Peer, series: Address, missing: dict[str, str], whole: bool, arrived: Callable[[bytes], None]
) -> dict[str, str]:
    """Fetch a whole series, or what is missing one by one; return what was refused and why."""
    refused: dict[str, str] = {}
    if whole:
        with _passing_over_a_refusal():
            peer.fetch(series, tuple(sorted(set(missing.values()))), arrived)
        return refused
    for instance, sop_class in list(missing.items()):
        try:
            peer.fetch(Address(series.study, series.series, instance), (sop_class,), arrived)
        except (TransientError, RefusedError):
            raise
        except PeerError as error:
            refused[instance] = str(error)
    return refused


@contextmanager
def _passing_over_a_refusal() -> Iterator[None]:
    """Pass over a refusal of a whole series: asking for its objects one by one tells more."""
    try:
        yield
    except (TransientError, RefusedError):
        raise
    except PeerError:
        return


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Args:
        new, kept: number of objects that were fetched, and that an earlier pull had left.
        missing: instance UID to the reason why the peer did not give it.
    """

    new: int
    kept: int
    missing: dict[str, str]


def pull(peer: Peer, address: Address, folder: Path, audit: Audit, retries: Retries, resume: bool = False) -> Pulled:
    """Fetch a study or one of its series into ``folder/<series UID>/<instance UID>.dcm``.

    Args:
        peer: holds it.
        address: the study, or the series.
        folder: new or empty, unless ``resume``; a file that is there is complete and never replaced.
        audit: is told.
        retries: how to try again.
        resume: go on with an interrupted pull.
    """
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise FileExistsError(f"{folder} is not empty; give a new folder, or --resume to go on with a pull")
    with audit.action("pull", address):
        folder.mkdir(parents=True, exist_ok=True)
        new, kept = 0, 0
        missing: dict[str, str] = {}
        for series, count in _series(peer, address, retries).items():
            place = folder / series.series
            place.mkdir(exist_ok=True)
            for part in place.glob(".*.part"):
                part.unlink()
            before, keep = _there(place), partial(_keep, place, series, audit)
            if count and not before:
                _at_once(peer, series, keep)
            if not count or len(_there(place)) != count:
                listed = _listed(peer, series, retries)
                wanted = {uid: sop_class for uid, sop_class in listed.items() if uid not in _there(place)}
                missing |= gather(peer, series, wanted, keep, retries)
            settle(place)
            new, kept = new + len(_there(place) - before), kept + len(before)
        return Pulled(new, kept, missing)


def _there(place: Path) -> set[str]:
    """Return the UIDs of the objects in a folder."""
    return {path.stem for path in place.glob("*.dcm")}


def _at_once(peer: Peer, series: Address, keep: Callable[[str, bytes], None]) -> None:
    """Fetch a whole series without a list of it, which takes long; what does not arrive is asked for one by one."""
    seen: set[str] = set()

    def arrived(data: bytes) -> None:
        instance = _instance(data, series)
        if instance not in seen:
            seen.add(instance)
            keep(instance, data)

    with suppress(TransientError), _passing_over_a_refusal():
        peer.fetch(series, (), arrived)


def _keep(place: Path, series: Address, audit: Audit, instance: str, data: bytes) -> None:
    write_new(place / f"{instance}.dcm", data)
    audit("pull", Address(series.study, series.series, instance), "written", hashlib.sha256(data).hexdigest())


def _series(peer: Peer, address: Address, retries: Retries) -> dict[Address, int]:
    """Return each series with the number of its objects, 0 where the peer does not tell."""
    keys = {
        "StudyInstanceUID": address.study,
        "SeriesInstanceUID": address.series,
        "NumberOfSeriesRelatedInstances": "",
    }
    found = retries(lambda: peer.find("series", keys))
    counts = {
        Address(address.study, _plain(str(one.SeriesInstanceUID))): int(one.get("NumberOfSeriesRelatedInstances") or 0)
        for one in found
        if one.get("SeriesInstanceUID")
    }
    if not counts:
        raise PeerError(f"the peer lists no objects of study {address.study} {address.series}".rstrip())
    return dict(sorted(counts.items(), key=lambda one: one[0].series))


def _listed(peer: Peer, series: Address, retries: Retries) -> dict[str, str]:
    """Return the instances of a series and their SOP classes, as the peer lists them."""
    keys = ASKED | {"StudyInstanceUID": series.study, "SeriesInstanceUID": series.series}
    found = retries(partial(peer.find, "instance", keys))
    if not found:
        raise PeerError(f"the peer lists no objects of study {series.study} {series.series}")
    return {_plain(str(one.SOPInstanceUID)): str(one.get("SOPClassUID") or "") for one in found}


def _plain(uid: str) -> str:
    """Return a UID, which is to name a file, if it is one."""
    if not uid or set(uid) - set("0123456789.") or len(uid) > 64:
        raise PeerError("the peer lists a UID that is none; its objects cannot be stored by their UIDs")
    return uid
