"""One mask for each lesion of a label map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from monai_diffaug.generation.handover.class_table import ClassTable


@dataclass(frozen=True)
class Instance:
    """One lesion.

    Args:
        mask: where it is, bool (*spatial).
        value: of its class.
        record: its entry in the manifest; None for one that no synthesis made.
    """

    mask: np.ndarray
    value: int
    record: Mapping[str, Any] | None = None


def standing(label: np.ndarray) -> Iterator[Instance]:
    """Yield the connected parts of each class in a label map (*spatial), neighbours by a corner included."""
    for value in np.unique(label[label > 0]).tolist():
        parts, count = _parts(label == value)
        yield from (Instance(parts == index, value) for index in range(1, count + 1))


def painted(mask: np.ndarray, line: Mapping[str, Any], classes: ClassTable) -> Iterator[Instance]:
    """Yield the lesions that were painted into a sample, as its manifest line has them.

    Args:
        mask: all of them, bool (*spatial).
        line: of the manifest.
        classes: names and values.
    """
    parts, count = _parts(mask)
    boxes = ndimage.find_objects(parts)
    left = set(range(1, count + 1))
    accepted = [one for one in line["abnormalities"] if one["attempts"][-1]["accepted"]]
    # A small lesion's box may lie in a large one's: the smallest first.
    for record in sorted(accepted, key=lambda one: np.prod(np.subtract(*one["bbox"][::-1]))):
        own = [index for index in left if _inside(boxes[index - 1], record["bbox"])]
        left -= set(own)
        if own:
            yield Instance(np.isin(parts, own), classes.values[record["class"]], record)


def _parts(mask: np.ndarray) -> tuple[np.ndarray, int]:
    return ndimage.label(mask, np.ones((3,) * mask.ndim))


def _inside(box: tuple[slice, ...], bbox: Any) -> bool:
    return all(low <= one.start and one.stop <= high for one, low, high in zip(box, *bbox, strict=True))
