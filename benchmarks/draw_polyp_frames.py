"""Draw the sample frames of `bundles/polyp_endoscopy` from noise, with the bundle's own networks.

    python -m benchmarks.draw_polyp_frames --data KVASIR --output bundles/polyp_endoscopy/samples/frames

Candidates are made from the seeds SEED, SEED + 1, ... until COUNT frames are left that look like tissue, in which the
bundle's own gate sees no lesion anywhere, and which are no near copies of training frames (`frame_checks.py`). A near
copy is nearer to a training frame than all but one in a hundred held-out real frames are (`--quantile`). The training
frames serve for that comparison alone; nothing of them goes into a frame. `frames.json` beside the frames says how each
was made, and how near its nearest training frame is.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from benchmarks.frame_checks import Neighbours, measure_look, near_copies, odd_looks
from monai_diffaug import AbnormalitySynthesizer, load_synthesizer
from monai_diffaug.bundle import open_bundle
from monai_diffaug.generation.pairs import read_pairs
from monai_diffaug.synthesis import SceneMaker, Stage
from monai_diffaug.synthesis.lesion_scan import windows_with_lesions
from monai_diffaug.synthesis.provenance import environment, versions

LESION = "lesion seen"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="polyp_endoscopy", help="a shipped bundle's name, or a folder")
    parser.add_argument("--data", type=Path, required=True, help="training images, with train and val inside")
    parser.add_argument("--output", type=Path, required=True, help="folder for the frames and frames.json")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--most", type=int, help="candidates after which to give up; 20 a frame by default")
    parser.add_argument("--seed", type=int, default=0, help="of the first candidate")
    parser.add_argument("--seeds", type=int, nargs="+", help="the candidates, in place of SEED, SEED + 1, ...")
    parser.add_argument("--shapes", nargs="+", type=shape, default=[(320, 320), (288, 352)], help="HEIGHTxWIDTH ...")
    add_sampling(parser)
    parser.add_argument(
        "--most-lesions", type=float, default=0.0, help="share of a frame's windows in which the gate may see a lesion"
    )
    parser.add_argument("--quantile", type=float, default=0.99, help="of held-out frames that are no near copies")
    parser.add_argument("--refused", type=Path, help="write refused candidates there, named after their reasons")
    parser.add_argument("--limit", type=int, help="so many training and held-out frames at most, for a quick look")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; its own choice by default")
    return parser.parse_args(arguments)


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add what decides how a frame comes out of the noise."""
    parser.add_argument("--first-steps", type=int, default=32, help="of the whole frame on the small grid")
    parser.add_argument("--middle", type=float, metavar="LEVEL", help="add a pass on 256 cells, from that noise level")
    parser.add_argument("--middle-grid", type=int, default=256, help="cells of that pass's windows")
    parser.add_argument("--start", type=float, default=0.5, help="noise level from which windows are refined")
    parser.add_argument("--steps", type=int, default=16, help="of each refinement")
    parser.add_argument("--overlap", type=float, default=0.5, help="of neighbouring windows")
    parser.add_argument("--guidance", type=float, default=1.0, help="of the sampler; 1 is none")


def shape(text: str) -> tuple[int, int]:
    """Return (height, width) of a text such as 288x352."""
    height, width = (int(part) for part in text.split("x"))
    return height, width


def stages_of(args: argparse.Namespace, grid: int) -> list[Stage]:
    """Return the passes that the command line asks for; ``grid`` is the networks' smallest."""
    middle = [] if args.middle is None else [Stage(args.middle_grid, 256, args.middle, args.steps)]
    return [Stage(grid, grid, 1.0, args.first_steps), *middle, Stage(grid, None, args.start, args.steps)]


def build_maker(synthesizer: AbnormalitySynthesizer, args: argparse.Namespace) -> SceneMaker:
    """Return what makes frames, with the command line's guidance."""
    inpainter: Any = copy(synthesizer.renderer.inpainter)
    inpainter.guidance_scale = args.guidance
    return SceneMaker(
        inpainter,
        stages_of(args, synthesizer.planner.windows.sizes[0]),
        channels=synthesizer.images.channels,
        overlap=args.overlap,
        batch_size=args.batch_size,
    )


