"""Stored numbers of a file, and what they mean; whatever would be guessed or cut is refused before it is decoded."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.uid import UID

from monai_diffaug.dicom.grouping import DicomFile
from monai_diffaug.dicom.images import BadDicom, Plane

LARGEST = 2**30  # numbers in one image, before anything is decoded; four times a whole-body CT
LARGEST_SERIES = 2**32  # numbers in all frames of a series, which are held at once: 690 colour pictures of full HD
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
EXTENDED = "1.2.840.10008.1.2.4.51"
HTJ2K = ("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")
SAFER = {
    "1.2.840.10008.1.2.4.50": "pillow",
    EXTENDED: "pillow",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
}
"""Decoders that raise on damaged data, where GDCM has been seen to end the whole process."""
_NONE = DataElement(0x60000102, "US", None)
VIDEO = "1.2.840.10008.1.2.4.10"


def is_colour(header: Dataset) -> bool:
    """Whether its pixels become three channels."""
    return str(header.get("PhotometricInterpretation", "")) not in GREY


def frames_of(header: Dataset) -> int:
    """Return how many frames an object says to hold."""
    return int(header.get("NumberOfFrames", 1) or 1)


def check_pixels(file: DicomFile) -> None:
    """Refuse what cannot be read without loss, by the header alone.

    Raises:
        BadDicom: with the file's name and the remedy.
    """
    header, kind = file.header, str(file.header.get("PhotometricInterpretation", ""))
    if kind not in (*GREY, *COLOUR):
        raise BadDicom(f"{file.name} has PhotometricInterpretation {kind or 'missing'!r}; convert it to RGB or grey")
    samples = 3 if kind not in (*GREY, "PALETTE COLOR") else 1
    if int(header.get("SamplesPerPixel", 1) or 1) != samples:
        raise BadDicom(
            f"{file.name} has {header.get('SamplesPerPixel', 'no')} samples a pixel as {kind}; correct its header"
        )
    if frames_of(header) < 1:
        raise BadDicom(f"{file.name} has NumberOfFrames {header.NumberOfFrames}; correct its header")
    check_size(math.prod((int(header.Rows), int(header.Columns), frames_of(header), samples)), file.name)
    _check_bits(file, colour=kind not in GREY)
    if header.get("ModalityLUTSequence"):
        raise BadDicom(
            f"{file.name} has a Modality LUT, which cannot be undone on export; apply it and save the values"
        )
    syntax = _syntax(header)
    if syntax.startswith(VIDEO):
        raise BadDicom(f"{file.name} is a video ({UID(syntax).name}); save the frames to use as single images")


def check_size(numbers: int, name: str) -> None:
    """Raise BadDicom for an image that no machine should try to decode."""
    if numbers > LARGEST:
        raise BadDicom(f"{name} asks for {numbers:,} numbers, more than {LARGEST:,}; crop it, or leave frames out")


def check_frames(files: Sequence[DicomFile]) -> None:
    """Raise BadDicom for a series whose frames together are more than should be held at once, before any is decoded."""
    sizes = [
        int(one.header.Rows) * int(one.header.Columns) * frames_of(one.header) * (3 if is_colour(one.header) else 1)
        for one in files
    ]
    if sum(sizes) > LARGEST_SERIES:
        raise BadDicom(
            f"the {len(files)} files of the series of {files[0].name} hold {sum(sizes):,} numbers, more than "
            f"{LARGEST_SERIES:,}; take it in parts, each from a folder of its own"
        )


def decode(file: DicomFile) -> np.ndarray:
    """Return stored numbers, (frames, rows, columns), or RGB (frames, rows, columns, 3) uint8.

    Raises:
        BadDicom: when they cannot be decoded, or are not what the header says.
    """
    check_pixels(file)
    header, count = file.header, frames_of(file.header)
    array = _decoded(file)
    if array.dtype.kind == "f":
        raise BadDicom(f"{file.name} has float pixels; save them as integers with RescaleSlope and RescaleIntercept")
    if str(header.PhotometricInterpretation) == "PALETTE COLOR":
        array = _coloured(array, file)
    colour = (3,) if is_colour(header) else ()
    size = (int(header.Rows), int(header.Columns), *colour)
    if array.size != count * math.prod(size):
        raise BadDicom(f"{file.name} decodes to shape {array.shape}, not {(count, *size)} as it says; get it anew")
    return np.ascontiguousarray(array.reshape(count, *size))


def raw_frames(file: DicomFile) -> np.ndarray:
    """Return the numbers of a SEG, (frames, rows, columns), as they are; raises as ``decode``."""
    array = _decoded(file)
    return array.reshape(frames_of(file.header), *array.shape[-2:])


def plane_of(file: DicomFile, frame: int = 0) -> Plane:
    """Return what the stored numbers of a frame mean.

    Raises:
        BadDicom: when its rescaling cannot be used.
    """
    header = file.header
    if is_colour(header):
        return Plane(file.path, header, frame)
    slope, intercept = (_number(file, name, usual) for name, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    if slope == 0:
        raise BadDicom(f"{file.name} has RescaleSlope 0, which makes all values equal; correct its header")
    inverted = str(header.PhotometricInterpretation) == "MONOCHROME1"
    return Plane(file.path, header, frame, slope, intercept, inverted, _padding(header))


def check_range(stored: np.ndarray, plane: Plane, name: str) -> None:
    """Refuse numbers that BitsStored cannot hold, unless they are padding: an overlay, or a wrong header."""
    low, high = plane.limits
    least, most = int(stored.min()), int(stored.max())
    if low <= least and most <= high:
        return
    wrong = (stored < low) | (stored > high)
    if plane.padding is not None:
        wrong &= (stored < plane.padding[0]) | (stored > plane.padding[1])
    if wrong.any():
        raise BadDicom(
            f"{name} holds numbers from {least} to {most}, but its {plane.header.BitsStored} stored bits end at {low} "
            f"and {high}: a wrong BitsStored, or an overlay that the header does not tell of; correct it first"
        )


def _check_bits(file: DicomFile, *, colour: bool) -> None:
    header = file.header
    for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        if header.get(name) is None and not (name == "HighBit" and header.get("BitsStored")):
            raise BadDicom(f"{file.name} has no {name}; get it anew or correct its header")
    bits, stored = int(header.BitsAllocated), int(header.BitsStored)
    palette = str(header.PhotometricInterpretation) == "PALETTE COLOR"
    if bits not in ((8,) if colour and not palette else (8, 16)):
        needed = "8 for each colour" if colour else "8 or 16"
        raise BadDicom(f"{file.name} has BitsAllocated {bits}, where {needed} can be read; convert it first")
    high = header.get("HighBit")
    if not 1 <= stored <= bits or int(stored - 1 if high is None else high) != stored - 1:
        raise BadDicom(
            f"{file.name} has BitsStored {stored} and HighBit {header.get('HighBit')} in {bits} bits; HighBit must be "
            "BitsStored - 1: convert it first"
        )


def _decoded(file: DicomFile) -> np.ndarray:
    syntax = _syntax(file.header)
    if not UID(syntax).is_transfer_syntax:
        raise BadDicom(f"{file.name} cannot be decoded: {_remedy(syntax)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of padding behind the pixels, and of what is checked here anyway
            return pixel_array(
                file.path, decoding_plugin=_plugin(syntax), correct_unused_bits=_has_embedded_overlay(file.header)
            )
    except (RuntimeError, NotImplementedError) as error:
        raise BadDicom(f"{file.name} cannot be decoded: {_remedy(syntax)}") from error
    except MemoryError as error:
        raise BadDicom(f"{file.name} does not fit into memory; crop it or use a larger machine") from error
    # pydicom and the codecs raise all kinds of errors on damaged files.
    except Exception as error:
        what = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadDicom(f"{file.name} is truncated, damaged or has no pixels ({what}); get it anew") from error


def _plugin(syntax: str) -> str:
    """Return the decoder to use where one is to be preferred and there, else an empty text: pydicom's choice."""
    wanted = SAFER.get(syntax, "")
    return wanted if wanted and wanted in get_decoder(UID(syntax)).available_plugins else ""


