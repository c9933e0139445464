"""PNG and JPEG: round trips, and every picture that cannot be read without loss."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from monai_diffaug.generation.files import (
    BadInput,
    output_suffix,
    read_image,
    read_label,
    read_map,
    write_image,
    write_label,
    write_mask,
)
from monai_diffaug.synthesis import ImageFormat

SIZE = (18, 20)
GREY = ImageFormat(2, 1, (0.0, 255.0))
DEEP = ImageFormat(2, 1, (0.0, 65535.0))
RGB = ImageFormat(2, 3, (0.0, 255.0))


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, *, depth: int, colour: int, channels: int) -> bytes:
    """Return a PNG of zeros, of kinds that PIL cannot write."""
    rows = bytes(height * (1 + width * channels * depth // 8))
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def opened(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(path.read_bytes()))


def saved(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("array", "images"),
    [(noise(*SIZE), GREY), (noise(*SIZE, 3), RGB), (noise(*SIZE, dtype=np.uint16), DEEP)],
    ids=["L", "RGB", "uint16"],
)
class TestRoundTrip:
    def test_png_keeps_every_bit(self, tmp_path: Path, array: np.ndarray, images: ImageFormat) -> None:
        path = saved(tmp_path / "a.png", Image.fromarray(array))
        stored = read_image(path, images)
        channels_last = np.moveaxis(stored.array, 0, -1).reshape(array.shape)
        assert np.array_equal(channels_last, array)
        assert (stored.array.dtype, stored.spacing, stored.notes) == (array.dtype, None, ())
        write_image(tmp_path / "b.png", stored.array, stored)
        again = read_image(tmp_path / "b.png", images)
        assert np.array_equal(again.array, stored.array)
        assert again.array.dtype == stored.array.dtype
        write_image(tmp_path / "c.png", again.array, again)
        assert (tmp_path / "b.png").read_bytes() == (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize(("channels", "images"), [(1, GREY), (3, RGB)])
def test_jpeg_becomes_png_of_the_decoded_pixels(tmp_path: Path, channels: int, images: ImageFormat) -> None:
    array = noise(*SIZE) if channels == 1 else noise(*SIZE, 3)
    path = saved(tmp_path / "a.JPG", Image.fromarray(array), format="JPEG")
    stored = read_image(path, images)
    assert output_suffix(stored) == ".png"
    write_image(tmp_path / "b.png", stored.array, stored)
    assert np.array_equal(np.asarray(opened(tmp_path / "b.png")), np.asarray(opened(path)))


def test_colour_profile_is_kept_and_text_is_not(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "somebody")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = saved(tmp_path / "a.png", Image.fromarray(noise(*SIZE, 3)), icc_profile=profile, pnginfo=text)
    stored = read_image(path, RGB)
    write_image(tmp_path / "b.png", stored.array, stored)
    assert opened(tmp_path / "b.png").info["icc_profile"] == profile
    assert b"somebody" not in (tmp_path / "b.png").read_bytes()


class TestAlpha:
    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_opaque_is_dropped_with_a_note(self, tmp_path: Path, mode: str) -> None:
        colour = Image.fromarray(noise(*SIZE, 3)).convert(mode[:-1])
        stored = read_image(saved(tmp_path / "a.png", colour.convert(mode)), RGB if mode == "RGBA" else GREY)
        assert np.array_equal(np.moveaxis(stored.array, 0, -1).squeeze(), np.asarray(colour))
        assert stored.notes == ("fully opaque alpha channel dropped",)

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_one_transparent_pixel_is_refused(self, tmp_path: Path, mode: str) -> None:
        picture = Image.new(mode, SIZE[::-1], 255 if mode == "LA" else (1, 2, 3, 255))
        picture.putpixel((3, 4), (0, 254) if mode == "LA" else (0, 0, 0, 254))
        with pytest.raises(BadInput, match="transparent pixels.* flatten it"):
            read_image(saved(tmp_path / "a.png", picture), RGB)

    @pytest.mark.parametrize(
        ("picture", "used", "unused", "images"),
        [
            (Image.new("L", SIZE[::-1], 7), 7, 8, GREY),
            (Image.new("RGB", SIZE[::-1], (7, 7, 7)), (7, 7, 7), (8, 7, 7), RGB),
            (Image.fromarray(np.full(SIZE, 700, np.uint16)), 700, 701, DEEP),
            (Image.new("P", SIZE[::-1], 0), b"\x00", b"\xff", RGB),
        ],
        ids=["L", "RGB", "uint16", "P"],
    )
    def test_a_transparent_colour_counts_where_it_is_used(
        self, tmp_path: Path, picture: Image.Image, used: object, unused: object, images: ImageFormat
    ) -> None:
        with pytest.raises(BadInput, match="transparent pixels"):
            read_image(saved(tmp_path / "a.png", picture, transparency=used), images)
        stored = read_image(saved(tmp_path / "b.png", picture, transparency=unused), images)
        assert "fully opaque alpha channel dropped" in stored.notes


def test_palette_becomes_rgb_without_loss(tmp_path: Path) -> None:
    picture = Image.fromarray(noise(*SIZE, 3)).quantize(16)
    stored = read_image(saved(tmp_path / "a.png", picture), RGB)
    assert np.array_equal(np.moveaxis(stored.array, 0, -1), np.asarray(picture.convert("RGB")))
    assert stored.notes == ("palette converted to RGB without loss",)


def test_one_bit_picture_is_greyscale(tmp_path: Path) -> None:
    bits = noise(*SIZE) > 127
    stored = read_image(saved(tmp_path / "a.png", Image.fromarray(bits)), GREY)
    assert np.array_equal(stored.array[0], np.where(bits, 255, 0))


class TestRefused:
    def test_greyscale_into_rgb_and_reverse(self, tmp_path: Path) -> None:
        grey = saved(tmp_path / "grey.png", Image.new("L", SIZE))
        colour = saved(tmp_path / "colour.jpg", Image.new("RGB", SIZE))
        with pytest.raises(BadInput, match=r"takes 3 \(RGB\); convert it to RGB first"):
            read_image(grey, RGB)
        with pytest.raises(BadInput, match=r"takes 1 \(greyscale\); convert it to greyscale first"):
            read_image(colour, GREY)

    def test_16_bit_into_8_bit_even_when_the_values_would_fit(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.png", Image.fromarray(np.full(SIZE, 9, np.uint16)))
        with pytest.raises(BadInput, match="16-bit picture but the intensity range ends at 255; rescale it to 8 bits"):
            read_image(path, GREY)

    @pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
    def test_16_bits_per_channel_that_pil_would_cut(self, tmp_path: Path, colour: int, channels: int) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(raw_png(20, 18, depth=16, colour=colour, channels=channels))
        with pytest.raises(BadInput, match="16 bits per channel, which would be cut"):
            read_image(path, RGB)

    def test_cmyk(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="CMYK picture; convert it to RGB first"):
            read_image(saved(tmp_path / "a.jpg", Image.new("CMYK", SIZE)), RGB)

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_exif_orientation(self, tmp_path: Path, suffix: str) -> None:
        for turn, refused in ((1, False), (6, True)):
            exif = Image.Exif()
            exif[0x0112] = turn
            path = saved(tmp_path / f"{turn}{suffix}", Image.new("RGB", SIZE), exif=exif)
            if refused:
                with pytest.raises(BadInput, match="EXIF orientation is 6.* apply it"):
                    read_image(path, RGB)
            else:
                assert read_image(path, RGB).notes == ()

    @pytest.mark.parametrize("suffix", [".jpg", ".png"])
    def test_truncated_anywhere(self, tmp_path: Path, suffix: str) -> None:
        data = saved(tmp_path / f"a{suffix}", Image.fromarray(noise(64, 64, 3))).read_bytes()
        for share in (0.05, 0.3, 0.6, 0.9):
            (tmp_path / f"b{suffix}").write_bytes(data[: int(share * len(data))])
            with pytest.raises(BadInput, match="cannot be decoded .*truncated"):
                read_image(tmp_path / f"b{suffix}", RGB)

    def test_damaged(self, tmp_path: Path) -> None:
        data = bytearray(saved(tmp_path / "a.png", Image.fromarray(noise(64, 64, 3))).read_bytes())
        data[len(data) // 2] ^= 255
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(BadInput, match="cannot be decoded"):
            read_image(tmp_path / "a.png", RGB)

    @pytest.mark.parametrize("limit", [359, 100])
    def test_decompression_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
        path = saved(tmp_path / "a.png", Image.new("L", SIZE))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(BadInput, match="decompression bombs.* crop or shrink it"):
            read_image(path, GREY)

    def test_several_frames(self, tmp_path: Path) -> None:
        frames = [Image.new("L", SIZE, value) for value in (1, 2, 3)]
        path = saved(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:])
        with pytest.raises(BadInput, match="holds 3 frames; save the one"):
            read_image(path, GREY)

    def test_another_format_under_a_picture_suffix(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="no PNG or JPEG"):
            read_image(saved(tmp_path / "a.png", Image.new("L", SIZE), format="TIFF"), GREY)


class TestLabels:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_round_trip(self, tmp_path: Path, dtype: type) -> None:
        array = noise(*SIZE, dtype=dtype)
        label = read_label(saved(tmp_path / "a.png", Image.fromarray(array)), SIZE)
        assert np.array_equal(label.array, array)
        assert label.array.dtype == dtype
        write_label(tmp_path / "b.png", label.array[None], label)
        assert np.array_equal(np.asarray(opened(tmp_path / "b.png")), array)

    def test_one_bit_is_0_and_255_and_stays_one_bit(self, tmp_path: Path) -> None:
        bits = noise(*SIZE) > 127
        label = read_label(saved(tmp_path / "a.png", Image.fromarray(bits)), SIZE)
        assert np.array_equal(label.array, np.where(bits, 255, 0))
        write_label(tmp_path / "b.png", label.array, label)
        assert opened(tmp_path / "b.png").mode == "1"
        assert np.array_equal(read_label(tmp_path / "b.png", SIZE).array, label.array)

    def test_one_bit_grows_where_more_values_came(self, tmp_path: Path) -> None:
        label = read_label(saved(tmp_path / "a.png", Image.fromarray(noise(*SIZE) > 127)), SIZE)
        merged = label.array.copy()
        merged[:2] = 3
        write_label(tmp_path / "b.png", merged, label)
        assert np.array_equal(read_label(tmp_path / "b.png", SIZE).array, merged)

    @pytest.mark.parametrize("new", [1, 2, 5, 200])
    def test_palette_gives_indices_and_keeps_its_colours(self, tmp_path: Path, new: int) -> None:
        indices = (noise(*SIZE) % 3).astype(np.uint8)
        picture = Image.fromarray(indices)
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        label = read_label(saved(tmp_path / "a.png", picture), SIZE)
        assert np.array_equal(label.array, indices)
        merged = label.array.copy()
        merged[:2] = new
        write_label(tmp_path / "b.png", merged, label)
        assert opened(tmp_path / "b.png").mode == "P"
        again = read_label(tmp_path / "b.png", SIZE)
        assert np.array_equal(again.array, merged)
        assert opened(tmp_path / "b.png").getpalette()[:9] == [0, 0, 0, 255, 0, 0, 0, 255, 0]

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_several_channels_are_refused(self, tmp_path: Path, mode: str) -> None:
        path = saved(tmp_path / "a.png", Image.new(mode, SIZE[::-1]))
        for read in (read_label, read_map):
            with pytest.raises(BadInput, match="one channel; save it as greyscale"):
                read(path, SIZE)

    def test_jpeg_only_without_blur(self, tmp_path: Path) -> None:
        flat = saved(tmp_path / "flat.jpg", Image.new("L", SIZE[::-1], 255))
        blurred = saved(tmp_path / "blurred.jpg", Image.fromarray(np.eye(18, 20, dtype=np.uint8) * 255))
        assert (read_label(flat, SIZE).array == 255).all()
        for read in (read_label, read_map):
            with pytest.raises(BadInput, match="JPEG compression has blurred .* save the label as PNG"):
                read(blurred, SIZE)

    def test_another_shape_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.png", Image.new("L", SIZE[::-1]))
        with pytest.raises(BadInput, match=r"shape \(18, 20\) but its image has \(20, 18\)"):
            read_label(path, SIZE[::-1])

    def test_a_wide_dtype_is_refused_on_writing(self, tmp_path: Path) -> None:
        stored = read_image(saved(tmp_path / "a.png", Image.new("L", SIZE[::-1])), GREY)
        with pytest.raises(TypeError, match="uint8 or uint16"):
            write_label(tmp_path / "b.png", np.zeros(SIZE, np.int32), stored)
        assert not (tmp_path / "b.png").exists()


def test_map_allows_whatever_is_not_zero(tmp_path: Path) -> None:
    array = noise(*SIZE) % 4
    allowed = read_map(saved(tmp_path / "a.png", Image.fromarray(array)), SIZE)
    assert allowed.dtype == bool
    assert np.array_equal(allowed, array != 0)


def test_mask_is_0_and_255_whatever_the_image(tmp_path: Path) -> None:
    mask = noise(1, *SIZE) % 2
    stored = read_image(saved(tmp_path / "a.png", Image.fromarray(noise(*SIZE, 3))), RGB)
    write_mask(tmp_path / "b.png", mask, stored)
    written = opened(tmp_path / "b.png")
    assert written.mode == "L"
    assert np.array_equal(np.asarray(written), mask[0] * 255)
