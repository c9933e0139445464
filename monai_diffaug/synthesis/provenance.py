"""What a sample is made of, as JSON: enough to make it again, and to say where it came from."""

from __future__ import annotations

import functools
import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from monai_diffaug.synthesis.window import Window

NO_ROOM = "no room"
"""Reason of a sample for whose drawn size no place was found."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at painting one abnormality.

    Args:
        seed: of the noise.
        iou: overlap of the intended and the predicted mask.
        accepted: the gate's verdict.
        reasons: every check that failed.
        stopped_early: refused before the latent was finished.
    """

    seed: int
    iou: float
    accepted: bool
    reasons: tuple[str, ...] = ()
    stopped_early: bool = False


@dataclass(frozen=True)
class AbnormalityRecord:
    """One abnormality of a sample.

    Args:
        name: class name (key ``class`` in JSON).
        value: its value in the label map.
        prompt: the text it was painted from.
        bbox: first and one past the last index on each axis.
        extent: longest side of the bounding box, in the record's unit.
        window: where it was painted.
        attempts: in order; only the last can be accepted.
    """

    name: str
    value: int
    prompt: str
    bbox: tuple[tuple[int, ...], tuple[int, ...]]
    extent: float
    window: Window
    attempts: tuple[Attempt, ...]

    @property
    def accepted(self) -> bool:
        return self.attempts[-1].accepted

    @property
    def iou(self) -> float:
        """Overlap of the accepted attempt, else of the best one."""
        return self.attempts[-1].iou if self.accepted else max(attempt.iou for attempt in self.attempts)

    def to_json(self) -> dict[str, Any]:
        body = _plain(asdict(self))
        return {"class": body.pop("name"), **body, "iou": self.iou}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> AbnormalityRecord:
        return cls(
            name=body["class"],
            value=body["value"],
            prompt=body["prompt"],
            bbox=(tuple(body["bbox"][0]), tuple(body["bbox"][1])),
            extent=body["extent"],
            window=Window(**{key: tuple(value) for key, value in body["window"].items()}),
            attempts=tuple(Attempt(**{**a, "reasons": tuple(a["reasons"])}) for a in body["attempts"]),
        )


@dataclass(frozen=True)
class SynthesisRecord:
    """Everything that made one sample.

    Args:
        seed: what the synthesizer was called with.
        abnormalities: one entry for each planned abnormality; refused ones are not painted.
        unit: of extents: ``mm``, or ``pixels`` where the spacing is unknown.
        batch_size: fixed batch shape of the networks.
        weights: network name -> sha256 of its weights; empty without weights.
        versions: package -> version.
        target: what was asked for by a model's misses, and how far away it came to lie; None = nothing.
    """

    seed: int
    abnormalities: tuple[AbnormalityRecord, ...]
    unit: str
    batch_size: int
    weights: dict[str, str]
    versions: dict[str, str]
    target: dict[str, Any] | None = None

    @property
    def accepted(self) -> bool:
        """Whether at least one abnormality was painted."""
        return any(one.accepted for one in self.abnormalities)

    @property
    def prompt(self) -> str:
        """Text of the first painted abnormality, of the first planned one where none was; empty without room."""
        told = [one.prompt for one in self.abnormalities if one.accepted] or [one.prompt for one in self.abnormalities]
        return told[0] if told else ""

    @property
    def iou(self) -> float:
        """Least overlap of the painted abnormalities, or of all where none was."""
        painted = [one.iou for one in self.abnormalities if one.accepted]
        return min(painted or [one.iou for one in self.abnormalities], default=0.0)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """All attempts, abnormality after abnormality."""
        if not self.abnormalities:
            return (Attempt(self.seed, 0.0, False, (NO_ROOM,), stopped_early=True),)
        return tuple(attempt for one in self.abnormalities for attempt in one.attempts)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists, dicts, numbers and strings."""
        return {
            "seed": self.seed,
            "accepted": self.accepted,
            "prompt": self.prompt,
            "iou": self.iou,
            "attempts": [_plain(asdict(attempt)) for attempt in self.attempts],
            "abnormalities": [one.to_json() for one in self.abnormalities],
            "unit": self.unit,
            "batch_size": self.batch_size,
            "weights": dict(self.weights),
            "versions": dict(self.versions),
            **({} if self.target is None else {"target": _plain(self.target)}),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> SynthesisRecord:
        """Return the record of a JSON object; keys it does not know (paths and the like) are left out."""
        return cls(
            seed=body["seed"],
            abnormalities=tuple(AbnormalityRecord.from_json(one) for one in body["abnormalities"]),
            unit=body["unit"],
            batch_size=body["batch_size"],
            weights=dict(body["weights"]),
            versions=dict(body["versions"]),
            target=body.get("target"),
        )


def _plain(value: Any) -> Any:
    """Return tuples as lists, at any depth, so that JSON gives back what was written."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def split_mask(mask: np.ndarray, painted: Sequence[AbnormalityRecord]) -> list[np.ndarray]:
    """Return each abnormality's own part of a sample's mask, found by its bounding box."""
    # One abnormality may be of several parts where a user gave the mask; several are of one part each.
    components = mask.astype(int) if len(painted) == 1 else ndimage.label(mask)[0]
    boxes = ndimage.find_objects(components)
    wanted = [tuple(slice(a, b) for a, b in zip(*one.bbox, strict=True)) for one in painted]
    if any(box not in boxes for box in wanted):
        raise ValueError("the recorded mask does not hold the record's bounding boxes; give the mask file of this id")
    return [components == boxes.index(box) + 1 for box in wanted]


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, as hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of the packages that bear on a sample's bytes; looked up once, as it reads files."""
    found = {}
    for name in ("monai_diffaug", "torch", "monai", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def environment(device: torch.device, *, autocast: bool = False) -> dict[str, str | int]:
    """Return what else bears on a sample's bytes, for the run's report."""
    return {
        "arithmetic": "bfloat16 autocast" if autocast else "float32",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.machine(),
    }
