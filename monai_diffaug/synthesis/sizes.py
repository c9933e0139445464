"""How large a new abnormality is: distributions of its diameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Size = Callable[[Sequence[float], np.random.Generator], float]
"""``size(field, rng) -> diameter``: draw a diameter; ``field`` is the image's physical extent on each axis."""


class RelativeSize:
    """Draw diameters as a fraction of the image's shortest side, uniform in the logarithm.

    Example:
        >>> import numpy as np
        >>> 30 <= RelativeSize(0.1, 0.2)((300, 400), np.random.default_rng(0)) <= 60
        True
    """

    def __init__(self, low: float, high: float) -> None:
        _check_range(low, high)
        self.low, self.high = low, high

    def __call__(self, field: Sequence[float], rng: np.random.Generator) -> float:
        return min(field) * _log_uniform(self.low, self.high, rng)


class PhysicalSize:
    """Draw diameters in mm (pixels where spacing is unknown), uniform in the logarithm.

    Example:
        >>> import numpy as np
        >>> 4 <= PhysicalSize(4, 12)((300, 400), np.random.default_rng(0)) <= 12
        True
    """

    def __init__(self, low: float, high: float) -> None:
        _check_range(low, high)
        self.low, self.high = low, high

    def __call__(self, field: Sequence[float], rng: np.random.Generator) -> float:
        return _log_uniform(self.low, self.high, rng)


class EmpiricalSize:
    """Draw diameters in mm (pixels where spacing is unknown) from a list of observed ones.

    Example:
        >>> import numpy as np
        >>> EmpiricalSize([5.0, 9.0])((300, 400), np.random.default_rng(0)) in (5.0, 9.0)
        True
    """

    def __init__(self, diameters: Sequence[float]) -> None:
        if not diameters or min(diameters) <= 0:
            raise ValueError(f"diameters must be a non-empty list of positive numbers, got {list(diameters)[:5]}")
        self.diameters = tuple(float(diameter) for diameter in diameters)

    def __call__(self, field: Sequence[float], rng: np.random.Generator) -> float:
        return float(rng.choice(self.diameters))


class EmpiricalRelativeSize:
    """Draw diameters as fractions of the image's shortest side from observed ones, up to 1.15 times more or less.

    Args:
        shares: observed fractions.
        largest: what larger ones are taken for: a lesion of more leaves too little around it in a window to paint from.

    Example:
        >>> import numpy as np
        >>> 26 <= EmpiricalRelativeSize([0.1])((300, 400), np.random.default_rng(0)) <= 35
        True
    """

    SPREAD = 1.15

    def __init__(self, shares: Sequence[float], *, largest: float = 0.6) -> None:
        if not shares or min(shares) <= 0 or not 0 < largest < 1:
            raise ValueError(f"shares must be positive and largest below 1, got {list(shares)[:5]} and {largest}")
        self.shares = tuple(min(float(share), largest) for share in shares)
        self.largest = largest

    def __call__(self, field: Sequence[float], rng: np.random.Generator) -> float:
        share = float(rng.choice(self.shares)) * _log_uniform(1 / self.SPREAD, self.SPREAD, rng)
        return min(field) * min(share, self.largest)


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _check_range(low: float, high: float) -> None:
    if not 0 < low <= high:
        raise ValueError(f"a size range must rise from above 0, got {low} to {high}")
