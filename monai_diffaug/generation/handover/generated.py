"""What a generated folder offers to hand over: its accepted samples and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_diffaug.generation import manifest
from monai_diffaug.generation.files import BadInput
from monai_diffaug.generation.runfile import read_run


@dataclass(frozen=True)
class GeneratedSet:
    """A folder that ``generate`` has written.

    Args:
        folder: where it lies.
        run: its ``run.json``.
        lines: its manifest, refused samples too.
    """

    folder: Path
    run: Mapping[str, Any]
    lines: tuple[dict[str, Any], ...]

    @property
    def accepted(self) -> tuple[dict[str, Any], ...]:
        return tuple(line for line in self.lines if line["accepted"])

    @property
    def data_terms(self) -> str:
        """What the bundle says of the data that it was trained on."""
        return str(self.run.get("data_terms", ""))

    @property
    def made_by(self) -> str:
        """Package, bundle and their versions."""
        version = self.run["versions"].get("monai_diffaug", "")
        return f"monai_diffaug {version}, bundle {self.run['bundle']} {self.run.get('bundle_version', '')}".strip()

    def source(self, line: Mapping[str, Any]) -> Path:
        """Return where the image that a sample was painted into lay when it was made."""
        return (self.folder / self.run["images_root"] / line["source"]).resolve()


def read_generated(folder: Path) -> GeneratedSet:
    """Read what a folder holds.

    Raises:
        FileNotFoundError: when it has no manifest or no ``run.json``.
        ValueError: when one is broken, or a file of an accepted sample is missing.
    """
    lines = manifest.read(folder / manifest.NAME)
    found = GeneratedSet(folder, read_run(folder), tuple(lines))
    for line in found.accepted:
        for kind in ("image", "mask", "label"):
            if line[kind] is None or not (folder / line[kind]).is_file():
                raise BadInput(f"{line['id']}: its {kind} {line[kind]} is missing in {folder}; make the run anew")
    return found
