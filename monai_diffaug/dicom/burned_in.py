"""Find writing that may be burned into pixels: an object may only say that there is none after a look."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from monai_diffaug.dicom.images import DicomImage
from monai_diffaug.synthesis.rules import Overlay

LIKELY = {UltrasoundImageStorage, UltrasoundMultiFrameImageStorage}
"""Kinds of objects that nearly always hold writing."""


def suspected(image: DicomImage) -> str:
    """Return in a few words why writing is suspected in an image, or an empty text.

    The pixels are searched as frames of endoscopy are before painting (``rules.Overlay``), slice by slice.
    """
    for plane in image.planes:
        if str(plane.header.get("BurnedInAnnotation", "")).upper() == "YES":
            return f"{plane.path.name} says that it has burned-in annotation"
        if plane.header.SOPClassUID in LIKELY:
            return f"{plane.path.name} is an ultrasound image, which nearly always has"
        if plane.header.get("RecognizableVisualFeatures") == "YES":
            return f"{plane.path.name} says that it shows a recognizable face"
    look = Overlay()
    for number, frame in enumerate(_frames(image)):
        if look(frame).any():
            return f"plane {number + 1} has small bright shapes in a row"
    return ""


def _frames(image: DicomImage) -> Iterator[np.ndarray]:
    """Yield each plane as (C, rows, columns) in [0, 1]."""
    values = image.image.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    unit = (values - low) / max(high - low, 1e-6)
    for index in range(len(image.planes)):
        pixels = image.plane_pixels(unit, index)
        yield np.moveaxis(np.atleast_3d(pixels), -1, 0)
