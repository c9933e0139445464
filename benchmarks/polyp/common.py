"""What the figures share: the command line, held-out cases, windows as in use, size bins, the report.

A window is a `Site`, as the renderer has it: `site.window_image` (C, *size) in [-1, 1], `site.mask`,
`site.paint` and `site.seen` (other labelled lesions) on the window grid, (1, *size), and `site.plan`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from tqdm import tqdm

from monai_diffaug import AbnormalitySynthesizer, SynthesisRequest, SynthesisResult, load_synthesizer
from monai_diffaug.bundle import open_bundle
from monai_diffaug.generation.pairs import read_pairs
from monai_diffaug.synthesis import Canvas, ImageFormat, LesionPlan, Verdict
from monai_diffaug.synthesis.attributes import extent_of
from monai_diffaug.synthesis.provenance import environment, versions
from monai_diffaug.synthesis.sites import Site

BINS = ("small", "medium", "large")
Result = TypeVar("Result")


def parser(about: str) -> argparse.ArgumentParser:
    """Return a parser with what every script takes."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--bundle", default="polyp_endoscopy", help="a shipped bundle's name, or a folder")
    made.add_argument("--data", type=Path, required=True, help="folder with train, val and test (kvasir_seg)")
    made.add_argument("--other", type=Path, help="folder of another centre, images and masks (cvc_clinicdb)")
    made.add_argument("--json", type=Path, help="write the figures there too")
    made.add_argument("--batch-size", type=int, default=16)
    made.add_argument("--device", default="cpu")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--limit", type=int, help="so many cases at most, for a quick look")
    made.add_argument("--threads", type=int, help="of torch; its own choice by default")
    return made


def build(args: argparse.Namespace, *, preset: str = "fast") -> AbnormalitySynthesizer:
    """Load the bundle's synthesizer as the command line says."""
    if args.threads:
        torch.set_num_threads(args.threads)
    synthesizer = load_synthesizer(args.bundle, preset=preset, device=args.device, batch_size=args.batch_size)
    args.autocast = synthesizer.renderer.autocast
    return synthesizer


def read_cases(
    folder: Path, images: ImageFormat, *, split: str = "test", limit: int | None = None
) -> list[dict[str, Any]]:
    """Return a split's cases; ``limit`` takes that many, spread over the names."""
    cases = read_pairs(folder, images, split=split)
    if limit is None or limit >= len(cases):
        return cases
    return [cases[index] for index in np.linspace(0, len(cases) - 1, limit).round().astype(int)]


def seed_of(seed: int, *numbers: int) -> int:
    """Return the seed of one draw; equal numbers give equal seeds."""
    return int(np.random.default_rng([seed, *numbers]).integers(2**31 - 1))


def request_of(case: Mapping[str, Any], seed: int, *, prompt: str | None = None) -> SynthesisRequest:
    """Return the request to paint into a labelled case; its lesions are avoided."""
    return SynthesisRequest(case["image"], seed, case["label"], case["spacing"], prompt=prompt)


def synthesize(
    synthesizer: AbnormalitySynthesizer, requests: Sequence[SynthesisRequest], *, audit: bool = False
) -> list[SynthesisResult]:
    """Return the results of many requests in order, with a progress bar."""
    results: dict[int, SynthesisResult] = {}
    stream = synthesizer.stream(requests, audit=audit)
    for index, result in tqdm(stream, total=len(requests), desc="paint", file=sys.stderr, disable=None):
        results[index] = result
    return [results[index] for index in range(len(requests))]


def planned_sites(
    synthesizer: AbnormalitySynthesizer, cases: Sequence[Mapping[str, Any]], *, draws: int = 1, seed: int = 0
) -> list[Site]:
    """Return the windows in which lesions would be painted, ``draws`` for each case; cases without room give none."""
    sites = []
    for index, case in enumerate(cases):
        for draw in range(draws):
            plans = synthesizer.plan(request_of(case, seed_of(seed, index, draw)))
            sites += [site_of(synthesizer, case, plan, case["label"] != 0) for plan in plans]
    return sites


