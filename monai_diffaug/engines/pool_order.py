"""What a pool's worker is asked for, and by what it is known again."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from monai_diffaug.engines.pool_files import PoolFolder
from monai_diffaug.engines.pool_schedule import PoolSchedule
from monai_diffaug.synthesis import AbnormalitySynthesizer


@dataclass(frozen=True)
class WorkOrder:
    """All that the worker needs; pickled to it.

    Args:
        folder: the pool's folder.
        schedule: which samples are wanted when.
        cases: mappings with ``image`` and, where there are, ``label`` and ``regions``.
        load: what turns a case into one with arrays or tensors, or None where it holds them.
        synthesizer: called without arguments, returns the synthesizer.
        seed: of the pool.
        threads: of the worker.
        cores: that it may run on, or None for those of its parent.
    """

    folder: PoolFolder
    schedule: PoolSchedule
    cases: Sequence[Mapping[str, Any]]
    load: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None
    synthesizer: Callable[[], AbnormalitySynthesizer]
    seed: int
    threads: int
    cores: Sequence[int] | None

    def __post_init__(self) -> None:
        if not self.cases or self.seed < 0 or self.threads < 1:
            raise ValueError(
                f"a pool needs one case or more, a seed from 0 and one thread or more; got {len(self.cases)} cases, "
                f"seed={self.seed}, threads={self.threads}"
            )
        for index, case in enumerate(self.cases if self.load is None else ()):
            if not isinstance(case.get("image"), np.ndarray | Tensor):
                raise ValueError(
                    f"case {index} of the pool holds no array or tensor under 'image'; give one, or a transform that "
                    "makes it: load=Compose([LoadImaged(...)])"
                )
        for name, given in (("synthesizer", self.synthesizer), ("load", self.load)):
            try:
                pickle.dumps(given)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise ValueError(
                    f"{name} cannot be sent to the pool's worker ({error}); give a function of a module, or "
                    "functools.partial(load_synthesizer, NAME, ...)"
                ) from error

    def about(self) -> dict[str, Any]:
        """Return what a sample's bytes depend on, as far as it is known before the worker starts."""
        return {"seed": self.seed, "cases": digest_of(self.cases), "synthesizer": name_of(self.synthesizer)}


def digest_of(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the sha256 of cases: texts and numbers as they are, arrays by their bytes."""
    total = hashlib.sha256()
    for case in cases:
        for key in sorted(case):
            value = case[key]
            total.update(f"\n{key}=".encode())
            if isinstance(value, np.ndarray | Tensor):
                array = np.ascontiguousarray(value)
                total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
            else:
                total.update((os.fspath(value) if isinstance(value, os.PathLike) else repr(value)).encode())
        total.update(b"\n")
    return total.hexdigest()


def name_of(factory: Any) -> str:
    """Return a factory's name and arguments, the same in every run."""
    if isinstance(factory, functools.partial):
        given = [*map(repr, factory.args), *(f"{key}={value!r}" for key, value in sorted(factory.keywords.items()))]
        return re.sub(r" at 0x[0-9a-f]+", "", f"{name_of(factory.func)}({', '.join(given)})")
    return f"{getattr(factory, '__module__', '')}.{getattr(factory, '__qualname__', type(factory).__qualname__)}"
