"""PNG and JPEG from and to bytes, through PIL, which keeps what is stored; what it would lose is refused here.

`decode_image`, `decode_map`, `encode_image`, `encode_label` and `encode_mask` are one family of formats for `files.py`.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from monai_diffaug.generation.stored import BadInput, PictureTemplate, StoredImage, StoredLabel
from monai_diffaug.synthesis import ImageFormat

LEVEL = 2  # of PNG compression: four times as fast as the usual 6, a tenth larger
ORIENTATION = 0x0112  # EXIF tag
GREYSCALE = ("1", "L", "I;16", "I")
FRAMED = "; save its pixels as an 8-bit PNG, greyscale or RGB"


def decode_image(data: bytes, suffix: str, images: ImageFormat) -> StoredImage:
    """Return a picture as (C, height, width), uint8 or uint16.

    Args:
        data: the file's bytes.
        suffix: of its name; PIL recognises the format by itself.
        images: what is needed; only its range is looked at here.

    Raises:
        BadInput: when the picture cannot be read without loss; the sentence does not name the file.
    """
    picture, notes = open_picture(data), []
    if picture.mode.startswith("I") and images.intensity_range[1] <= 255:
        raise BadInput(
            f"it is a 16-bit picture but the intensity range ends at {images.intensity_range[1]:g}; "
            "rescale it to 8 bits first"
        )
    if _has_alpha(picture):
        picture = _without_alpha(picture)
        notes.append("fully opaque alpha channel dropped")
    if picture.mode == "P":
        picture = picture.convert("RGB")
        notes.append("palette converted to RGB without loss")
    if picture.mode == "1":
        picture = picture.convert("L")
        notes.append("one-bit picture read as 0 and 255")
    if picture.mode not in ("L", "RGB", "I;16", "I"):
        raise BadInput(f"it has colour mode {picture.mode}{FRAMED}")
    template = PictureTemplate(profile=picture.info.get("icc_profile") or b"")
    return StoredImage(_array(picture), None, template, tuple(notes))


def decode_map(data: bytes, suffix: str) -> StoredLabel:
    """Return a label or map of one channel as (height, width); an indexed picture gives its indices."""
    picture = open_picture(data)
    if picture.mode not in (*GREYSCALE, "P"):
        raise BadInput(f"it has colour mode {picture.mode}, but a label or map has one channel; save it as greyscale")
    array = _array(picture.convert("L") if picture.mode == "1" else picture)[0]
    if picture.format == "JPEG" and not ((array == 0) | (array == 255)).all():
        raise BadInput("JPEG compression has blurred its values (others than 0 and 255 occur); save the label as PNG")
    palette = bytes(picture.getpalette("RGB") or ()) if picture.mode == "P" else b""
    return StoredLabel(array, PictureTemplate(bilevel=picture.mode == "1", palette=palette))


def encode_image(array: np.ndarray, suffix: str, source: StoredImage) -> bytes:
    """Return (C, height, width) as PNG, with the colour profile of the source."""
    channels_last = array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)
    return _png(Image.fromarray(np.ascontiguousarray(channels_last)), source.template.profile)  # type: ignore[union-attr]


def encode_label(array: np.ndarray, suffix: str, template: PictureTemplate) -> bytes:
    """Return an integer map, (height, width) or (1, height, width), as PNG like the template."""
    array = array.reshape(array.shape[-2:])
    if array.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"a PNG label needs dtype uint8 or uint16, got {array.dtype}; convert it first")
    if template.bilevel and len(np.unique(array[array != 0])) <= 1:
        return _png(Image.fromarray(array != 0))
    picture = Image.fromarray(np.ascontiguousarray(array))
    if template.palette:
        # PNG stores no more bits than the palette needs: an index beyond it would be cut, so new ones become white.
        picture.putpalette(template.palette.ljust(3 * (int(array.max()) + 1), b"\xff"))
    return _png(picture)


def encode_mask(mask: np.ndarray, suffix: str, template: PictureTemplate) -> bytes:
    """Return a mask, (height, width) or (1, height, width), as PNG of 0 and 255."""
    return encode_label(np.where(mask != 0, np.uint8(255), np.uint8(0)), suffix, PictureTemplate())


def open_picture(data: bytes) -> Image.Image:
    """Return the decoded picture.

    Raises:
        BadInput: when it cannot be decoded as it is stored.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        _check_header(picture, data)
        picture.load()
        turned = picture.getexif().get(ORIENTATION, 1)
    except BadInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadInput(_too_large()) from None
    # PIL's decoders raise all kinds of errors on damaged files: OSError, SyntaxError, struct.error, zlib.error...
    except Exception as error:
        what = str(error) if "truncated" in str(error) else "damaged, truncated, or no PNG or JPEG"
        raise BadInput(f"it cannot be decoded ({what}); get it anew or leave it out") from error
    if turned in range(2, 9):
        raise BadInput(
            f"its EXIF orientation is {turned}, so viewers turn it; apply it (exiftran -ai, mogrify -auto-orient)"
        )
    return picture


def _check_header(picture: Image.Image, data: bytes) -> None:
    """Refuse by what the header tells, before any pixel is decoded."""
    if Image.MAX_IMAGE_PIXELS and picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
        raise BadInput(_too_large())
    if getattr(picture, "n_frames", 1) > 1:
        raise BadInput(f"it holds {picture.n_frames} frames; save the one to use as a file of its own")  # type: ignore[attr-defined]
    if picture.mode == "CMYK":
        raise BadInput("it is a CMYK picture; convert it to RGB first")
    # The header chunk comes first: 8 bytes of signature, 8 of chunk head, width, height, then depth and colour type.
    if picture.format == "PNG" and data[24] == 16 and data[25] != 0:
        raise BadInput("it has 16 bits per channel, which would be cut to 8; save it with 8 bits per channel")


def _too_large() -> str:
    return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels, as decompression bombs do; crop or shrink it"


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in ("LA", "RGBA") or "transparency" in picture.info


def _without_alpha(picture: Image.Image) -> Image.Image:
    """Return the picture without its alpha channel, transparent colour or transparent palette entries."""
    key = picture.info.get("transparency")
    if picture.mode.startswith("I"):  # PIL has no 16-bit mode with alpha
        opaque = not (np.asarray(picture) == key).any()
    else:
        opaque = picture.convert("RGBA").getchannel("A").getextrema() == (255, 255)
    if not opaque:
        raise BadInput(
            "it has transparent pixels, whose colours are anyone's guess; flatten it onto a background first"
        )
    plain = picture.convert({"LA": "L", "RGBA": "RGB"}[picture.mode]) if picture.mode in ("LA", "RGBA") else picture
    plain.info.pop("transparency", None)
    return plain


def _array(picture: Image.Image) -> np.ndarray:
    """Return pixels as (C, height, width), writable, native byte order."""
    array = np.array(picture)
    if picture.mode.startswith("I"):
        array = array.astype(np.uint16)
    return np.ascontiguousarray(np.moveaxis(array, -1, 0)) if array.ndim > 2 else array[None]


def _png(picture: Image.Image, profile: bytes = b"") -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=LEVEL, icc_profile=profile or None)
    return file.getvalue()
