"""How much faster than diffusers' SDXL inpainting pipeline, with networks of the same size, in one run.

    python -m benchmarks.polyp.against_diffusers --bundle polyp_endoscopy --data KVASIR [--json FILE]

The pipeline class `StableDiffusionXLInpaintPipeline` of diffusers (optional extra `sdxl`) gets networks of the size of
the bundle's, drawn at random (speed does not depend on weights; nothing is downloaded), and 50 steps with guidance
7.5. Ours is the preset `fast`, the whole way of an accepted sample: window, encode twice, look before, paint, look,
decode, composite, encode again, look again. (1) `same_crop`: both paint a crop of 128 px. (2) `whole_frame`: a frame of
512 px, which the pipeline paints as a whole, and ours through the windows that its planner draws. Memory is the
process's highest so far, ours first: what the pipeline adds shows, what it needs less than ours does not.
"""

from __future__ import annotations

import argparse
import platform
import resource
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.polyp import common
from benchmarks.polyp.painting import asked
from benchmarks.polyp.rival import Rival, diffusers_module
from benchmarks.polyp.stages import least_seconds
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.synthesis import LesionPlan, Window
from monai_diffaug.synthesis.resample import resample

CROP, FRAME = 128, 512


def our_way(synthesizer: AbnormalitySynthesizer, cases: Sequence[tuple[Mapping[str, Any], LesionPlan]]) -> None:
    """Go the whole way of accepted samples, whatever the gate says: one batch of windows of one grid."""
    renderer: Any = synthesizer.renderer
    sites = [common.site_of(synthesizer, case, plan, case["label"] != 0) for case, plan in cases]
    renderer.prepare(sites)
    with common.plainly(synthesizer):
        canvas, order = common.canvas(synthesizer, sites), asked(sites, renderer.batch_size)
        latents = renderer.inpainter.inpaint(canvas, *order)
        common.predict_latents(synthesizer, latents, sites, sources=canvas.source)
        for site, window in zip(sites, renderer.inpainter.decode(latents), strict=False):
            site.deliver(window)
        views = common.stack([site.delivered_view() for site in sites], synthesizer)
        preds = common.predict_latents(synthesizer, renderer.inpainter.encode(views), sites, sources=canvas.source)
    for site, pred in zip(sites, preds, strict=True):
        common.judge(synthesizer, site, pred, change=site.change(site.delivered_view()))


def plans_of(synthesizer: AbnormalitySynthesizer, case: Mapping[str, Any], count: int, seed: int) -> list[LesionPlan]:
    """Return what the planner draws for a frame, ``count`` times."""
    drawn = (synthesizer.plan(common.request_of(case, common.seed_of(seed, k))) for k in range(4 * count))
    return [plans[0] for plans in drawn if plans][:count]


def crop_plan(synthesizer: AbnormalitySynthesizer, prompt: str = "polyp") -> LesionPlan:
    """Return the plan of a round lesion in the middle of a crop that is its own window."""
    grid = np.stack(np.meshgrid(*[np.arange(CROP) - CROP / 2] * synthesizer.images.spatial_dims, indexing="ij"))
    mask = np.sqrt((grid**2).sum(0)) <= 28
    sizes = (CROP,) * mask.ndim
    window = Window((0,) * mask.ndim, sizes, sizes)
    paint = synthesizer.planner.paint(mask, None)
    return LesionPlan(synthesizer.planner.abnormalities[0], prompt, mask, paint, window, (0,))


