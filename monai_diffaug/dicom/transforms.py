"""MONAI transforms that load a DICOM series as strictly as the reader: (C, *spatial) MetaTensors with a true affine."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_diffaug.dicom.images import BadDicom, DicomImage
from monai_diffaug.dicom.reader import read_series

__all__ = ["LoadDicomSeries", "LoadDicomSeriesd", "LoadDicomSeriesD", "LoadDicomSeriesDict"]


class LoadDicomSeries(Transform):
    """Load one series, or one frame of it.

    A volume is (1, columns, rows, slices) with its affine in RAS, as ``LoadImage`` and ``EnsureChannelFirst`` give it;
    a frame is (C, rows, columns) with an identity affine. No text of a header goes into the metadata.

    Args:
        series: SeriesInstanceUID, where a folder holds several.
        frame: number of the frame, from 0, where a series is read frame by frame and has more than one.
        frames, synthetic: as for ``read_series``.
        dtype: of the result.
    """

    def __init__(
        self,
        series: str | None = None,
        *,
        frame: int | None = None,
        frames: bool = False,
        synthetic: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.series, self.frame, self.frames, self.synthetic = series, frame, frames, synthetic
        self.dtype = dtype

    def __call__(self, source: str | Path | Sequence[str | Path]) -> MetaTensor:
        """Return the series of a folder, a file or files.

        Raises:
            BadDicom: when it cannot be used, or holds several images and ``frame`` does not tell which.
        """
        images = read_series(source, series=self.series, frames=self.frames, synthetic=self.synthetic)
        image = self._chosen(images)
        tensor = torch.as_tensor(np.ascontiguousarray(image.image)).to(self.dtype)
        affine = torch.eye(4, dtype=torch.float64) if image.affine is None else torch.as_tensor(image.affine)
        first = source if isinstance(source, str | Path) else source[0]
        meta = {
            "original_affine": affine.numpy().copy(),
            "space": "RAS",
            "spacing": np.asarray(image.spacing or (1.0,) * (len(image.stored.shape) - 1)),
            "spatial_shape": np.asarray(image.stored.shape[1:]),
            "original_channel_dim": 0 if image.stored.shape[0] > 1 else math.nan,
            "filename_or_obj": str(first),
        }
        return MetaTensor(tensor, affine=affine, meta=meta)

    def _chosen(self, images: list[DicomImage]) -> DicomImage:
        if self.frame is None and len(images) == 1:
            return images[0]
        number = -1 if self.frame is None else self.frame
        if not 0 <= number < len(images):
            raise BadDicom(
                f"series {images[0].series_uid} is read as {len(images)} frames; choose one from 0 to "
                f"{len(images) - 1} (frame), or give one file"
            )
        return images[number]


class LoadDicomSeriesd(MapTransform):
    """Load the series that each key's folder, file or files hold; arguments are those of ``LoadDicomSeries``."""

    def __init__(
        self,
        keys: KeysCollection,
        series: str | None = None,
        *,
        frame: int | None = None,
        frames: bool = False,
        synthetic: bool = False,
        dtype: torch.dtype = torch.float32,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadDicomSeries(series, frame=frame, frames=frames, synthetic=synthetic, dtype=dtype)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with each key's path replaced by its image."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            loaded[key] = self.load(loaded[key])
        return loaded


LoadDicomSeriesD = LoadDicomSeriesDict = LoadDicomSeriesd
