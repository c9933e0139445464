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

    Colours are searched as frames of endoscopy are before painting (``rules.Overlay``). In grey images writing is as
    white as can be: shapes of the whitest stored number alone are searched, slice by slice.
    """
    for plane in image.planes:
        if str(plane.header.get("BurnedInAnnotation", "")).upper() == "YES":
            return f"{plane.path.name} says that it has burned-in annotation"
        if plane.header.SOPClassUID in LIKELY:
            return f"{plane.path.name} is an ultrasound image, which nearly always has"
        if plane.header.get("RecognizableVisualFeatures") == "YES":
            return f"{plane.path.name} says that it shows a recognizable face"
    look = Overlay()
    if any(look(frame).any() for frame in _frames(image)):
        return "small shapes of one brightness stand in a row"
    return ""


def _frames(image: DicomImage) -> Iterator[np.ndarray]:
    """Yield pictures (C, rows, columns) in [0, 1] in which writing is bright."""
    for index, plane in enumerate(image.planes):
        pixels = image.plane_pixels(image.stored, index)
        if pixels.shape[2:]:  # colour
            yield np.moveaxis(pixels.astype(np.float32) / 255, -1, 0)
            continue
        whitest = pixels.min() if plane.inverted else pixels.max()
        yield (pixels == whitest).astype(np.float32)[None]
