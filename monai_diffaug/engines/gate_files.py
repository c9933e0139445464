"""What ``calibrate`` leaves in a bundle for its gate, written and read: it holds for one ``models/model.pt`` alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from monai_diffaug.configs import write_json
from monai_diffaug.synthesis import Calibration, NearCopies

COPIES = "near_copies.pt"


def read_calibration(root: str | Path, weights: Mapping[str, str]) -> Calibration:
    """Return the thresholds in ``configs/calibration.json``; none at all where there is no such file.

    Args:
        root: the bundle's folder.
        weights: file name -> sha256 of the bundle's weights.

    Raises:
        ValueError: when they were measured with other weights, or the file is broken.
    """
    path = _calibration_file(Path(root))
    if not path.is_file():
        return Calibration((), {})
    body = json.loads(path.read_text("utf-8"))
    if not isinstance(body, dict) or not {"edges", "thresholds", "weights"} <= body.keys():
        raise ValueError(f"{path} lacks edges, thresholds or weights; run monai-diffaug calibrate again")
    _check_weights(path, body["weights"], weights)
    return Calibration.from_json(body)


def read_near_copies(root: str | Path, weights: Mapping[str, str]) -> NearCopies | None:
    """Return the training lesions' descriptors in ``models/near_copies.pt``; None where there is no such file.

    Args and errors are those of ``read_calibration``.
    """
    path = Path(root) / "models" / COPIES
    if not path.is_file():
        return None
    body = torch.load(path, weights_only=True)
    _check_weights(path, body["weights"], weights)
    return NearCopies(body["descriptors"], threshold=body["threshold"], cells=body["cells"])


def write_calibration(root: Path, body: Mapping[str, Any]) -> None:
    """Write ``configs/calibration.json``, replaced as a whole."""
    write_json(_calibration_file(root), body)


def write_near_copies(root: Path, body: Mapping[str, Any]) -> None:
    """Write ``models/near_copies.pt`` and its digest into the metadata; the file first, each replaced as a whole."""
    models = root / "models"
    models.mkdir(exist_ok=True)
    partial = models / "near_copies.partial"
    torch.save(dict(body), partial)
    digest = sha256(partial.read_bytes()).hexdigest()
    os.replace(partial, models / COPIES)
    _enter_digest(root, digest)


def remove_stale(root: Path, digest: str) -> None:
    """Remove what was made with weights other than those of ``digest``, a sha256: it says nothing of the new ones."""
    path = _calibration_file(root)
    if path.is_file() and json.loads(path.read_text("utf-8")).get("weights") != digest:
        path.unlink()
    path = root / "models" / COPIES
    if not path.is_file() or torch.load(path, weights_only=True)["weights"] != digest:
        _enter_digest(root, None)
        path.unlink(missing_ok=True)


def _calibration_file(root: Path) -> Path:
    return root / "configs" / "calibration.json"


def _check_weights(path: Path, digest: str, weights: Mapping[str, str]) -> None:
    if digest != weights.get("model.pt", ""):
        raise ValueError(f"{path} was made with other weights than models/model.pt; run monai-diffaug calibrate again")


def _enter_digest(root: Path, digest: str | None) -> None:
    path = root / "configs" / "metadata.json"
    metadata = json.loads(path.read_text("utf-8"))
    before = metadata.get("weights_sha256", {})
    after = {name: one for name, one in before.items() if name != COPIES}
    after |= {} if digest is None else {COPIES: digest}
    if after != before:
        write_json(path, {**metadata, "weights_sha256": after})
