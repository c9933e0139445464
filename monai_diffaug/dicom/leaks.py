"""Search written bytes for anything that identifies a source: rebuilt objects hold none, and this makes sure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset

from monai_diffaug.dicom.whitelist import kept_texts

PASSED_OVER = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ICCProfile")
SHORTEST = 4
"""Characters; shorter texts occur by chance."""
NUMBERS = ("DS", "IS", "US", "SS", "UL", "SL", "FD", "FL", "AT")
STANDARD = re.compile(r"1\.2\.840\.10008\.")


def identifiers(sources: Sequence[Dataset]) -> set[str]:
    """Return every text and UID of source headers, sequences and private elements included, that may not go out.

    Names are split into their parts. What is carried over on purpose (``whitelist``), numbers, and the standard's own
    UIDs do not count.
    """
    kept = kept_texts(sources)
    found = {text.strip() for source in sources for text in _texts(source)}
    return {text for text in found if len(text) >= SHORTEST and text not in kept and not STANDARD.match(text)}


def _texts(dataset: Dataset) -> Iterator[str]:
    for tag in dataset.keys():
        try:
            element = dataset[tag]
        except (TypeError, ValueError):  # a text where a number belongs
            yield from _parts("UN", dataset.get_item(tag).value)
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR not in NUMBERS and element.keyword not in PASSED_OVER and not element.is_empty:
            for value in element.value if element.VM > 1 else [element.value]:
                yield from _parts(element.VR, value)


def _parts(vr: str, value: object) -> Iterator[str]:
    if isinstance(value, bytes):
        yield from (part.decode("ascii") for part in re.findall(rb"[\x20-\x7e]{4,}", value))
    elif vr == "PN":
        yield from re.split(r"[\^=]", str(value))
        yield str(value)
    else:
        yield str(value)


def found_in(data: bytes, pixels: bytes, texts: Iterable[str]) -> set[str]:
    """Return which texts occur in the bytes of a file.

    Args:
        data: the file.
        pixels: its pixel bytes, in which texts of fewer than eight characters are not looked for: they occur by chance.
        texts: what ``identifiers`` returned.
    """
    start = data.find(pixels) if pixels else -1
    rest = data if start < 0 else data[:start] + data[start + len(pixels) :]
    return {text for text in texts if _holds(rest if len(text) < 8 else data, text)}


def _holds(data: bytes, text: str) -> bool:
    return any(one in data for one in {text.encode("utf-8"), text.encode("latin-1", "replace")})
