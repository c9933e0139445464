"""Say where in an image an abnormality may lie.

A place is allowed when the label leaves it free, the user's own regions (if given) contain it, and no rule forbids it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis.rules import Rule, grow
from monai_diffaug.synthesis.window import bounding_box


class Regions:
    """Map the places where an abnormality may lie.

    Every foreground value of the label that is neither `organ` nor `protected` is an existing lesion.

    Args:
        rules: callables from the image to its forbidden places, as in `rules.py`.
        organ: label values in which an abnormality may lie; empty means anywhere on the background (label 0).
        protected: label values that must never be overwritten.
        gap: room kept around each existing lesion, as a fraction of its longest bounding-box side (1 pixel at least).

    Raises:
        ValueError: if `gap` is negative, or a value is both organ and protected.

    Example:
        >>> from monai_diffaug.synthesis.rules import BlackBorder
        >>> regions = Regions([BlackBorder()], gap=0.1)
        >>> image, label = np.full((3, 64, 64), 0.5, np.float32), np.zeros((64, 64), int)
        >>> image[:, :8], label[30:40, 30:40] = 0, 1
        >>> allowed = regions(image, label)
        >>> bool(allowed[4, 4]), bool(allowed[29, 29]), bool(allowed[28, 28])
        (False, False, True)
    """

    def __init__(
        self, rules: Sequence[Rule] = (), *, organ: Sequence[int] = (), protected: Sequence[int] = (), gap: float = 0.05
    ) -> None:
        if gap < 0:
            raise ValueError(f"gap must be 0 or more, a fraction of a lesion's extent; got {gap}")
        if both := set(organ) & set(protected):
            raise ValueError(f"label values {sorted(both)} are both organ and protected; name each value once")
        self.rules = tuple(rules)
        self.organ = tuple(organ)
        self.protected = tuple(protected)
        self.gap = gap

    def __call__(
        self,
        image: np.ndarray,
        label: np.ndarray | None = None,
        user: np.ndarray | None = None,
        spacing: Sequence[float] | None = None,
    ) -> np.ndarray:
        """Return the allowed places.

        Args:
            image: (C, *spatial), scaled to [0, 1].
            label: (*spatial), whole numbers; None means that nothing is labelled.
            user: (*spatial), non-zero where the user allows an abnormality.
            spacing: size of a pixel on each axis; equal on all where not given.

        Returns:
            bool (*spatial), with at least one place allowed.

        Raises:
            ValueError: if a shape does not fit, or nothing is allowed; the message names what left nothing.
        """
        shape = image.shape[1:]
        for name, given in (("label", label), ("user regions", user)):
            if given is not None and given.shape != shape:
                raise ValueError(
                    f"{name} of shape {given.shape} do not fit an image of {shape}; give one value per pixel"
                )
        allowed = self._free(shape, label, spacing)
        if user is not None:
            allowed &= user != 0
            if not allowed.any():
                why = "do not meet the places that the label leaves free" if np.any(user) else "are empty"
                raise ValueError(f"no region is allowed: the given regions {why}; mark allowed places with non-zero")
        for rule in self.rules:
            allowed &= ~rule(image)
            if not allowed.any():
                names = ", ".join(type(each).__name__ for each in self.rules)
                raise ValueError(f"no region is allowed: the rules ({names}) forbid every place that was left")
        return allowed

    def existing_lesions(self, label: np.ndarray) -> np.ndarray:
        """Return the existing lesions of a label (*spatial) as bool (*spatial)."""
        lesions = label != 0
        for value in (*self.organ, *self.protected):
            lesions &= label != value
        return lesions

    def untouchable(self, label: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
        """Return what no paint may touch, bool (*spatial): existing lesions with their gap, and protected values."""
        return self.guard(label, spacing) | np.isin(label, self.protected)

    def guard(self, label: np.ndarray, spacing: Sequence[float] | None = None) -> np.ndarray:
        """Return the existing lesions, each grown by the gap along every axis, as bool (*spatial)."""
        sizes = np.asarray(spacing or (1.0,) * label.ndim)
        guard = self.existing_lesions(label)
        if not guard.any():
            return guard
        box = tuple(slice(*side) for side in zip(*bounding_box(guard), strict=True))
        parts, _ = ndimage.label(guard[box], np.ones((3,) * guard.ndim))
        boxes = ndimage.find_objects(parts)
        radii = np.array([[0] * label.ndim] + [self._radii(part, sizes) for part in boxes])
        # Lesions with the same radii grow together: hundreds of tiny ones cost no more than one.
        for each in np.unique(radii[1:], axis=0):
            alike = np.zeros(label.shape, bool)
            alike[box] = (radii == each).all(1)[parts]
            around = tuple(slice(max(side.start - n, 0), side.stop + n) for side, n in zip(box, each, strict=True))
            guard[around] |= grow(alike[around], each)
        return guard

    def _radii(self, box: tuple[slice, ...], sizes: np.ndarray) -> list[int]:
        """Return the gap of a lesion with this bounding box, in pixels along each axis."""
        gap = self.gap * max((side.stop - side.start) * size for side, size in zip(box, sizes, strict=True))
        return [max(1, int(np.ceil(gap / size))) for size in sizes]

    def _free(self, shape: tuple[int, ...], label: np.ndarray | None, spacing: Sequence[float] | None) -> np.ndarray:
        if label is None:
            if self.organ:
                raise ValueError(
                    f"no region is allowed: organ values {self.organ} were asked for, but no label was given"
                )
            return np.ones(shape, bool)
        free = np.isin(label, self.organ) if self.organ else label == 0
        if not free.any():
            what = f"it has no organ value {self.organ}" if self.organ else "it covers the whole image"
            raise ValueError(f"no region is allowed: the label leaves no place free, {what}")
        free &= ~self.untouchable(label, spacing)
        if not free.any():
            raise ValueError(
                f"no region is allowed: existing lesions with their gap ({self.gap:.0%}) and protected values cover it"
            )
        return free
