"""Sending checked objects and comparing each with what the peer then holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from monai_diffaug.dicom.audit import Audit
from monai_diffaug.dicom.collecting import gather
from monai_diffaug.dicom.journal import Journal
from monai_diffaug.dicom.object_files import read_object
from monai_diffaug.dicom.outgoing import Outgoing
from monai_diffaug.dicom.peers import Address, Peer, PeerError, RefusedError, TransientError
from monai_diffaug.dicom.retries import Pace, Retries
from monai_diffaug.dicom.verification import differences

Report = Callable[[Outgoing, str], None]
"""Takes an object and its outcome: an empty string where it came back equal, else what is wrong."""


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Args:
        sent: number of objects sent now.
        equal: number of objects that the peer gave back equal, in this run or an earlier one.
        failed: instance UID to what is wrong.
    """

    sent: int
    equal: int
    failed: dict[str, str]


def push(
    batch: Sequence[Outgoing], peer: Peer, journal: Journal, audit: Audit, pace: Pace, *, retries: Retries
) -> Pushed:
    """Send objects, read all of them back and compare; what an earlier run has finished is not repeated.

    Args:
        batch: checked files.
        peer: explicit destination.
        journal: keeps what is done, for the next run.
        audit: is told of every object.
        pace: limits the rate.
        retries: how to try again.
    """
    if not batch:
        raise ValueError("there is nothing to send")
    with audit.action("push", *studies_of(batch)):
        so_far = _send(batch, peer, journal, audit, pace, retries)
        return _read_back(batch, peer, journal, audit, so_far, retries)


def studies_of(batch: Sequence[Outgoing]) -> list[Address]:
    """Return the studies of a batch."""
    return [Address(study) for study in sorted({one.address.study for one in batch})]


def _send(
    batch: Sequence[Outgoing], peer: Peer, journal: Journal, audit: Audit, pace: Pace, retries: Retries
) -> Pushed:
    """Send what is not there yet."""
    sent, failed = 0, {}
    for one in batch:
        if journal.state(one) in ("sent", "equal"):
            continue
        pace.step(one.size)
        dataset = one.read()
        try:
            retries(partial(peer.store, dataset))
        except (TransientError, RefusedError) as error:
            audit("push", one.address, "failed", one.sha256)
            done = sum(journal.state(other) in ("sent", "equal") for other in batch)
            raise PeerError(f"{error}. {done} of {len(batch)} objects are sent; run again to go on") from error
        except PeerError as error:
            failed[one.address.instance] = str(error)
            _note(journal, audit, one, "failed")
        else:
            sent += 1
            _note(journal, audit, one, "sent")
    return Pushed(sent, 0, failed)


def _read_back(
    batch: Sequence[Outgoing], peer: Peer, journal: Journal, audit: Audit, so_far: Pushed, retries: Retries
) -> Pushed:
    """Compare all that is sent and not yet compared."""
    failed = dict(so_far.failed)

    def report(one: Outgoing, wrong: str) -> None:
        if wrong:
            failed[one.address.instance] = wrong
        _note(journal, audit, one, "failed" if wrong else "equal")

    verify([one for one in batch if journal.state(one) == "sent"], peer, report, retries)
    equal = sum(journal.state(one) == "equal" for one in batch)
    return Pushed(so_far.sent, equal, failed)


def _note(journal: Journal, audit: Audit, one: Outgoing, outcome: str) -> None:
    audit("push", one.address, outcome, one.sha256)
    journal.note(one, outcome)


def verify(batch: Sequence[Outgoing], peer: Peer, report: Report, retries: Retries) -> None:
    """Read every object back and compare it with its file.

    Args:
        batch: checked files, those of a series next to each other.
        peer: holds them.
        report: is told the outcome of each.
        retries: how to try again.
    """
    for series, objects in groupby(batch, key=lambda one: Address(one.address.study, one.address.series)):
        ours = {one.address.instance: one for one in objects}

        def came_back(instance: str, data: bytes, ours: dict[str, Outgoing] = ours) -> None:
            one = ours[instance]
            report(one, _wrong(one, data))

        wanted = {instance: one.sop_class for instance, one in ours.items()}
        for instance, reason in gather(peer, series, wanted, came_back, retries).items():
            report(ours[instance], f"not given back: {reason}")


def _wrong(one: Outgoing, data: bytes) -> str:
    """Return how what came back differs, or an empty string."""
    found = differences(one.read(), read_object(data))
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return f"came back changed: {', '.join(found[:5])}{more}" if found else ""
