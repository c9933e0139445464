"""The numbers that an imported image is written with: modality values wherever a file can hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monai_diffaug.dicom.images import BadDicom, DicomImage

AIR = -1024.0  # HU: the zero of CT pictures, which cannot hold negative numbers


@dataclass(frozen=True)
class Written:
    """Numbers of a file and what they mean.

    Args:
        array: (C, *spatial).
        scale, offset: modality value = scale * number + offset.
        notes: what is to be known, one sentence each.
    """

    array: np.ndarray
    scale: float = 1.0
    offset: float = 0.0
    notes: tuple[str, ...] = ()


def volume_values(image: DicomImage) -> Written:
    """Return modality values: int16 or int32 where they are whole, else float32."""
    values = image.image
    if not (values == np.rint(values)).all():
        return Written(values)
    fits = np.iinfo(np.int16).min <= values.min() and values.max() <= np.iinfo(np.int16).max
    return Written(values.astype(np.int16 if fits else np.int32))


def picture_values(image: DicomImage) -> Written:
    """Return what a PNG holds, uint8 or uint16: colours; grey values as they are, CT with 1024 added.

    Fractional values are written as their upright stored numbers, and told by scale and offset.

    Raises:
        BadDicom: when values are negative, and it is no CT.
    """
    values, plane = image.image, image.planes[0]
    if values.shape[0] > 1:
        return Written(values)
    dtype = np.uint8 if int(plane.header.BitsStored) <= 8 else np.uint16
    if not (values == np.rint(values)).all():
        low = plane.limits[0]
        numbers = np.rint((values.astype(np.float64) - plane.intercept) / plane.slope) - low
        return Written(numbers.astype(dtype), plane.slope, plane.intercept + plane.slope * low)
    if str(plane.header.get("Modality", "")) == "CT":
        below = int((values < AIR).sum())
        notes = (f"{below} pixels below {AIR:g} HU are written as {AIR:g}",) if below else ()
        return Written(np.clip(values - AIR, 0, 65535).astype(np.uint16), 1.0, AIR, notes)
    if values.min() < 0 or values.max() > np.iinfo(dtype).max:
        raise BadDicom(
            f"{plane.path.name} has values from {values.min():g} to {values.max():g}, which no {np.dtype(dtype)} PNG "
            "holds; read the series as a volume"
        )
    return Written(values.astype(dtype))
