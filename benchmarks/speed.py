"""Speed and peak memory of the whole, by stage, and against other ways, in one run of a few minutes.

    python -m benchmarks.speed [--data KVASIR] [--device cuda] [--processes 2] [--json FILE]

Prints Markdown tables. (1) Accepted samples a second, milliseconds an accepted sample in each stage, the peak memory
of the process in each, and the time over the sum of the bare network calls. (2) One painted picture, the networks
of the bundle unless told otherwise: ours with presets `fast` and `paper`, the whole way with both looks of the gate;
MONAI's LatentDiffusionInferer, 50 steps without guidance; RePaint, 250 steps with jumps, timed on the first moves and
scaled; diffusers' SDXL inpainting pipeline of networks as large, 50 steps with guidance, where it is installed. On a
crop of 128 px and on a frame of 512 px, which the others paint as a whole. Frames are the bundle's samples, or with
--data Kvasir's test frames. With --processes 2 the first part runs in two processes of one thread, rates added up.
Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks import generic_samplers, sampling
from benchmarks.polyp import against_diffusers, common
from benchmarks.polyp.rival import Rival, diffusers_module
from benchmarks.polyp.stages import Stopwatch, least_seconds, stages_of
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.bundle import describe, open_bundle, shipped_bundles
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.synthesis import Canvas

SIDE, REPAINT = 384, (250, 10, 10)


class PeakWatch(Stopwatch):
    """Note the highest memory during each stage, in MiB, instead of the seconds."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its memory noted."""

        def work(*args: Any, **kwargs: Any) -> Any:
            reset_peak(self.device)
            made = function(*args, **kwargs)
            self.seconds[name] = max(self.seconds[name], peak_mb(self.device))
            return made

        return work


def reset_peak(device: torch.device) -> None:
    """Forget the highest memory so far; elsewhere than on Linux and GPUs nothing is forgotten."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            return


def peak_mb(device: torch.device) -> float:
    """Return the highest memory since the last reset, in MiB: of the GPU, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(ln.split()[1]) / 1024 for ln in status.read_text().splitlines() if ln.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


@contextmanager
def bare_calls(synthesizer: AbnormalitySynthesizer, watch: Stopwatch) -> Iterator[None]:
    """Take the time of nothing but the networks: autoencoder, denoiser, text encoder, validator."""
    renderer: Any = synthesizer.renderer
    inpainter = renderer.inpainter
    parts = [(inpainter.autoencoder, "encode"), (inpainter.autoencoder, "decode"), (inpainter.denoiser, "forward"),
             (inpainter.text_encoder, "forward"), (renderer.validator.network, "forward")]  # fmt: skip
    try:
        for owner, name in parts:
            setattr(owner, name, watch.timed("bare", getattr(owner, name)))
        yield
    finally:
        for owner, name in parts:
            delattr(owner, name)


def frames(args: argparse.Namespace, synthesizer: AbnormalitySynthesizer) -> list[dict[str, Any]]:
    """Return the cases that are painted into."""
    if args.data:
        return common.read_cases(args.data, synthesizer.images, limit=args.limit)
    shown = sorted((shipped_bundles()[args.bundle] / "samples" / "frames").glob("*.png"))
    cases = []
    for path in shown:
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((SIDE, SIDE))
        pixels = np.array(picture).transpose(2, 0, 1).copy()
        cases.append({"image": pixels, "label": np.zeros(pixels.shape[1:], np.uint8), "spacing": None})
    return cases


