"""RTSTRUCT: closed contours in the planes of an image, filled by the even-odd rule, so that inner ones are holes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from monai_diffaug.dicom.geometry import LPS_TO_RAS, affine_of, place_of
from monai_diffaug.dicom.grouping import DicomFile
from monai_diffaug.dicom.images import BadDicom, DicomImage

OFF_PLANE = 0.25  # of a slice's distance, that a contour may lie beside its plane


class Contours:
    """The regions of interest of an RTSTRUCT object.

    Args:
        file: the object.

    Raises:
        BadDicom: when two of them have the same name.
    """

    def __init__(self, file: DicomFile) -> None:
        self.file = file
        drawn = {int(one.ReferencedROINumber): one for one in file.header.get("ROIContourSequence") or ()}
        self._numbers: dict[str, int] = {}
        self._contours: dict[str, list[Dataset]] = {}
        for item in file.header.get("StructureSetROISequence") or ():
            name, number = str(item.get("ROIName", "") or f"ROI {item.ROINumber}"), int(item.ROINumber)
            contours = drawn[number].get("ContourSequence") if number in drawn else None
            if not contours:
                continue
            if name in self._numbers:
                raise BadDicom(f"{file.name} has two regions of the name {name}; rename one of them")
            self._numbers[name], self._contours[name] = number, list(contours)

    @property
    def names(self) -> dict[str, int]:
        """Names of the regions that have contours, with their numbers."""
        return dict(self._numbers)

    def belongs_to(self, image: DicomImage) -> bool:
        """Whether it refers to the image's series or instances, or if to none, lies in its frame of reference."""
        series: list[str] = []
        for frame in self.file.header.get("ReferencedFrameOfReferenceSequence") or ():
            for study in frame.get("RTReferencedStudySequence") or ():
                series += [
                    str(one.get("SeriesInstanceUID", "")) for one in study.get("RTReferencedSeriesSequence") or ()
                ]
        if series:
            return image.series_uid in series
        named = {
            str(reference.get("ReferencedSOPInstanceUID", ""))
            for contours in self._contours.values()
            for contour in contours
            for reference in contour.get("ContourImageSequence") or ()
        }
        if named:
            return bool(named & {plane.sop_uid for plane in image.planes})
        return self.lies_with(image)

    def lies_with(self, image: DicomImage) -> bool:
        """Whether it lies in the image's frame of reference."""
        header, ours = self.file.header, image.planes[0].header.get("FrameOfReferenceUID")
        frames = header.get("ReferencedFrameOfReferenceSequence") or ()
        return bool(ours) and ours in [one.get("FrameOfReferenceUID") for one in (header, *frames)]

    def mask(self, image: DicomImage, name: str) -> np.ndarray:
        """Return where a region lies, bool (*spatial): pixels whose centres its contours enclose.

        Raises:
            BadDicom: when the image has no place in space, or a contour does not lie in its slices.
        """
        if image.affine is not None:
            return self._filled(name, image.affine, image.stored.shape[1:], alone=False)
        header = image.planes[0].header
        place = place_of(header, self.file.name)
        if place.position is None or place.directions is None or place.spacing is None:
            raise BadDicom(f"{self.file.name} needs an image with a place in space, which {place.name} has not")
        step = float(header.get("SliceThickness") or 1.0) * place.normal
        grid = self._filled(name, affine_of(place, step), (*place.size[::-1], 1), alone=True)
        return grid[..., 0].T

    def _filled(self, name: str, affine: np.ndarray, size: Sequence[int], *, alone: bool) -> np.ndarray:
        """Return where a region lies in a grid (columns, rows, slices); ``alone``: contours elsewhere are as usual."""
        columns, rows, slices = size
        mask = np.zeros((columns, rows, slices), bool)
        to_index = np.linalg.inv(affine) @ LPS_TO_RAS
        for number, contour in enumerate(self._contours[name], start=1):
            what = f"contour {number} of {name} in {self.file.name}"
            points = self._points(contour, what)
            if points is None:
                continue
            index = points @ to_index[:3, :3].T + to_index[:3, 3]
            k = round(float(index[:, 2].mean()))
            beside = np.abs(index[:, 2] - k).max() > OFF_PLANE
            if alone and (beside or k):
                continue
            if beside:
                raise BadDicom(f"{what} does not lie in the plane of a slice; draw it on this series first")
            if not 0 <= k < slices:
                raise BadDicom(f"{what} lies outside the image; give all files of the series")
            mask[:, :, k] ^= enclosed(index[:, :2], (columns, rows))
        return mask

    def _points(self, contour: Dataset, what: str) -> np.ndarray | None:
        """Return the corners of a contour, (N, 3) mm LPS; None for a point, which encloses nothing."""
        kind = str(contour.get("ContourGeometricType", ""))
        if kind == "POINT":
            return None
        if not kind.startswith("CLOSED"):
            raise BadDicom(f"{what} is {kind or 'of no type'}; closed planar ones are needed: close it first")
        data = np.array([float(one) for one in contour.get("ContourData") or ()])
        if len(data) % 3 or len(data) < 9 or not np.isfinite(data).all():
            raise BadDicom(f"{what} has {len(data)} numbers; three for each of at least three corners are needed")
        return data.reshape(-1, 3)


def enclosed(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the whole places (i, j) that a polygon encloses by the even-odd rule, bool (*size).

    A place on a border counts on one side of the polygon only, so that polygons side by side do not overlap.

    Args:
        corners: (N, 2), in places.
        size: number of places on both axes.

    Example:
        >>> enclosed(np.array([[0.5, 0.5], [2.5, 0.5], [2.5, 1.5], [0.5, 1.5]]), (4, 3)).astype(int).tolist()
        [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    """
    inside = np.zeros(size, bool)
    columns = np.arange(size[0])[:, None]
    for (x, y), (u, v) in zip(corners.tolist(), np.roll(corners, -1, 0).tolist(), strict=True):
        low, high = sorted((y, v))
        first, last = max(math.ceil(low), 0), min(math.ceil(high), size[1])
        if first < last:
            crossing = x + (np.arange(first, last) - y) * (u - x) / (v - y)
            inside[:, first:last] ^= columns > crossing
    return inside
