"""A pool's folder: one file a sample, there as a whole or not at all, and the epoch that all processes see."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from monai_diffaug.synthesis import SynthesisRecord


@dataclass(frozen=True)
class PooledSample:
    """A ready sample.

    Args:
        image: stored values, (C, *spatial).
        label: integer map with the abnormality merged in, (1, *spatial).
        record: how it was made.
        meta: metadata of the source image that any process can read, ``affine`` among it where it has one.
    """

    image: Tensor
    label: Tensor
    record: SynthesisRecord
    meta: Mapping[str, Any]


class PoolFolder:
    """Read and write below one folder; made anew from its path in every process.

    Args:
        root: the folder; made by ``claim``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._epochs: np.memmap | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_epochs": None}

    def claim(self, order: Mapping[str, Any]) -> None:
        """Make the folder a pool of this order, or go on with one.

        Raises:
            ValueError: when it holds other files, or a pool of another order.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.root / "pool.json").exists() and any(self.root.iterdir()):
            raise ValueError(f"{self.root} holds other files; give the pool a new or empty folder")
        self.agree("pool.json", order, "seed and cases")
        if not (self.root / "epochs").exists():
            write_whole(self.root / "epochs", np.full(2, -1, np.int64).tobytes())

    def agree(self, name: str, body: Mapping[str, Any], what: str) -> None:
        """Write a JSON file, or check that it holds the same.

        Raises:
            ValueError: when it does not: samples of two kinds would mix.
        """
        path, given = self.root / name, json.loads(json.dumps(body))
        if not path.exists():
            write_whole(path, json.dumps(given, indent=1).encode())
        elif (there := json.loads(path.read_text("utf-8"))) != given:
            differing = [key for key in {**there, **given} if there.get(key) != given.get(key)]
            raise ValueError(
                f"{self.root} holds a pool of other {what} ({', '.join(differing)} differ); "
                "give those it was begun with, or a new folder"
            )

    @property
    def epochs(self) -> np.memmap:
        """Two integers that all processes share: the epoch that readers draw from, and the one to be made ready."""
        if self._epochs is None:
            self._epochs = np.memmap(self.root / "epochs", np.int64, "r+", shape=(2,))
        return self._epochs

    def numbers(self) -> set[int]:
        """Return the numbers of the samples that are there."""
        return {int(name.removesuffix(".pt")) for name in os.listdir(self.root) if name.endswith(".pt")}

    def write(self, number: int, sample: PooledSample) -> None:
        """Write a sample; equal samples give equal bytes."""
        arrays = {key: one for key, one in sample.meta.items() if isinstance(one, np.ndarray)}
        body = {
            "image": sample.image.contiguous(),
            "label": sample.label.contiguous(),
            "record": json.dumps(sample.record.to_json()),
            "meta": {key: one for key, one in sample.meta.items() if key not in arrays},
            "arrays": {key: torch.from_numpy(np.array(one)) for key, one in arrays.items()},
        }
        stream = io.BytesIO()
        torch.save(body, stream)
        write_whole(self._path(number), stream.getvalue())

    def read(self, number: int) -> PooledSample:
        """Read a sample.

        Raises:
            FileNotFoundError: when it is not there.
        """
        body = torch.load(io.BytesIO(self._path(number).read_bytes()), weights_only=True)
        meta = {**body["meta"], **{key: one.numpy() for key, one in body["arrays"].items()}}
        record = SynthesisRecord.from_json(json.loads(body["record"]))
        return PooledSample(body["image"], body["label"], record, meta)

    def remove(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._path(number).unlink(missing_ok=True)

    def remove_parts(self) -> None:
        """Remove what a killed worker left half-written."""
        for path in self.root.glob(".*.part"):
            path.unlink(missing_ok=True)

    def status(self) -> dict[str, Any]:
        """Return what the worker says of its work (``pool_worker.Tally``), or an empty mapping before it began."""
        path = self.root / "status.json"
        return json.loads(path.read_text("utf-8")) if path.exists() else {}

    def forget_status(self) -> None:
        (self.root / "status.json").unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self.root / f"{number:08d}.pt"


def readable_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries that a file can hold and any process read: numbers, texts, arrays of numbers."""
    kept: dict[str, Any] = {}
    for key, value in meta.items():
        if isinstance(value, Tensor):
            kept[str(key)] = value.detach().as_subclass(Tensor).cpu()
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            kept[str(key)] = value.astype(value.dtype.newbyteorder("="))
        elif type(value) in (bool, int, float):
            kept[str(key)] = value
        elif isinstance(value, str):
            kept[str(key)] = str(value)  # MONAI's enumerations are texts too
    return kept


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file that is there as a whole or not at all, whoever is killed; if ``durable``, after a power cut too."""
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    os.replace(part, path)


def locked(path: Path) -> IO[str]:
    """Return the open, locked file; the system frees it when its processes end.

    Raises:
        ValueError: when another process holds it.
    """
    file = path.open("w")
    try:
        _flock(file, "LOCK_EX", "LOCK_NB")
    except OSError as error:
        file.close()
        raise ValueError(f"{path.parent} is used by another training; give each its own folder") from error
    return file


def unlock(file: IO[str]) -> None:
    _flock(file, "LOCK_UN")  # closing is not enough: data-loading workers may hold the file, too
    file.close()


def _flock(file: IO[str], *flags: str) -> None:
    with contextlib.suppress(ImportError):  # Windows has no such locks: there the user keeps trainings apart
        import fcntl

        fcntl.flock(file, sum(getattr(fcntl, flag) for flag in flags))