def samples(args: argparse.Namespace) -> dict[str, Any]:
    """Return rates and stages of accepted samples, without files, and with them where there is a folder to read."""
    synthesizer = common.build(args)
    device, cases = synthesizer.renderer.device, frames(args, synthesizer)
    about = partial(sampling.without_files, synthesizer, cases, seed=args.seed)
    about(samples=args.batch_size)  # the first batches warm up
    bare = Stopwatch()
    with bare_calls(synthesizer, bare):
        found = about(samples=args.samples)
    bare_seconds = bare.seconds["bare"]
    watch = PeakWatch(device)
    with watch.watching(stages_of(synthesizer)):
        about(samples=args.batch_size)
    found |= {"stage_peak_mb": dict(watch.seconds), "bare_seconds_with_warm_up": bare_seconds}
    found["over_bare"] = found["all_seconds"] / bare_seconds
    if args.data:
        split = args.data / "test"
        listed = find_cases(split / "images", split / "masks")
        told = describe(open_bundle(args.bundle), preset="fast", variant=None, prompts="standard")
        found["with_files"] = sampling.with_files(synthesizer, listed, told, samples=args.samples, seed=args.seed)
    return found


def _one_process(args: argparse.Namespace, number: int, results: Any) -> None:
    args.threads, args.seed = 1, args.seed + number
    results.put(samples(args))


