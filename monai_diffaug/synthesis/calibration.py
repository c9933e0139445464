"""Thresholds of the gate by class and size, as measured on real lesions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LOWEST, HIGHEST = 0.5, 0.85
"""Bounds of a calibrated threshold: no measurement may turn the gate off, or ask for more than labels agree on."""


@dataclass(frozen=True)
class Calibration:
    """Overlap that the gate asks for, by class and by the extent of the lesion on the window grid.

    The extent is counted in window cells because that is what the validator sees: it errs by about one latent cell
    along the outline, whatever the image, and of a lesion twice as wide that is half as large a share. How large the
    lesion is in the image it cannot know, since the window is drawn around it.

    Args:
        edges: extents between the size bins, rising; the first bin begins at 0, the last has no end.
        thresholds: class -> one threshold a bin, from 0.5 to 0.85; None where too little was measured, so that the
            gate's own holds.

    Raises:
        ValueError: where the edges do not rise, or a class has another number of bins or a threshold out of bounds.

    Example:
        >>> calibration = Calibration((40.0, 60.0), {"polyp": (0.62, 0.7, None)})
        >>> calibration("polyp", 30), calibration("polyp", 40), calibration("polyp", 90), calibration("ulcer", 30)
        (0.62, 0.7, None, None)
    """

    edges: tuple[float, ...]
    thresholds: Mapping[str, tuple[float | None, ...]]

    def __post_init__(self) -> None:
        if list(self.edges) != sorted(set(self.edges)) or min(self.edges, default=1) <= 0:
            raise ValueError(f"edges must rise from above 0, got {list(self.edges)}")
        for name, row in self.thresholds.items():
            if len(row) != len(self.edges) + 1:
                raise ValueError(f"class {name!r} has {len(row)} thresholds; {len(self.edges) + 1} bins need one each")
            if any(one is not None and not LOWEST <= one <= HIGHEST for one in row):
                raise ValueError(f"thresholds of {name!r} must lie in [{LOWEST}, {HIGHEST}], got {list(row)}")

    def __call__(self, name: str, extent: float) -> float | None:
        """Return the threshold for a class and an extent in window cells; None where none was measured."""
        row = self.thresholds.get(name)
        return None if row is None else row[self.bin_of(extent)]

    def bin_of(self, extent: float) -> int:
        """Return the number of the bin that an extent in window cells falls into."""
        return bisect_right(self.edges, extent)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts, numbers and strings."""
        return {"edges": list(self.edges), "thresholds": {name: list(row) for name, row in self.thresholds.items()}}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Calibration:
        """Return the calibration of a JSON object; what else it tells is left out."""
        rows = {str(name): tuple(row) for name, row in body["thresholds"].items()}
        return cls(tuple(float(edge) for edge in body["edges"]), rows)
