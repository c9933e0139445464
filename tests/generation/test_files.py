"""Files: what is common to pictures and volumes."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_diffaug.generation.files import (
    BadInput,
    atomic_write,
    output_suffix,
    read_image,
    read_label,
    split_suffix,
    write_image,
    write_label,
    write_mask,
)
from monai_diffaug.synthesis import ImageFormat

GREY = ImageFormat(2, 1, (0.0, 255.0))
CT = ImageFormat(3, 1, (-1000.0, 1000.0))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "frame.png"
    path.parent.mkdir()
    Image.fromarray(np.arange(18 * 20, dtype=np.uint8).reshape(18, 20)).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a.nii.gz", ("a", ".nii.gz")),
        ("a.b.NII.GZ", ("a.b", ".nii.gz")),
        ("a.png", ("a", ".png")),
        ("a.tar.gz", ("a", ".tar.gz")),
        ("a", ("a", "")),
    ],
)
def test_a_name_is_split_before_its_suffix(name: str, parts: tuple[str, str]) -> None:
    assert split_suffix(name) == parts


class TestAtomicWrite:
    def test_replaces_what_was_there(self, tmp_path: Path) -> None:
        path = tmp_path / "a.bin"
        atomic_write(path, b"old")
        atomic_write(path, b"new")
        assert path.read_bytes() == b"new"
        assert os.listdir(tmp_path) == ["a.bin"]

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_disk_full_leaves_the_old_file_and_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        path = tmp_path / "a.bin"
        atomic_write(path, b"old")

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left"):
            atomic_write(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a.bin"]

    def test_nothing_is_left_when_it_is_interrupted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            atomic_write(tmp_path / "a.bin", b"new")
        assert os.listdir(tmp_path) == []

    def test_the_new_name_is_forced_to_the_disk_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        synced: list[bool] = []
        real = os.fsync

        def fsync(handle: int) -> None:
            synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
            if synced[-1]:  # some file systems cannot
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)
        atomic_write(tmp_path / "a.bin", b"new")
        assert synced == [False, True] and (tmp_path / "a.bin").read_bytes() == b"new"

    def test_a_missing_folder_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            atomic_write(tmp_path / "none" / "a.bin", b"new")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".nii", ".nii.gz"])
class TestUnreadable:
    """Every suffix refuses alike, and names the file with its folder."""

    def read(self, path: Path) -> None:
        read_image(path, CT if ".nii" in path.name else GREY)

    def test_empty(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / "images" / f"a{suffix}"
        path.parent.mkdir()
        path.write_bytes(b"")
        with pytest.raises(BadInput, match=rf"^image images/a{suffix}: it is empty"):
            self.read(path)
        with pytest.raises(BadInput, match=rf"^label images/a{suffix}: it is empty"):
            read_label(path, (20, 20))

    def test_missing(self, tmp_path: Path, suffix: str) -> None:
        with pytest.raises(BadInput, match="cannot be opened .No such file"):
            self.read(tmp_path / f"a{suffix}")

    def test_not_a_file(self, tmp_path: Path, suffix: str) -> None:
        (tmp_path / f"a{suffix}").mkdir()
        os.mkfifo(tmp_path / f"b{suffix}")
        for name in "ab":
            with pytest.raises(BadInput, match="not a regular file"):
                self.read(tmp_path / f"{name}{suffix}")

    def test_text(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"<html>404 not found</html>" * 40)
        with pytest.raises(BadInput, match=f"a{suffix}: it.* cannot be .*get it anew|voxels start at"):
            self.read(path)

    def test_too_large_for_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"0")

        def exhausted(_: Path) -> bytes:
            raise MemoryError

        monkeypatch.setattr(Path, "read_bytes", exhausted)
        with pytest.raises(BadInput, match="does not fit into memory"):
            self.read(path)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    for read in (lambda path: read_image(path, GREY), lambda path: read_label(path, (18, 20))):
        with pytest.raises(BadInput, match=r"its suffix '.tif' is none of .png, .jpg"):
            read(tmp_path / "a.tif")


class TestCheckedByTheBundle:
    def test_channels(self, picture: Path) -> None:
        with pytest.raises(BadInput, match=r"^image images/frame.png: image has 1 channel but .* convert it to RGB"):
            read_image(picture, ImageFormat(2, 3, (0.0, 255.0)))

    def test_dimensions(self, picture: Path) -> None:
        with pytest.raises(BadInput, match="this bundle takes 3D images"):
            read_image(picture, CT)

    def test_values(self, picture: Path) -> None:
        with pytest.raises(BadInput, match="intensity range is 0 to 1"):
            read_image(picture, ImageFormat(2, 1, (0.0, 1.0)))

    def test_size(self, tmp_path: Path) -> None:
        Image.new("L", (15, 40)).save(tmp_path / "a.png")
        with pytest.raises(BadInput, match="16 pixels or more"):
            read_image(tmp_path / "a.png", GREY)


class TestWriting:
    def test_refuses_another_shape_or_dtype(self, picture: Path, tmp_path: Path) -> None:
        stored = read_image(picture, GREY)
        for wrong in (stored.array[:, 1:], stored.array.astype(np.float32)):
            with pytest.raises(ValueError, match="must be equal"):
                write_image(tmp_path / "b.png", wrong, stored)

    @pytest.mark.parametrize("name", ["b.jpg", "b.nii.gz", "b.tif"])
    def test_refuses_another_suffix(self, picture: Path, tmp_path: Path, name: str) -> None:
        stored = read_image(picture, GREY)
        assert output_suffix(stored) == ".png"
        with pytest.raises(ValueError, match="needs .png; rename it"):
            write_image(tmp_path / name, stored.array, stored)
        with pytest.raises(ValueError, match="needs .png; rename it"):
            write_mask(tmp_path / name, stored.array > 3, stored)
        assert not (tmp_path / name).exists()

    def test_disk_full_leaves_nothing(self, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stored = read_image(picture, GREY)

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        target = tmp_path / "out"
        target.mkdir()
        with pytest.raises(OSError, match="No space left"):
            write_image(target / "b.png", stored.array, stored)
        with pytest.raises(OSError, match="No space left"):
            write_label(target / "b.png", stored.array, stored)
        assert os.listdir(target) == []

    def test_reading_leaves_an_array_of_its_own(self, picture: Path) -> None:
        stored = read_image(picture, GREY)
        assert stored.array.flags.writeable
        assert stored.array.flags.c_contiguous


def test_pil_decodes_what_was_written(picture: Path, tmp_path: Path) -> None:
    stored = read_image(picture, GREY)
    write_image(tmp_path / "b.png", stored.array, stored)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO((tmp_path / "b.png").read_bytes()))), stored.array[0])
