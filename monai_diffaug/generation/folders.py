"""List the files of a folder by what they are, and find the partner of a file in another folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from monai_diffaug.generation.files import SUFFIXES, split_suffix

PICTURE, VOLUME = "save it as PNG", "convert it to NIfTI (.nii.gz)"
REMEDIES = {
    ".tif": PICTURE,
    ".tiff": PICTURE,
    ".bmp": PICTURE,
    ".gif": PICTURE,
    ".webp": PICTURE,
    ".jp2": PICTURE,
    ".dcm": f"{VOLUME}, or its frames to PNG",
    ".ima": f"{VOLUME}, or its frames to PNG",
    ".nrrd": VOLUME,
    ".mha": VOLUME,
    ".mhd": VOLUME,
    ".hdr": VOLUME,
}


def walk(folder: Path, skipped: Collection[Path] = (), *, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden, in sorted order.

    Args:
        folder: where to start; links to folders are followed, but not into a folder that they lie in.
        skipped: folders to leave out.
        above: real paths of the folders that lead here.

    Raises:
        ValueError: when a folder cannot be listed.
    """
    real = os.path.realpath(folder)
    if real in above or real in map(os.path.realpath, skipped):
        return
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ValueError(f"{folder} cannot be listed ({error.strerror}); check its permissions") from error
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            yield from walk(path, skipped, above=above | {real})
        else:
            yield path


def stem_below(path: Path, root: Path) -> str:
    """Return a file's path below a folder, with "/" and without suffix."""
    relative = path.relative_to(root)
    return (relative.parent / split_suffix(relative.name)[0]).as_posix()


def unsupported(path: Path) -> str:
    """Return why a file of this suffix cannot be read and what to do, or an empty text."""
    suffix = split_suffix(path.name)[1]
    if suffix in SUFFIXES:
        return ""
    return f"{suffix or 'a file without suffix'} is not supported; {REMEDIES.get(suffix, 'save it as PNG or NIfTI')}"


class Partners:
    """Find the file that goes with an image, by its path below a folder without suffix.

    Args:
        kind: what the files are, for messages.
        folder: where they lie.

    Raises:
        ValueError: when the folder does not exist.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"the folder of {kind} {folder} does not exist; check the path")
        self.kind, self.folder = kind, folder
        self._files: dict[str, list[Path]] = {}
        for path in walk(folder):
            if split_suffix(path.name)[1] in SUFFIXES:
                self._files.setdefault(stem_below(path, folder), []).append(path)

    def __call__(self, stem: str) -> Path:
        """Return the one file for an image's stem.

        Raises:
            ValueError: when there is none, or more than one.
        """
        found = self._files.get(stem, [])
        if not found:
            raise ValueError(
                f"it has no {self.kind}: {self.folder.name}/{stem} with one of {', '.join(SUFFIXES)} was looked for; "
                "add it or leave the image out"
            )
        if len(found) > 1:
            raise ValueError(
                f"{len(found)} files could be its {self.kind}: {', '.join(one.name for one in found)}; keep one of them"
            )
        return found[0]
