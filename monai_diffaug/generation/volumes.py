"""NIfTI from and to bytes: nibabel reads the header, the voxels are taken and put back as they are stored.

Whatever comes before the voxels (header, extensions) is written back byte for byte, so nothing that nibabel would tidy
up can change. The functions are one family of formats for `files.py`.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from monai_diffaug.generation.stored import BadInput, StoredImage, StoredLabel, VolumeTemplate
from monai_diffaug.synthesis import ImageFormat

LEVEL = 3  # of gzip compression
LARGEST = 2**31  # voxels; four times a whole-body CT
PIECE = 2**20  # bytes that are unzipped at a time behind the voxels, to see the checksum but keep nothing
BEHIND = 64  # pieces
MILLIMETRES = {1: 1000.0, 3: 0.001}  # per metre and micrometre, by their codes in a header; all else counts as mm


def decode_image(data: bytes, suffix: str, images: ImageFormat) -> StoredImage:
    """Return a volume as (1, *spatial): in its stored dtype, or float32 where the header scales it.

    Args:
        data: the file's bytes.
        suffix: `.nii` or `.nii.gz`.
        images: what is needed; checked by the caller.

    Raises:
        BadInput: when the file is damaged or of a kind that cannot be used; the sentence does not name the file.
    """
    header, prefix, voxels = open_volume(data, suffix)
    scaling = _scaling(header)
    array = voxels if scaling is None else _scaled(voxels, scaling)
    template = VolumeTemplate(suffix, prefix)
    if scaling is not None:
        template = VolumeTemplate(suffix, prefix, voxels, images.intensity_range)
    return StoredImage(array[None], spacing_of(header), template)


def decode_map(data: bytes, suffix: str) -> StoredLabel:
    """Return a label or map as (*spatial); one whose header scales it to whole numbers becomes an integer map."""
    header, prefix, voxels = open_volume(data, suffix)
    scaling = _scaling(header)
    array = voxels if scaling is None else _whole(_scaled(voxels, scaling))
    return StoredLabel(array, VolumeTemplate(suffix, prefix))


def encode_image(array: np.ndarray, suffix: str, source: StoredImage) -> bytes:
    """Return (1, *spatial) as NIfTI with the source's header; where a scaled value did not change, its voxel stays."""
    template: VolumeTemplate = source.template  # type: ignore[assignment]
    header, voxels = _header(template.prefix), array[0]
    scaling = _scaling(header)
    if template.voxels is not None and scaling is not None:
        changed = voxels != source.array[0]
        stored = template.voxels.copy()
        stored[changed] = _unscaled(voxels[changed], scaling, stored.dtype, template.limits)
        voxels = stored
    return _pack(suffix, header, template.prefix, voxels)


def encode_label(array: np.ndarray, suffix: str, template: VolumeTemplate) -> bytes:
    """Return an integer map, (*spatial) or (1, *spatial), as NIfTI in its own dtype, placed as the template is."""
    header, prefix = _header(template.prefix), template.prefix
    array = array.reshape(array.shape[-3:])
    if array.dtype.newbyteorder("=") != header.get_data_dtype().newbyteorder("=") or _scaling(header) is not None:
        size = header.sizeof_hdr
        header.set_data_dtype(array.dtype)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0  # they tell an image's display range, not a label's
        prefix = header.binaryblock + prefix[size:]
    return _pack(suffix, header, prefix, array)


def encode_mask(mask: np.ndarray, suffix: str, template: VolumeTemplate) -> bytes:
    """Return a mask, (*spatial) or (1, *spatial), as uint8 NIfTI of 0 and 1."""
    return encode_label((mask != 0).astype(np.uint8), suffix, template)