def read_neighbours(
    synthesizer: AbnormalitySynthesizer, args: argparse.Namespace
) -> tuple[Neighbours, dict[str, dict[str, float]]]:
    """Return the training frames, and quantiles of how near held-out real frames come to them."""
    cases = [read_pairs(args.data, synthesizer.images, split=split) for split in ("train", "val")]
    train, held_out = (one[: args.limit] for one in cases)
    neighbours = Neighbours(synthesizer, tqdm(train, desc="describe", disable=None))
    found = [neighbours(case["image"]) for case in tqdm(held_out, desc="yardstick", disable=None)]
    quantiles = (0.5, 0.9, 0.95, args.quantile, 1.0)
    yardstick = {
        key: {str(q): float(np.quantile([one[key][1] for one in found], q)) for q in quantiles}
        for key in ("picture", "latent")
    }
    return neighbours, yardstick


def judge(
    synthesizer: AbnormalitySynthesizer,
    neighbours: Neighbours,
    limits: Mapping[str, float],
    frame: np.ndarray,
    most_lesions: float = 0.0,
) -> tuple[list[str], dict[str, Any]]:
    """Return the reasons against a frame, none for a good one, and its figures."""
    look, nearest = measure_look(frame), neighbours(frame)
    lesions = windows_with_lesions(synthesizer, frame)
    reasons = odd_looks(look) + [LESION] * (lesions > most_lesions) + near_copies(nearest, limits)
    told = {key: {"case": name, "figure": round(value, 4)} for key, (name, value) in nearest.items()}
    return reasons, {"look": {k: round(v, 4) for k, v in look.items()}, "lesions": lesions, "nearest": told}


def write_picture(folder: Path, name: str, frame: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(frame.transpose(1, 2, 0)).save(folder / name, optimize=True)


def draw(args: argparse.Namespace) -> dict[str, Any]:
    """Make frames until there are enough, write them, and return what is written beside them."""
    # The preset of the plain denoiser: what was distilled knows the levels of inpainting alone.
    synthesizer = load_synthesizer(args.bundle, preset="paper", device=args.device, batch_size=args.batch_size)
    maker = build_maker(synthesizer, args)
    neighbours, yardstick = read_neighbours(synthesizer, args)
    limits = {key: figures[str(args.quantile)] for key, figures in yardstick.items()}
    frames: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    tried = 0
    with tqdm(total=args.count, desc="frames", disable=None) as bar:
        for tried, seed in zip(
            range(1, (args.most or 20 * args.count) + 1), args.seeds or count(args.seed), strict=False
        ):
            size = args.shapes[seed % len(args.shapes)]
            values = synthesizer.images.from_network(maker(seed, size).numpy())
            frame = np.rint(values).astype(np.uint8)
            reasons, figures = judge(synthesizer, neighbours, limits, frame, args.most_lesions)
            refused.update(reasons)
            bar.set_postfix(tried=tried)
            if not reasons:
                frames.append({"file": f"frame_{len(frames) + 1:02d}.png", "seed": seed, "shape": size, **figures})
                write_picture(args.output, frames[-1]["file"], frame)
                bar.update()
            elif args.refused:
                name = "-".join(reason.replace(" ", "_") for reason in reasons)
                write_picture(args.refused, f"{seed:05d}-{name}.png"[:200], frame)
            if len(frames) == args.count:
                break
    made = {"frames": frames, "tried": tried, "refused": refused, "yardstick": yardstick, "limits": limits}
    return {**made, "about": about(args, maker)}


def about(args: argparse.Namespace, maker: SceneMaker) -> dict[str, Any]:
    """Return what the frames were made with."""
    bundle = open_bundle(args.bundle)
    return {
        "bundle": bundle.name,
        "bundle_version": bundle.metadata.get("version"),
        "weights": dict(bundle.weights),
        "stages": [asdict(stage) for stage in maker.stages],
        "prompt": maker.prompt,
        "overlap": maker.overlap,
        "guidance": maker.inpainter.guidance_scale,
        "batch_size": maker.batch_size,
        "versions": dict(versions()),
        "environment": environment(torch.device(args.device)),
    }


def main(arguments: list[str] | None = None) -> None:
    """Draw, write `frames.json`, and say what came of it."""
    args = parse(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    made = draw(args)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "frames.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{len(made['frames'])} frames of {made['tried']} candidates in {args.output}; limits {made['limits']}")
    for reason, times in made["refused"].most_common():
        print(f"  refused {times}: {reason}")
    if len(made["frames"]) < args.count:
        raise SystemExit(f"only {len(made['frames'])} of {args.count} frames; raise --most, or look at --refused")


if __name__ == "__main__":
    main()