def framed(case: Mapping[str, Any], side: int) -> dict[str, Any]:
    """Return the middle square of a case at ``side`` pixels, without labels."""
    image = case["image"]
    least = min(image.shape[1:])
    box = tuple(slice((n - least) // 2, (n - least) // 2 + least) for n in image.shape[1:])
    part = torch.from_numpy(image[(slice(None), *box)].astype(np.float32))
    square = resample(part, (side,) * (image.ndim - 1)).round().numpy().astype(image.dtype)
    return {**case, "image": square, "label": np.zeros(square.shape[1:], np.uint8), "spacing": None}


def peak_mb(device: torch.device) -> float:
    """Return the highest memory so far: of the GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def by_grid(plans: Sequence[LesionPlan], count: int) -> list[list[LesionPlan]]:
    """Return batches of plans of one window grid; short ones repeat their members."""
    groups: dict[tuple[int, ...], list[LesionPlan]] = {}
    for plan in plans:
        groups.setdefault(plan.window.size, []).append(plan)
    return [[alike[k % len(alike)] for k in range(count)] for alike in groups.values()]


def frame_seconds(
    synthesizer: AbnormalitySynthesizer, frame: Mapping[str, Any], plans: Sequence[LesionPlan], *, repeats: int
) -> dict[str, Any]:
    """Return seconds a sample for the planner's windows, weighted by how often it draws each grid."""
    count, device = synthesizer.renderer.batch_size, synthesizer.renderer.device
    grids = {}
    for batch in by_grid(plans, count):
        cases = [(frame, plan) for plan in batch]
        seconds = least_seconds(partial(our_way, synthesizer, cases), device, repeats=repeats) / count
        share = np.mean([plan.window.size == batch[0].window.size for plan in plans])
        grids[f"grid {batch[0].window.size[0]}"] = {"share": float(share), "seconds": seconds}
    return {"ours_seconds": sum(one["share"] * one["seconds"] for one in grids.values()), **grids}


def theirs(
    rivals: Mapping[str, Rival], frames: Mapping[str, tuple[np.ndarray, np.ndarray]], args: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Return the pipeline's seconds a sample: task -> precision -> seconds."""
    device = torch.device(args.device)
    return {
        task: {
            name: least_seconds(
                partial(one.paint, *pair, count=args.their_batch, steps=args.their_steps),
                device,
                repeats=args.their_repeats,
            ) / args.their_batch
            for name, one in rivals.items()
        }
        for task, pair in frames.items()
    }  # fmt: skip


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    diffusers = diffusers_module()
    synthesizer: Any = common.build(args)
    case = common.read_cases(args.data, synthesizer.images, limit=1)[0]
    crop, frame = framed(case, CROP), framed(case, FRAME)
    plan, plans = crop_plan(synthesizer), plans_of(synthesizer, frame, args.plans, args.seed)
    device, count = synthesizer.renderer.device, synthesizer.renderer.batch_size
    seconds = least_seconds(partial(our_way, synthesizer, [(crop, plan)] * count), device, repeats=args.repeats) / count
    ours = {
        "same_crop": {"ours_seconds": seconds},
        "whole_frame": frame_seconds(synthesizer, frame, plans, repeats=args.repeats),
    }
    memory = {"ours_peak_mb": peak_mb(device)}
    rivals = {name: Rival(diffusers, dtype=getattr(torch, name), device=args.device) for name in args.their_dtypes}
    pairs = {
        "same_crop": (crop["image"].transpose(1, 2, 0), plan.mask),
        "whole_frame": (frame["image"].transpose(1, 2, 0), plans[0].mask),
    }
    taken = theirs(rivals, pairs, args)
    return {
        **{task: compared(found, taken[task]) for task, found in ours.items()},
        "memory": {**memory, "with_theirs_peak_mb": peak_mb(device)},
        "parameters": {"ours": our_parameters(synthesizer), "theirs": next(iter(rivals.values())).parameters()},
        "diffusers": diffusers.__version__,
        "their_steps": args.their_steps,
        "batch": {"ours": count, "theirs": args.their_batch},
    }


def compared(ours: Mapping[str, Any], theirs: Mapping[str, float]) -> dict[str, Any]:
    """Return both sides' seconds a sample and how many times faster ours is."""
    faster = {name: seconds / ours["ours_seconds"] for name, seconds in theirs.items()}
    return {**ours, "theirs_seconds": dict(theirs), "times_faster": faster}


def our_parameters(synthesizer: AbnormalitySynthesizer) -> dict[str, int]:
    """Return the number of parameters of each of our networks that paint."""
    inpainter = synthesizer.renderer.inpainter
    names = ("autoencoder", "denoiser", "text_encoder")
    return {name: sum(w.numel() for w in getattr(inpainter, name).parameters()) for name in names}


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--plans", type=int, default=32, help="windows drawn on the frame of 512 px")
    made.add_argument("--repeats", type=int, default=5, help="timed calls of ours")
    made.add_argument("--their-repeats", type=int, default=1, help="timed calls of the pipeline")
    made.add_argument("--their-batch", type=int, default=1, help="pictures that the pipeline paints at once")
    made.add_argument("--their-steps", type=int, default=50)
    made.add_argument("--their-dtypes", nargs="+", default=["float32", "bfloat16"], help="precisions of the pipeline")
    made.set_defaults(threads=2)
    asked_for = made.parse_args()
    common.tell(measure(asked_for), asked_for)
