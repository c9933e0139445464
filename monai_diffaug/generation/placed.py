"""Write arrays that came from other formats: PNG where they have no place in space, NIfTI where they have one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header

from monai_diffaug.generation.files import write_image
from monai_diffaug.generation.stored import PictureTemplate, StoredImage, VolumeTemplate

START = 352  # byte where voxels begin: header, and four bytes that say that there is no extension
SCANNER = 1  # code of an affine that leads to the scanner's coordinates


def write_placed(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Write an array with the file that it belongs in.

    Args:
        path: `.png` without an affine, `.nii.gz` or `.nii` with one.
        array: (C, *spatial) or (*spatial).
        affine: (4, 4), index to mm, RAS.
    """
    if affine is None:
        channels = array.reshape(-1, *array.shape[-2:])
        write_image(path, channels, StoredImage(channels, None, PictureTemplate()))
        return
    volume = array.reshape(1, *array.shape[-3:])
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    template = VolumeTemplate(suffix, _prefix(volume[0], affine))
    write_image(path, volume, StoredImage(volume, None, template))


def _prefix(volume: np.ndarray, affine: np.ndarray) -> bytes:
    """Return every byte before the voxels."""
    header = Nifti1Header()
    header.set_data_shape(volume.shape)
    header.set_data_dtype(volume.dtype)
    header.set_qform(affine, SCANNER)
    header.set_sform(affine, SCANNER)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["vox_offset"] = START
    header["magic"] = b"n+1"
    return header.binaryblock + bytes(START - header.sizeof_hdr)