def open_volume(data: bytes, suffix: str) -> tuple[Nifti1Header, bytes, np.ndarray]:
    """Return the header, every byte before the voxels, and the stored voxels (*spatial) in native byte order.

    Raises:
        BadInput: when the file is damaged or holds anything but one volume.
    """
    raw = _unzipped(data) if suffix == ".nii.gz" else data
    header = _header(raw)
    shape, start = header.get_data_shape(), header.get_data_offset()
    if len(shape) != 3:
        raise BadInput(f"it has shape {shape}; exactly three dimensions are needed: save one file per volume")
    if min(shape) < 1:
        raise BadInput(f"it has shape {shape}, which holds no voxel; get it anew or leave it out")
    dtype = _dtype(header)
    held, needed = len(raw) - start, math.prod(shape) * dtype.itemsize
    if held < needed:
        raise BadInput(f"it is truncated: {max(held, 0):,} of {needed:,} bytes of voxels are there; get it anew")
    voxels = np.frombuffer(raw, dtype, math.prod(shape), start).reshape(shape, order="F")
    # A copy: writable, in native byte order, and free of the file's bytes.
    return header, raw[:start], np.array(voxels, dtype.newbyteorder("="), order="C")


def _unzipped(data: bytes) -> bytes:
    """Return what is zipped, but no more than its header asks for: a small file may hold any amount."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            start = file.read(Nifti2Header.sizeof_hdr)
            raw = start + file.read(max(_needed(start) - len(start), 0))
            for _ in range(BEHIND):  # damage shows at the end, by the checksum
                if not file.read(PIECE):
                    break
            return raw
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"it cannot be unzipped ({error}): it is truncated, damaged or no gzip; get it anew") from error


def _needed(start: bytes) -> int:
    """Return how many bytes a volume has whose file starts like this.

    Raises:
        BadInput: when these are absurdly many.
    """
    kind = _kind(start)
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        voxels, size, offset = math.prod(header.get_data_shape()), _dtype(header).itemsize, header.get_data_offset()
    except BadInput:
        raise
    except Exception as error:  # of many kinds, as below
        raise BadInput(f"its NIfTI header cannot be read ({error}); get it anew or convert it again") from error
    if voxels > LARGEST:
        raise BadInput(f"its header asks for {voxels:,} voxels, more than {LARGEST:,}; crop it or convert it again")
    return min(int(offset), LARGEST) + voxels * size


def _kind(raw: bytes) -> type[Nifti1Header]:
    size = raw[:4]
    return Nifti2Header if 540 in (int.from_bytes(size, "little"), int.from_bytes(size, "big")) else Nifti1Header


def _header(raw: bytes) -> Nifti1Header:
    kind = _kind(raw)
    try:
        header = kind.from_fileobj(io.BytesIO(raw))
        start = header.get_data_offset()
    # nibabel raises many kinds of errors on damaged headers, from HeaderDataError to struct.error.
    except Exception as error:
        raise BadInput(f"its NIfTI header cannot be read ({error}); get it anew or convert it again") from error
    if start < header.sizeof_hdr:
        raise BadInput(f"its NIfTI header says that voxels start at byte {start}, inside the header; convert it again")
    return header


def _dtype(header: Nifti1Header) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except HeaderDataError as error:
        raise BadInput(f"its voxel type cannot be read ({error}); save it as integers or float32") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise BadInput(f"its voxels are of dtype {dtype}; one integer or float per voxel is needed: convert it first")
    return dtype


def _scaling(header: Nifti1Header) -> tuple[float, float] | None:
    """Return slope and intercept, or None where stored values mean themselves."""
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise BadInput(f"its scaling cannot be used ({error}); set scl_slope to 1 and scl_inter to 0") from error
    return None if slope is None or (slope, inter) == (1, 0) else (float(slope), float(inter or 0))


def scaled(header: Nifti1Header, voxels: np.ndarray) -> np.ndarray:
    """Return the values that stored voxels stand for: themselves, or float32 where the header scales them."""
    scaling = _scaling(header)
    return voxels if scaling is None else _scaled(voxels, scaling)


def _scaled(voxels: np.ndarray, scaling: tuple[float, float]) -> np.ndarray:
    slope, inter = scaling
    return (voxels.astype(np.float64) * slope + inter).astype(np.float32)


def _unscaled(
    values: np.ndarray, scaling: tuple[float, float], dtype: np.dtype, limits: tuple[float, float]
) -> np.ndarray:
    """Return what to store for values; rounding never carries one beyond the limits, which the file is read with."""
    slope, inter = scaling
    stored = (values.astype(np.float64) - inter) / slope
    low, high = sorted((limit - inter) / slope for limit in limits)
    if dtype.kind == "f":
        return np.clip(stored, low, high).astype(dtype)
    info = np.iinfo(dtype)
    low, high = max(math.ceil(low - 1e-6), info.min), min(math.floor(high + 1e-6), info.max)
    return np.clip(np.rint(stored), *((low, high) if low <= high else (info.min, info.max))).astype(dtype)


def _whole(values: np.ndarray) -> np.ndarray:
    """Return an integer map where scaling gives whole numbers but for its rounding (0 and 1 as 0 and 255 / 255)."""
    rounded = np.rint(values)
    if not np.isfinite(values).all() or np.abs(values - rounded).max() > 1e-3:
        return values
    low, high = int(rounded.min()), int(rounded.max())
    if not -(2**31) <= low <= high < 2**31:
        return values
    return rounded.astype(np.result_type(np.min_scalar_type(low), np.min_scalar_type(high)))


def spacing_of(header: Nifti1Header) -> tuple[float, ...]:
    """Return the size of a voxel along each axis in mm, or raise BadInput."""
    try:
        axes = header.get_best_affine()[:3, :3]
    except (HeaderDataError, ValueError) as error:
        raise BadInput(f"its affine cannot be read ({error}); write a valid sform or qform") from error
    lengths = np.sqrt((axes**2).sum(0))
    if not np.isfinite(axes).all() or lengths.min() < 1e-6 or abs(np.linalg.det(axes / lengths)) < 1e-6:
        raise BadInput(f"its affine {axes.tolist()} gives no size to its voxels; write a valid sform or qform")
    factor = MILLIMETRES.get(int(header["xyzt_units"]) % 8, 1.0)
    return tuple(float(one) for one in np.round(lengths * factor, 6))


def check_place(template: VolumeTemplate, image: VolumeTemplate, spatial: Sequence[int]) -> None:
    """Raise BadInput where a map lies elsewhere than its image: a tenth of a voxel or more at any corner."""
    ours, theirs = (_header(one.prefix).get_best_affine() for one in (template, image))
    corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in spatial), 1]
    apart = np.linalg.inv(theirs) @ (ours - theirs) @ corners.T
    if np.abs(apart[:3]).max() >= 0.1:
        raise BadInput(
            f"its affine puts it {np.abs(apart[:3]).max():.1f} voxels away from its image; resample it onto the image"
        )


def quantiser(template: VolumeTemplate) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what rounds values to those that a scaled volume's file can hold; None for a volume without scaling."""
    scaling = _scaling(_header(template.prefix))
    if template.voxels is None or scaling is None:
        return None
    dtype = template.voxels.dtype
    return lambda values: _scaled(_unscaled(values, scaling, dtype, template.limits), scaling)


def _pack(suffix: str, header: Nifti1Header, prefix: bytes, voxels: np.ndarray) -> bytes:
    if voxels.shape != header.get_data_shape():
        raise ValueError(
            f"array has shape {voxels.shape} but the file's is {header.get_data_shape()}; give one as large"
        )
    raw = prefix + voxels.astype(header.get_data_dtype()).tobytes(order="F")
    # Neither time nor name goes into the gzip header: equal voxels give equal files.
    return gzip.compress(raw, LEVEL, mtime=0) if suffix == ".nii.gz" else raw
