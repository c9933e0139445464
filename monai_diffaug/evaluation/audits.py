"""What an independent segmenter says of synthetic lesions, beside what the gate said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_diffaug.generation import manifest
from monai_diffaug.generation.files import read_image, read_label
from monai_diffaug.metrics import overlaps
from monai_diffaug.synthesis import ImageFormat

Segment = Callable[[np.ndarray], np.ndarray]
"""Image (C, *spatial) as stored -> where lesions are, bool (*spatial)."""


def audited(folders: Sequence[Path], images: ImageFormat, auditor: Segment | None) -> list[dict[str, Any]]:
    """Return one row for each planned lesion of finished ``generate`` runs.

    Args:
        folders: of the runs.
        images: how their images are stored.
        auditor: a segmenter that neither painted nor gated; None leaves its column empty.

    Returns:
        ``extent`` (pixels, or mm where spacing is known), ``accepted``, ``attempts``, the validator's ``iou``, and
        ``auditor``: the overlap with what the auditor finds outside the other lesions, of accepted samples.
    """
    rows = []
    for folder in folders:
        for line in manifest.read(folder / manifest.NAME):
            seen = _overlap(folder, line, images, auditor) if auditor and line["accepted"] else None
            rows += [
                {
                    "extent": round(float(one["extent"]), 2),
                    "accepted": bool(one["attempts"][-1]["accepted"]),
                    "attempts": len(one["attempts"]),
                    "iou": round(float(one["iou"]), 4),
                    "auditor": seen,
                }
                for one in line["abnormalities"]
            ]
    return rows


def _overlap(folder: Path, line: dict[str, Any], images: ImageFormat, auditor: Segment) -> float:
    stored = read_image(folder / line["image"], images)
    shape = stored.array.shape[1:]
    mask, label = (read_label(folder / line[name], shape, stored).array != 0 for name in ("mask", "label"))
    found = auditor(stored.array) & ~(label & ~mask)
    pair = (torch.from_numpy(one)[None, None].float() for one in (found, mask))
    return round(float(overlaps(*pair)), 4)
