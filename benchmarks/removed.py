"""How far removed lesions differ in brightness from the tissue beside: python -m benchmarks.removed OUT --images DIR

OUT is what ``monai-diffaug remove`` wrote (2D), DIR its sources. For each accepted image that had a lesion: mean grey
(0 to 255) inside the lesion less that of the ring around, a quarter of the lesion's extent wide, in the source and as
removed. A strongly negative number is a hollow.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from monai_diffaug.synthesis.blend import paint_mask


def grey(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(float)


def against_ring(image: np.ndarray, mask: np.ndarray, ring: np.ndarray) -> float:
    """Return the mean inside a mask less that in its ring."""
    return float(image[mask].mean() - image[ring].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    args = parser.parse_args()
    rows = []
    for line in map(json.loads, (args.output / "manifest.jsonl").read_text().splitlines()):
        mask = grey(args.output / line["mask"]) > 0 if line["accepted"] else np.zeros((1, 1), bool)
        if mask.any():
            grown = paint_mask(mask, None, margin=0.25)
            ring = paint_mask(grown, None, margin=0.17) & ~grown
            pair = grey(args.images / line["source"]), grey(args.output / line["image"])
            rows.append([against_ring(one, mask, ring) for one in pair])
    table = np.array(rows)
    for name, column in zip(("source", "removed"), table.T, strict=True):
        low, middle, high = np.percentile(column, [5, 50, 95])
        print(
            f"{name}: {len(column)} images, median {middle:+.1f}, 5th and 95th of 100 {low:+.1f} and {high:+.1f}; ",
            end="",
        )
        print(f"darker by 20 or more: {(column <= -20).sum()}, brighter by 20 or more: {(column >= 20).sum()}")


if __name__ == "__main__":
    main()
