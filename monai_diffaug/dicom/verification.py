"""Comparing an object with what a peer gives back for it: every element, pixels bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID

PIXEL_DATA = 0x7FE00010
DATA_SET_TRAILING_PADDING = 0xFFFCFFFC


def differences(ours: Dataset, theirs: Dataset) -> list[str]:
    """Return where two datasets differ, by tag and keyword only; nothing of what they hold is repeated.

    File meta information, group lengths and trailing padding do not count, nor do the encodings that depend on the
    transfer syntax: explicit or implicit VR, byte order, lengths of sequences.

    Args:
        ours: what was sent.
        theirs: what came back.
    """
    syntaxes = (_syntax(ours), _syntax(theirs))
    found = _compare(ours, theirs, "", skip_pixels=True)
    if PIXEL_DATA in ours and PIXEL_DATA in theirs:
        same = ours.get_item(PIXEL_DATA).value == theirs.get_item(PIXEL_DATA).value
        if not same and (syntaxes[0] == syntaxes[1] or not _same_numbers(ours, theirs)):
            found.append("(7FE0,0010) PixelData: differs")
    return found


def _compare(ours: Dataset, theirs: Dataset, where: str, skip_pixels: bool = False) -> list[str]:
    found = []
    for tag in sorted(set(ours.keys()) | set(theirs.keys())):
        both = tag in ours and tag in theirs
        if tag.element == 0 or tag.group == 2 or tag == DATA_SET_TRAILING_PADDING:
            continue
        if not both:
            found.append(f"{where}{_name(ours if tag in ours else theirs, tag)}: {'lost' if tag in ours else 'added'}")
        elif not (skip_pixels and tag == PIXEL_DATA):
            found += _compare_element(ours, theirs, tag, where)
    return found


def _compare_element(ours: Dataset, theirs: Dataset, tag: BaseTag, where: str) -> list[str]:
    """Return the differences of one element: by its bytes if they have one byte order, else by what they mean."""
    first, second = ours.get_item(tag), theirs.get_item(tag)
    if isinstance(first, RawDataElement) and isinstance(second, RawDataElement):
        same = first.value == second.value or _unpadded(first) == _unpadded(second)
        if same and first.is_little_endian == second.is_little_endian:
            return []
    one, other = ours[tag], theirs[tag]
    name = f"{where}{_name(ours, tag)}"
    if one.VR == "SQ" and other.VR == "SQ":
        if len(one.value) != len(other.value):
            return [f"{name}: {len(one.value)} items, came back with {len(other.value)}"]
        pairs = enumerate(zip(one.value, other.value, strict=True), 1)
        return [found for number, pair in pairs for found in _compare(*pair, f"{name}[{number}] > ")]
    return [] if _meaning(one) == _meaning(other) else [f"{name}: differs"]


def _unpadded(element: RawDataElement) -> bytes:
    """Return the bytes without the one that makes their number even."""
    value = element.value or b""
    return value[:-1] if value[-1:] in (b" ", b"\0") and element.VR not in ("OB", "OW", "UN", None) else value


def _meaning(element: DataElement) -> Any:
    """Return a value that is equal for equal content, number strings by their digits as written."""
    value = element.value
    if value is None or value == "":
        return ""
    parts = value if isinstance(value, (list, tuple)) or element.VM > 1 else [value]
    return (
        [str(getattr(part, "original_string", part)).strip() for part in parts] if element.VR in ("DS", "IS") else value
    )


def _same_numbers(ours: Dataset, theirs: Dataset) -> bool:
    """Whether two encodings of pixels hold the same stored numbers."""
    try:
        return np.array_equal(ours.pixel_array, theirs.pixel_array)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError):  # no decoder: nothing vouches for it
        return False


def _syntax(dataset: Dataset) -> UID:
    return UID(str(dataset.file_meta.TransferSyntaxUID))


def _name(dataset: Dataset, tag: BaseTag) -> str:
    from pydicom.datadict import keyword_for_tag

    return f"({tag.group:04X},{tag.element:04X}) {keyword_for_tag(tag) or 'private or unknown'}"
