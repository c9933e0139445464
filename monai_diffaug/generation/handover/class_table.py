"""What the values of a label map are called, and how 0 and 255 become 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monai_diffaug.generation.files import BadInput


@dataclass(frozen=True)
class ClassTable:
    """Names and values of the classes.

    Args:
        values: name -> value in the label maps, from 1.

    Raises:
        ValueError: when there is none, or two share a value.

    Example:
        >>> table = ClassTable({"polyp": 1})
        >>> table.plain(np.array([[0, 255]]), "a.png")
        array([[0, 1]], dtype=uint8)
        >>> ClassTable({"cyst": 4, "tumour": 2}).consecutive().values
        {'tumour': 1, 'cyst': 2}
    """

    values: Mapping[str, int]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("run.json names no classes; name them with --class NAME=VALUE")
        if len(set(self.values.values())) < len(self.values) or min(self.values.values()) < 1:
            raise ValueError(
                f"classes need values from 1, each its own, got {dict(self.values)}; see --class NAME=VALUE"
            )
        if "background" in self.values:
            raise ValueError("background is the value 0 everywhere, so no class can be called so; rename it")
        if max(self.values.values()) > np.iinfo(np.uint16).max:
            raise ValueError(f"class values must fit 16 bits, got {dict(self.values)}")

    def consecutive(self) -> ClassTable:
        """Return the same classes with the values 1, 2, 3 ... in the order of theirs."""
        ordered = sorted(self.values, key=lambda name: self.values[name])
        return ClassTable({name: index for index, name in enumerate(ordered, start=1)})

    def plain(self, label: np.ndarray, file: str) -> np.ndarray:
        """Return a label map of class values alone, uint8 or uint16 (*spatial).

        Args:
            label: whole numbers (*spatial); of 0 and 255 alone where it is binary.
            file: how to speak of it.

        Raises:
            BadInput: when it holds a value that no class has.
        """
        found = {int(value) for value in np.unique(label)} - {0}
        known = set(self.values.values())
        if found == {255} and 255 not in known:
            if len(known) > 1:
                raise BadInput(
                    f"{file}: 0 and 255 cannot tell the classes {', '.join(self.values)} apart; use labels of class "
                    "values, or name what 255 is with --class NAME=255"
                )
            label, found = np.where(label, min(known), 0), known
        if found - known:
            raise BadInput(
                f"{file}: no class has the value {min(found - known)}; known are {_told(self.values)}; name it with "
                "--class NAME=VALUE"
            )
        return label.astype(np.uint8 if max(known) < 256 else np.uint16)

    def renumbered(self, label: np.ndarray, to: ClassTable) -> np.ndarray:
        """Return a plain label map with another table's values."""
        lookup = np.zeros(max(self.values.values()) + 1, label.dtype)
        for name, value in self.values.items():
            lookup[value] = to.values[name]
        return lookup[label]


def _told(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
