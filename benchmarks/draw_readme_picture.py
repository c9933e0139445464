"""Draw README's picture, before / mask / after, from a generated folder.

monai-diffaug generate --bundle polyp_endoscopy --images bundles/polyp_endoscopy/samples/frames --num 24 --output OUT
python benchmarks/draw_readme_picture.py OUT docs/images/before_mask_after.jpg \\
    --ids frame_01__k01 frame_03__k01 frame_07__k00 frame_08__k00 frame_09__k00 frame_12__k01
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

TILE = 176
OUTLINE = (30, 220, 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, metavar="OUT")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--ids", nargs="+", required=True)
    args = parser.parse_args()
    run = json.loads((args.output / "run.json").read_text())
    lines = {line["id"]: line for line in map(json.loads, (args.output / "manifest.jsonl").open())}
    columns = [column(lines[id_], args.output, args.output / run["images_root"]) for id_ in args.ids]
    sheet = np.concatenate(columns, axis=1)
    picture = Image.new("RGB", (sheet.shape[1] + 60, sheet.shape[0]), (255, 255, 255))
    picture.paste(Image.fromarray(sheet), (60, 0))
    draw = ImageDraw.Draw(picture)
    for row, word in enumerate(("before", "mask", "after")):
        draw.text((6, row * TILE + TILE // 2 - 6), word, fill=(60, 60, 60))
    picture.save(args.picture, quality=92, optimize=True)
    print(f"wrote {args.picture}: {picture.size[0]} x {picture.size[1]}")


def column(line: dict, output: Path, sources: Path) -> np.ndarray:
    """Return one sample's close-ups, one above the other."""
    before = np.asarray(Image.open(sources / line["source"]).convert("RGB"))
    after = np.asarray(Image.open(output / line["image"]))
    mask = np.asarray(Image.open(output / line["mask"])) > 0
    edge = ndimage.binary_dilation(mask, iterations=2) & ~mask
    outlined = np.where(edge[..., None], np.array(OUTLINE, np.uint8), before)
    low, high = (np.array(corner) for corner in line["abnormalities"][0]["bbox"])
    side = int(min(max(2.2 * (high - low).max(), 96), *mask.shape))
    start = np.clip((low + high) // 2 - side // 2, 0, np.array(mask.shape) - side)
    box = tuple(slice(s, s + side) for s in start)
    return np.concatenate([tile(one[box]) for one in (before, outlined, after)], axis=0)


def tile(part: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(part).resize((TILE, TILE), Image.Resampling.BICUBIC))


if __name__ == "__main__":
    main()
