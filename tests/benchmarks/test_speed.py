"""The benchmark of speed, at tiny size."""

from __future__ import annotations

import pytest
import torch

from benchmarks import generic_samplers, speed
from monai_diffaug.networks.layout import GroupNorm
from monai_diffaug.synthesis import Canvas
from tests.tiny_networks import tiny_inpainter


def test_generic_samplers_paint():
    inpainter = tiny_inpainter(2)
    image, mask = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    made = generic_samplers.monai_sample(inpainter, image, mask, ["polyp"], steps=2)
    assert made.shape == image.shape and bool(made.isfinite().all())
    latent = inpainter.encode(image)
    canvas = Canvas(latent, latent, mask, mask, torch.zeros(1))
    walk = generic_samplers.repaint_walk(4, 2, 2)
    assert bool(generic_samplers.repaint(inpainter, canvas, ["polyp"], walk).isfinite().all())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of diffusers' scheduler
def test_every_way_is_timed_in_one_run():
    quick = ["--samples", "4", "--batch-size", "2", "--frame", "128", "--their-steps", "1", "--moves", "1"]
    figures = speed.measure(speed.parser().parse_args([*quick, "--threads", "1"]))
    ways = {"ours, fast", "ours, paper", "MONAI LatentDiffusionInferer", "RePaint"}
    for task in ("crop", "frame"):
        assert ways <= set(figures["pictures"][task])
        assert all(way["seconds"] > 0 for way in figures["pictures"][task].values())
    text = "\n".join(speed.tables(figures))
    assert all(f"| {way} |" in text for way in ways)


def test_a_small_map_is_normalised_as_by_torch(spatial_dims):
    x = torch.rand((2, 6) + (4,) * spatial_dims).contiguous(
        memory_format=torch.channels_last if spatial_dims == 2 else torch.channels_last_3d
    )
    made = GroupNorm(2, 6)(x)
    assert torch.allclose(made, torch.nn.GroupNorm(2, 6)(x), atol=1e-5) and made.stride() == x.stride()
