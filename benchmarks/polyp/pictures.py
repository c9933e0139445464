"""Where pictures of real images may be written, and how they are drawn: tiles on one sheet."""

from __future__ import annotations

from pathlib import Path

from monai_diffaug.evaluation.fidelity.pictures import enlarged, outlined, sheet, shown

__all__ = ["enlarged", "outlined", "outside", "sheet", "shown"]

REPOSITORY = Path(__file__).resolve().parents[2]


def outside(folder: Path) -> Path:
    """Return a folder for pictures, made where it is missing.

    Raises:
        SystemExit: when it lies inside the repository.
    """
    if folder.resolve().is_relative_to(REPOSITORY):
        raise SystemExit(f"{folder} lies inside the repository, which must hold no picture of the data; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
