"""What to offer when objects are fetched: every syntax an object may be stored in, each in a context of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

COMMON_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",  # CT
    "1.2.840.10008.5.1.4.1.1.4",  # MR
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.77.1.1",  # VL Endoscopic
    "1.2.840.10008.5.1.4.1.1.77.1.5.1",  # Ophthalmic Photography
    "1.2.840.10008.5.1.4.1.1.1",  # CR
)
SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1.99",  # Deflated
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
MOST_CLASSES = 126 // len(SYNTAXES)  # an association has at most 128 contexts


def retrieval_contexts(sop_classes: Iterable[str]) -> set[tuple[str, str]]:
    """Return pairs of SOP class and transfer syntax; without classes, those of the common ones."""
    classes = tuple(sorted(set(sop_classes) - {""})) or COMMON_CLASSES
    if len(classes) > MOST_CLASSES:
        raise ValueError(f"a series of {len(classes)} SOP classes, at most {MOST_CLASSES} can be fetched together")
    return {(one, syntax) for one in classes for syntax in SYNTAXES}


def storage_roles(syntaxes: Iterable[str]) -> list[Any]:
    """Return the offers to be the one who stores, as a C-GET needs."""
    from pynetdicom import build_role

    return [build_role(one, scp_role=True) for one in sorted(syntaxes) if one.startswith("1.2.840.10008.5.1.4.1.1.")]