def in_processes(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return ``samples`` of each of so many processes at once."""
    if args.processes == 1:
        return [samples(args)]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=_one_process, args=(args, k, results)) for k in range(args.processes)]
    for worker in workers:
        worker.start()
    found = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    return found


def timed(work: Callable[[], Any], device: torch.device, *, count: int, repeats: int = 1) -> dict[str, float]:
    """Return seconds a picture and the highest memory."""
    reset_peak(device)
    return {"seconds": least_seconds(work, device, repeats=repeats) / count, "peak_mb": peak_mb(device)}


def others(synthesizer: Any, case: Mapping[str, Any], plan: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Return what MONAI's inferer and RePaint take for a picture that is painted as a whole."""
    renderer = synthesizer.renderer
    inpainter, device = renderer.inpainter, renderer.device
    image = torch.from_numpy(synthesizer.images.to_unit(case["image"]))[None].to(device) * 2 - 1
    mask = torch.from_numpy(plan.mask.astype(np.float32))[None, None].to(device)
    walk = generic_samplers.repaint_walk(*REPAINT)
    calls = sum(b < a for a, b in zip(walk, walk[1:], strict=False))

    def repaint(moves: int) -> None:
        latent = inpainter.encode(image)
        canvas = Canvas(latent, latent, mask, mask, torch.zeros(1, device=device))
        inpainter.decode(generic_samplers.repaint(inpainter, canvas, [plan.prompt], walk[: moves + 1]))

    with common.plainly(synthesizer):
        monai = partial(generic_samplers.monai_sample, inpainter, image, mask, [plan.prompt], steps=args.their_steps)
        found = {"MONAI LatentDiffusionInferer": timed(monai, device, count=1)}
        few, more = (timed(partial(repaint, n), device, count=1) for n in (1, 1 + args.moves))
        step = (more["seconds"] - few["seconds"]) / args.moves
    found["RePaint"] = {"seconds": few["seconds"] + step * (calls - 1), "peak_mb": more["peak_mb"], "calls": calls}
    return found


def diffusers_times(pairs: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return what diffusers' pipeline takes for each picture, in bfloat16; nothing where it is not installed."""
    try:
        rival = Rival(diffusers_module(), dtype=torch.bfloat16, device=args.device)
    except SystemExit as missing:
        print(missing)
        return {}
    device = torch.device(args.device)
    return {
        name: timed(partial(rival.paint, *pair, steps=args.their_steps), device, count=1)
        for name, pair in pairs.items()
    }


def pictures(args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and memory of one painted picture: task -> way -> figures."""
    synthesizers = {name: common.build(args, preset=name) for name in ("fast", "paper")}
    fast: Any = synthesizers["fast"]
    device, count = fast.renderer.device, args.batch_size
    case = frames(args, fast)[0]
    crop, frame = (against_diffusers.framed(case, side) for side in (against_diffusers.CROP, args.frame))
    plan, plans = against_diffusers.crop_plan(fast), against_diffusers.plans_of(fast, frame, 16, args.seed)
    found: dict[str, dict[str, Any]] = {"crop": {}, "frame": {}}
    for name, one in synthesizers.items():
        whole = partial(against_diffusers.our_way, one, [(crop, plan)] * count)
        found["crop"][f"ours, {name}"] = timed(whole, device, count=count)
        for batch in against_diffusers.by_grid(plans, count):
            work = partial(against_diffusers.our_way, one, [(frame, each) for each in batch])
            taken = timed(work, device, count=count)
            share = float(np.mean([each.window.size == batch[0].window.size for each in plans]))
            row = found["frame"].setdefault(f"ours, {name}", {"seconds": 0.0, "peak_mb": 0.0})
            row["seconds"] += share * taken["seconds"]
            row["peak_mb"] = max(row["peak_mb"], taken["peak_mb"])
    plain: Any = synthesizers["paper"]  # one step a step: the plain behaviour; guidance is left to us and diffusers
    plain.renderer.inpainter.guidance_scale = 1.0
    found["crop"] |= others(plain, crop, plan, args)
    found["frame"] |= others(plain, frame, plans[0], args)
    pairs = {"crop": (crop["image"].transpose(1, 2, 0), plan.mask),
             "frame": (frame["image"].transpose(1, 2, 0), plans[0].mask)}  # fmt: skip
    for name, taken in diffusers_times(pairs, args).items():
        found[name]["diffusers SDXL inpainting"] = taken
    return found


def tables(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    runs: Sequence[Mapping[str, Any]] = found["samples"]
    rate = sum(run["accepted_per_second"] for run in runs)
    over = max(run["over_bare"] for run in runs)
    yield f"{rate:.2f} accepted samples/s in {len(runs)} process(es); time over the bare network calls {over:.3f}"
    if "with_files" in runs[0]:
        making = sum(run["with_files"]["making_accepted_per_second"] for run in runs)
        yield f"with files {making:.2f} accepted samples/s"
    yield from ("", "| stage | ms an accepted sample | share | samples/s of it alone | peak MiB |")
    yield "|---|---|---|---|---|"
    run = runs[0]
    for name, spent in sorted(run["ms_an_attempt"].items(), key=lambda pair: -pair[1]):
        one = spent / run["accepted_per_attempt_all"]
        share, memory = spent / sum(run["ms_an_attempt"].values()), run["stage_peak_mb"].get(name, 0.0)
        yield f"| {name} | {one:.1f} | {share:.1%} | {1000 / max(one, 1e-6):.0f} | {memory:.0f} |"
    for task, ways in found.get("pictures", {}).items():
        yield from ("", f"| one picture, {task} | seconds | images/s | times ours, fast | peak MiB |")
        yield "|---|---|---|---|---|"
        for name, way in ways.items():
            times = way["seconds"] / ways["ours, fast"]["seconds"]
            yield f"| {name} | {way['seconds']:.3f} | {1 / way['seconds']:.2f} | {times:.1f} | {way['peak_mb']:.0f} |"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = common.parser(__doc__ or "")
    made.set_defaults(threads=2, batch_size=8)
    for action in made._actions:
        action.required = False
    made.add_argument("--samples", type=int, default=96, help="planned samples")
    made.add_argument("--processes", type=int, default=1, help="of one thread each, where more than one")
    made.add_argument("--frame", type=int, default=against_diffusers.FRAME, help="side of the whole frame")
    made.add_argument("--their-steps", type=int, default=50)
    made.add_argument("--moves", type=int, default=8, help="steps of RePaint that are timed")
    made.add_argument("--samples-only", action="store_true", help="leave the comparisons out")
    return made


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    start = time.perf_counter()
    found: dict[str, Any] = {"samples": in_processes(args)}
    if not args.samples_only:
        found["pictures"] = pictures(args)
    return {**found, "benchmark_seconds": time.perf_counter() - start}


if __name__ == "__main__":
    given = parser().parse_args()
    figures = measure(given)
    print("\n".join(tables(figures)))
    common.tell({"benchmark_seconds": figures["benchmark_seconds"]} if not given.json else figures, given)