def real_sites(
    synthesizer: AbnormalitySynthesizer,
    cases: Sequence[Mapping[str, Any]],
    *,
    draws: int = 1,
    seed: int = 0,
    min_pixels: int = 64,
) -> list[Site]:
    """Return windows around real lesions, placed as in use, with jitter; ``seen`` holds the image's other lesions."""
    planner, sites = synthesizer.planner, []
    for index, case in enumerate(cases):
        parts, count = ndimage.label(case["label"] != 0)
        spacing = case["spacing"] or (1.0,) * parts.ndim
        for number in range(1, count + 1):
            mask, others = parts == number, (parts > 0) & (parts != number)
            if mask.sum() < min_pixels:
                continue
            paint = planner.paint(mask, others.astype(np.uint8), case["spacing"])
            for draw in range(draws):
                rng = np.random.default_rng([seed, index, number, draw])
                window = planner.windows(mask, spacing, rng, paint)
                plan = LesionPlan(planner.abnormalities[0], "", mask, paint, window, (seed_of(seed, index, draw),))
                sites.append(site_of(synthesizer, case, plan, others))
    return sites


def site_of(synthesizer: AbnormalitySynthesizer, case: Mapping[str, Any], plan: LesionPlan, known: np.ndarray) -> Site:
    """Return a plan's place of work in a case; ``known`` are the lesions that are not its own, bool (*spatial)."""
    spatial = case["image"].shape[1:]
    patch = case["image"][(slice(None), *plan.window.inside(spatial))]
    return Site(plan, patch, spatial, known, synthesizer.images)


def each_batch(
    sites: Sequence[Site],
    work: Callable[[list[Site]], Sequence[Result]],
    *,
    batch_size: int,
    what: str = "windows",
) -> list[Result]:
    """Call ``work`` on groups of one window grid and return one result a site, in the sites' order."""
    results: dict[int, Result] = {}
    with tqdm(total=len(sites), desc=what, file=sys.stderr, disable=None) as bar:
        for size in dict.fromkeys(site.plan.window.size for site in sites):
            alike = [site for site in sites if site.plan.window.size == size]
            for start in range(0, len(alike), batch_size):
                group = alike[start : start + batch_size]
                results |= {id(site): one for site, one in zip(group, work(group), strict=False)}
                bar.update(len(group))
    return [results[id(site)] for site in sites]


def stack(members: Sequence[Tensor], synthesizer: AbnormalitySynthesizer) -> Tensor:
    """Return one batch of the renderer's fixed shape: short ones repeat their last member."""
    renderer = synthesizer.renderer
    return torch.stack(filled(members, renderer.batch_size)).to(renderer.device)


def filled(members: Sequence[Result], count: int) -> list[Result]:
    """Return ``count`` members: short lists repeat their last one."""
    return [*members, *[members[-1]] * (count - len(members))]


def canvas(synthesizer: AbnormalitySynthesizer, group: Sequence[Site]) -> Canvas:
    """Return what the inpainter is given for prepared sites, of the fixed batch shape."""
    return Canvas(
        source=stack([site.source for site in group], synthesizer),
        blanked=stack([site.blanked for site in group], synthesizer),
        label_mask=stack([site.mask for site in group], synthesizer),
        paint_mask=stack([site.paint for site in group], synthesizer),
        scale=stack([torch.tensor(site.plan.window.scale) for site in group], synthesizer),
    )


@contextmanager
def plainly(synthesizer: AbnormalitySynthesizer) -> Iterator[None]:
    """Compute as the renderer does: no gradients, its own autocast."""
    renderer = synthesizer.renderer
    with torch.no_grad(), torch.autocast(renderer.device.type, torch.bfloat16, enabled=renderer.autocast):
        yield


def predict_sites(
    synthesizer: AbnormalitySynthesizer,
    sites: Sequence[Site],
    *,
    image: Callable[[Site], Tensor] | None = None,
    level: float = 0.5,
) -> list[Tensor]:
    """Return what the validator sees in real pixels, 0 or 1, (1, *size), other lesions included.

    Args:
        synthesizer: whose networks are asked.
        sites: windows.
        image: site -> pixels (C, *size) in [-1, 1]; the untouched window by default.
        level: least probability.
    """

    encode = synthesizer.renderer.inpainter.encode

    def work(group: list[Site]) -> list[Tensor]:
        with plainly(synthesizer):
            sources = encode(stack([site.window_image for site in group], synthesizer))
            latents = sources if image is None else encode(stack([image(site) for site in group], synthesizer))
            return predict_latents(synthesizer, latents, group, sources=sources, level=level)

    return each_batch(sites, work, batch_size=synthesizer.renderer.batch_size, what="validate")


