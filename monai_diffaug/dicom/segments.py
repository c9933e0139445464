"""DICOM SEG: each of its frames put onto the plane that it was drawn on, by reference or by position."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from pydicom.dataset import Dataset

from monai_diffaug.dicom.enhanced import unpacked
from monai_diffaug.dicom.grouping import DicomFile
from monai_diffaug.dicom.images import BadDicom, DicomImage, Plane
from monai_diffaug.dicom.pixels import check_size, frames_of, raw_frames

SAME_PLACE = 0.1  # mm
SAME_DIRECTION = 1e-3


class Segments:
    """The segments of a SEG object: binary, fractional (half and more counts) or a label map.

    Args:
        file: the object.

    Raises:
        BadDicom: when it has no segments.
    """

    def __init__(self, file: DicomFile) -> None:
        self.file = file
        self._numbers: dict[str, list[int]] = {}
        for item in file.header.get("SegmentSequence") or ():
            if not int(item.SegmentNumber):  # the background of a label map
                continue
            name = str(item.get("SegmentLabel", "") or f"segment {item.SegmentNumber}")
            self._numbers.setdefault(name, []).append(int(item.SegmentNumber))
        if not self._numbers:
            raise BadDicom(f"{file.name} has no segments; leave it out")
        self._targets = self._drawn_on()

    @property
    def names(self) -> dict[str, int]:
        """Segment labels with their numbers; segments of one label count as one, with the first number."""
        return {name: numbers[0] for name, numbers in self._numbers.items()}

    def belongs_to(self, image: DicomImage) -> bool:
        """Whether it refers to the image's series, or to its instances."""
        series = [
            str(one.get("SeriesInstanceUID", "")) for one in self.file.header.get("ReferencedSeriesSequence") or ()
        ]
        if series:
            return image.series_uid in series
        instances = {plane.sop_uid for plane in image.planes}
        return any(sop in instances for target in self._targets for sop, _ in target) or (
            not any(self._targets) and self.lies_with(image)
        )

    def lies_with(self, image: DicomImage) -> bool:
        """Whether it lies in the image's frame of reference."""
        ours = self.file.header.get("FrameOfReferenceUID")
        return bool(ours) and image.planes[0].header.get("FrameOfReferenceUID") == ours

    def mask(self, image: DicomImage, name: str) -> np.ndarray:
        """Return where a segment lies, bool (*spatial).

        Raises:
            BadDicom: when its frames do not fit the image's planes.
        """
        header = self.file.header
        size = image.plane_pixels(image.stored[:1], 0).shape
        if (int(header.Rows), int(header.Columns)) != size:
            raise BadDicom(
                f"{self.file.name} has {header.Rows} x {header.Columns} pixels, its image {size[0]} x {size[1]}; "
                "resample it onto the image first"
            )
        mask, outside = np.zeros(image.stored.shape[1:], bool), 0
        for frame, own in enumerate(self._headers):
            drawn = self._drawn(frame, own, self._numbers[name])
            if drawn is None or not drawn.any():
                continue
            planes = self._planes(frame, own, image)
            outside += not planes
            for plane in planes:
                part = mask if image.affine is None else mask[..., plane].T
                part |= drawn
        if outside and image.affine is not None:
            raise BadDicom(
                f"{outside} frames of {self.file.name} lie on no slice of the image; give all files of the series"
            )
        return mask

    def _drawn(self, frame: int, own: Dataset, numbers: list[int]) -> np.ndarray | None:
        """Return where a frame shows segments of these numbers, (rows, columns), or None where it cannot."""
        kind = str(self.file.header.get("SegmentationType", "BINARY"))
        if kind == "LABELMAP":
            return np.isin(self._pixels[frame], numbers)
        if "ReferencedSegmentNumber" not in own or int(own.ReferencedSegmentNumber) not in numbers:
            return None
        least = self.file.header.MaximumFractionalValue / 2 if kind == "FRACTIONAL" else 1
        return self._pixels[frame] >= least

    def _planes(self, frame: int, own: Dataset, image: DicomImage) -> list[int]:
        """Return the planes of the image that a frame belongs to.

        Raises:
            BadDicom: when it refers to one but lies elsewhere.
        """
        targets = self._targets[frame]
        by_reference = [k for k, plane in enumerate(image.planes) if (plane.sop_uid, plane.frame) in targets]
        for k in by_reference:
            if _placed(own, image.planes[k]) is False:
                raise BadDicom(
                    f"frame {frame} of {self.file.name} lies elsewhere than the slice that it refers to; resample it "
                    "onto the image first"
                )
        if by_reference or (targets and self.belongs_to(image)):
            return by_reference
        return [k for k, plane in enumerate(image.planes) if _placed(own, plane)]

    @cached_property
    def _headers(self) -> list[Dataset]:
        return [header for _, _, header in unpacked(self.file)]

    def _drawn_on(self) -> list[set[tuple[str, int]]]:
        """For each frame the instances that it was drawn on, with the number of the frame in them."""
        groups = self.file.header.get("PerFrameFunctionalGroupsSequence") or ()
        shared = (self.file.header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        return [set(_references(group) or _references(shared)) for group in groups]

    @cached_property
    def _pixels(self) -> np.ndarray:
        header = self.file.header
        check_size(int(header.Rows) * int(header.Columns) * frames_of(header), self.file.name)
        return raw_frames(self.file)


def _references(group: Dataset) -> list[tuple[str, int]]:
    found = []
    for derivation in group.get("DerivationImageSequence") or ():
        for source in derivation.get("SourceImageSequence") or ():
            numbers = source.get("ReferencedFrameNumber") or 1
            for number in [numbers] if isinstance(numbers, int | str) else numbers:
                found.append((str(source.get("ReferencedSOPInstanceUID", "")), int(number) - 1))
    return found


def _placed(own: Dataset, plane: Plane) -> bool | None:
    """Whether a frame lies on a plane; None where one of them does not tell."""
    pairs = [
        (own.get(name), plane.header.get(name), tolerance)
        for name, tolerance in (("ImagePositionPatient", SAME_PLACE), ("ImageOrientationPatient", SAME_DIRECTION),
                                ("PixelSpacing", SAME_DIRECTION))
    ]  # fmt: skip
    if not pairs[0][0] or not pairs[0][1]:
        return None
    return all(
        np.allclose(np.array(ours, float), np.array(theirs, float), rtol=0, atol=tolerance)
        for ours, theirs, tolerance in pairs
        if ours and theirs
    )
