"""DICOM in and out (extra ``[dicom]``) and PACS (extra ``[pacs]``).

files -> grouping -> geometry, pixels -> reader -> images (``DicomImage``) -> synthesis -> derived -> segmentation ->
checks -> export; peers pull and push what lies in folders. ``labels`` reads SEG and RTSTRUCT onto an image,
``conversion`` writes a folder to train on, ``transforms`` loads a series in a MONAI pipeline.

Names are resolved on first use: the extra is needed only then.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_diffaug.dicom.conversion import LabelChoice, import_folder
    from monai_diffaug.dicom.grouping import list_folder
    from monai_diffaug.dicom.images import BadDicom, DicomImage, Plane
    from monai_diffaug.dicom.labels import read_label
    from monai_diffaug.dicom.reader import read_series
    from monai_diffaug.dicom.transforms import (
        LoadDicomSeries,
        LoadDicomSeriesD,
        LoadDicomSeriesd,
        LoadDicomSeriesDict,
    )

__all__ = [
    "BadDicom",
    "DicomImage",
    "Plane",
    "list_folder",
    "read_series",
    "read_label",
    "LabelChoice",
    "import_folder",
    "LoadDicomSeries",
    "LoadDicomSeriesd",
    "LoadDicomSeriesD",
    "LoadDicomSeriesDict",
]

_HOMES = {
    "BadDicom": "images",
    "DicomImage": "images",
    "Plane": "images",
    "list_folder": "grouping",
    "read_series": "reader",
    "read_label": "labels",
    "LabelChoice": "conversion",
    "import_folder": "conversion",
    "LoadDicomSeries": "transforms",
    "LoadDicomSeriesd": "transforms",
    "LoadDicomSeriesD": "transforms",
    "LoadDicomSeriesDict": "transforms",
}


if not TYPE_CHECKING:  # else any misspelt name would type-check

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            return getattr(import_module(f"monai_diffaug.dicom.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'monai_diffaug.dicom' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
