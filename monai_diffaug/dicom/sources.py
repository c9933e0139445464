"""Find the stored image behind an imported one: its sidecar names the frames, the files hold them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.dicom.grouping import list_folder
from monai_diffaug.dicom.images import BadDicom, DicomImage
from monai_diffaug.dicom.reader import read_series
from monai_diffaug.dicom.sidecar import check_sidecar
from monai_diffaug.synthesis.window import Window


class Sources:
    """Read the originals of imported images again, series by series; the last one is kept.

    Args:
        files: folder of the DICOM files that were imported.
        sidecars: folder of sidecars that the import has written.
    """

    def __init__(self, files: Path, sidecars: Path) -> None:
        self.listing = list_folder(files)
        self.sidecars = sidecars
        self._kept: tuple[str, list[DicomImage]] = ("", [])

    def told(self, name: str) -> dict[str, Any]:
        """Return the sidecar of an imported image.

        Raises:
            BadDicom: when there is none, or it is broken.
        """
        path = self.sidecars / f"{name}.json"
        try:
            return json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadDicom(f"{path} cannot be read ({error}); import the series again") from error

    def image(self, name: str) -> DicomImage:
        """Return the stored image that an imported one came from.

        Raises:
            BadDicom: when the files are not those that were imported.
        """
        told = self.told(name)
        frames = [(one["sop_uid"], one["frame"]) for one in told["planes"]]
        for image in self._series(told["series_uid"], one_by_one="affine" not in told):
            if [(plane.sop_uid, plane.frame + 1) for plane in image.planes] == frames:
                check_sidecar(told, image)
                return image
        raise BadDicom(f"series {told['series_uid']} no longer holds the frames of {name}; import it again")

    def _series(self, uid: str, *, one_by_one: bool) -> Sequence[DicomImage]:
        key = f"{uid} {one_by_one}"
        if self._kept[0] != key:
            self._kept = key, read_series(self.listing.choose(uid), frames=one_by_one, split=True)
        return self._kept[1]


def painted_over(
    image: DicomImage, before: np.ndarray, after: np.ndarray, told: dict[str, Any], windows: Sequence[Window]
) -> np.ndarray:
    """Return ``image.image`` with what was painted in an imported file.

    Args:
        image: the original.
        before, after: numbers of the imported file and of the painted one, (C, *spatial).
        told: the sidecar, for what the numbers mean.
        windows: where the sample's record says that was painted.

    Raises:
        BadDicom: when shapes differ, or pixels changed where nothing was painted.
    """
    if before.shape != image.stored.shape or after.shape != before.shape:
        raise BadDicom(
            f"series {image.series_uid} has shape {image.stored.shape}, its imported and painted files {before.shape} "
            f"and {after.shape}; import it again"
        )
    astray = (after != before).any(0)
    for window in windows:
        astray[window.inside(astray.shape)] = False
    if astray.any():
        raise BadDicom(
            f"series {image.series_uid}: {int(astray.sum()):,} pixels differ from the source where the record says "
            "that nothing was painted; the painted file was changed, make the sample again"
        )
    values = after.astype(np.float64) * told["scale"] + told["offset"]
    return np.where(after != before, values, image.image).astype(image.image.dtype)