def predict_latents(
    synthesizer: AbnormalitySynthesizer,
    latents: Tensor,
    group: Sequence[Site],
    *,
    sources: Tensor,
    level: float = 0.5,
) -> list[Tensor]:
    """Return predictions, 0 or 1, (1, *size), for a group's latents and untouched latents of the fixed batch shape."""
    probability = synthesizer.renderer.validator(latents, sources, group[0].plan.window.size).cpu()
    return [(one > level).float() for one in probability[: len(group)]]


def judge(synthesizer: AbnormalitySynthesizer, site: Site, pred: Tensor, *, change: float) -> Verdict:
    """Return the gate's verdict for a prediction on the whole window, other lesions included."""
    gate, name = synthesizer.renderer.gate, site.plan.abnormality.name
    return gate.judge(site.mask, pred * (1 - site.seen), site.paint, change=change, name=name)


def delivered_site(
    synthesizer: AbnormalitySynthesizer, case: Mapping[str, Any], result: SynthesisResult, *, refused: bool = False
) -> Site:
    """Return the window of a result's first abnormality: the case's, with the result's pixels as delivered ones.

    ``refused`` takes the pixels of a refused sample, which an audit keeps.
    """
    one, planner = result.record.abnormalities[0], synthesizer.planner
    mask = np.asarray(result.planned)[0] > 0
    paint = planner.paint(mask, case["label"], case["spacing"])
    seeds = tuple(attempt.seed for attempt in one.attempts)
    plan = LesionPlan(planner.abnormalities[0], one.prompt, mask, paint, one.window, seeds)
    site = site_of(synthesizer, case, plan, case["label"] != 0)
    site.patch = np.asarray(result.refused if refused else result.image)[(slice(None), *site.box)]
    return site


def extent(site: Site) -> float:
    """Return the longest side of the lesion's bounding box in image pixels."""
    return extent_of(site.plan.mask, (1.0,) * site.plan.mask.ndim)


def terciles(extents: Sequence[float]) -> tuple[float, float]:
    """Return the cut points between small, medium and large."""
    low, high = np.quantile(np.asarray(extents, float), [1 / 3, 2 / 3])
    return float(low), float(high)


def bin_of(size: float, cuts: tuple[float, float]) -> str:
    """Return small, medium or large."""
    return BINS[int(size >= cuts[0]) + int(size >= cuts[1])]


def by_bin(
    values: Sequence[float],
    extents: Sequence[float],
    cuts: tuple[float, float],
    summary: Callable[[Sequence[float]], Any] = np.mean,
) -> dict[str, Any]:
    """Summarise values in each size bin; None where a bin is empty."""
    bins: dict[str, list[float]] = {name: [] for name in BINS}
    for value, size in zip(values, extents, strict=True):
        bins[bin_of(size, cuts)].append(float(value))
    return {name: summary(members) if members else None for name, members in bins.items()}


def tell(figures: Mapping[str, Any], args: argparse.Namespace) -> None:
    """Print the figures, and write them with what they were measured on where ``--json`` is given."""
    for line in _lines(figures):
        print(line)
    if args.json:
        bundle = open_bundle(args.bundle)
        about = {
            "bundle": bundle.name,
            "bundle_version": bundle.metadata.get("version"),
            "trained": bundle.metadata.get("trained"),
            "weights": dict(bundle.weights),
            "seed": args.seed,
            "batch_size": args.batch_size,
            "limit": args.limit,
            "environment": environment(torch.device(args.device), autocast=getattr(args, "autocast", False)),
            "versions": dict(versions()),
        }
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"figures": figures, "about": about}, indent=1) + "\n", encoding="utf-8")


def _lines(figures: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{name}: {f'{value:.4g}' if isinstance(value, float) else value}"
