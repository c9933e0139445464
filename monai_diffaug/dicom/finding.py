"""Queries as typed by a person: checked keys in, one line of JSON out for each answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

RETURNED = {
    "study": ("StudyInstanceUID", "PatientID", "StudyDate", "StudyDescription", "AccessionNumber"),
    "series": ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription"),
    "instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
NEEDED = {"study": (), "series": ("StudyInstanceUID",), "instance": ("StudyInstanceUID", "SeriesInstanceUID")}


def find_keys(level: str, where: Sequence[str]) -> dict[str, str]:
    """Return the keys of a query, or say what is wrong with them.

    Args:
        level: ``study``, ``series`` or ``instance``.
        where: ``KEYWORD=VALUE``, one each.

    >>> find_keys("study", ["PatientID=SYN-1"])["PatientID"]
    'SYN-1'
    """
    asked = {}
    for one in where:
        key, _, value = one.partition("=")
        tag = tag_for_keyword(key)
        if tag is None or not value or dictionary_VR(tag) in ("SQ", "OB", "OW", "UN"):
            raise ValueError(f"--where must be KEYWORD=VALUE with a DICOM keyword such as PatientID, got {one!r}")
        if key == "SyntheticData":
            raise ValueError("servers that do not know SyntheticData ignore it in a query and list real objects too")
        if (level, key) == ("study", "Modality"):
            raise ValueError(
                "a study has no Modality, and nothing would be found; ask for --where ModalitiesInStudy=..."
            )
        asked[key] = value
    absent = [key for key in NEEDED[level] if not asked.get(key)]
    if not asked or absent:
        raise ValueError(f"a query of level {level} needs --where {absent[0] if absent else 'KEYWORD'}=VALUE")
    return {key: "" for key in RETURNED[level]} | asked


def checked_uid(text: str, option: str) -> str:
    """Return a UID as typed by a person, or say that it is none.

    >>> checked_uid("1.2.840", "--study")
    '1.2.840'
    """
    if not UID(text, validation_mode=IGNORE).is_valid:
        raise ValueError(f"{option} must be a UID of digits and dots, as dicom find lists them, got {text!r}")
    return text


def found_rows(found: Iterable[Dataset], keys: Mapping[str, str]) -> list[str]:
    """Return each answer as one line of JSON, with the keys that were asked for."""
    return [json.dumps({key: str(one.get(key) or "") for key in keys}) for one in found]