def _has_embedded_overlay(header: Dataset) -> bool:
    """Whether bits that the pixels do not use hold an overlay; else whatever is in them makes the file suspect."""
    return any(int(header.get((group, 0x0102), _NONE).value or 0) > 0 for group in range(0x6000, 0x6020, 2))


def _remedy(syntax: str) -> str:
    """Return why a compressed file was not decoded, and what to do."""
    name = UID(syntax).name
    if syntax == EXTENDED:
        return f"{name} with 12 bits has no free decoder here; decompress it first (dcmdjpeg, gdcmconv --raw)"
    if syntax in HTJ2K:
        return f"{name} needs pip install pylibjpeg-openjpeg, or decompress it first"
    try:
        known = get_decoder(UID(syntax)).is_available
    except (NotImplementedError, ValueError):
        return f"transfer syntax {name} is not known; decompress it first (gdcmconv --raw)"
    if known:
        return f"its data ({name}) is damaged; get it anew"
    return f"{name} needs a decoder; install it with pip install 'monai_diffaug[dicom]'"


def _coloured(array: np.ndarray, file: DicomFile) -> np.ndarray:
    try:
        colours = apply_color_lut(array, file.header)
    except Exception as error:  # of many kinds on damaged tables
        raise BadDicom(f"{file.name} has a palette that cannot be used ({error}); convert it to RGB first") from error
    bits = int(file.header.RedPaletteColorLookupTableDescriptor[2])
    return (colours >> max(bits - 8, 0)).astype(np.uint8)


def _padding(header: Dataset) -> tuple[int, int] | None:
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if value is None or value == "":
        return None
    ends = [_sensed(int(one), header) for one in (value, value if limit in (None, "") else limit)]
    return min(ends), max(ends)


def _sensed(number: int, header: Dataset) -> int:
    """Return a number that was written in the other sense, signed or not, as the pixels have it."""
    bits = int(header.BitsAllocated)
    if int(header.PixelRepresentation):
        return number - 2**bits if number >= 2 ** (bits - 1) else number
    return number + 2**bits if number < 0 else number


def _number(file: DicomFile, name: str, usual: float) -> float:
    value = file.header.get(name)
    try:
        number = usual if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadDicom(f"{file.name} has a {name} that is no finite number; correct its header")
    return number


def _syntax(header: Dataset) -> str:
    return str(getattr(header.file_meta, "TransferSyntaxUID", ""))
