"""Why `benchmarks/draw_polyp_frames.py` refuses a frame: every reason is met, and a good frame meets none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmarks.draw_polyp_frames import parse, stages_of
from benchmarks.frame_checks import (
    LOOKS,
    Neighbours,
    batches,
    measure_look,
    near_copies,
    odd_looks,
    square_crops,
)
from monai_diffaug.synthesis import Stage
from monai_diffaug.synthesis.lesion_scan import windows_with_lesions
from tests.synthesis.fakes import Always
from tests.toys import toy_synthesizer


def tissue(seed=0, *, shape=(144, 160)):
    """Return a frame with the colours, light and detail of tissue, uint8 (3, *shape)."""
    rng = np.random.default_rng(seed)
    coarse = ndimage.gaussian_filter(rng.standard_normal(shape), 14)
    fine = ndimage.gaussian_filter(rng.standard_normal(shape), 0.7)
    grey = 1 + 0.35 * coarse / coarse.std() + 0.05 * fine / fine.std()
    frame = np.array([0.65, 0.38, 0.28])[:, None, None] * grey.clip(0.3, 1.5)
    return (frame.clip(0, 1) * 255).astype(np.uint8)


def change(frame, function):
    return (function(frame / 255).clip(0, 1) * 255).round().astype(np.uint8)


def test_tissue_looks_like_tissue():
    look = measure_look(tissue())
    assert odd_looks(look) == []
    assert set(look) == set(LOOKS)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: 0.4 * x, "brightness too low"),
        (lambda x: 1.8 * x, "brightness too high"),
        (lambda x: x * (np.arange(160) < 60), "lit too low"),
        (lambda x: 0 * x, "lit too low"),
        (lambda x: np.where(np.arange(160) < 30, 1.0, x), "blown_out too high"),
        (lambda x: x.mean((1, 2), keepdims=True) + 0.1 * (x - x.mean((1, 2), keepdims=True)), "contrast too low"),
        (lambda x: ndimage.gaussian_filter(x, (0, 3, 3)), "detail too low"),
        (lambda x: x + 0.3 * np.random.default_rng(0).standard_normal(x.shape), "detail too high"),
        (lambda x: x.mean(0, keepdims=True).repeat(3, 0), "red_over_green too low"),
        (lambda x: x * np.array([1.0, 0.5, 1.5])[:, None, None], "green_over_blue too low"),
    ],
)
def test_what_looks_odd_is_refused_by_name(function, reason):
    assert reason in odd_looks(measure_look(change(tissue(), function)))


@pytest.mark.parametrize(("value", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_a_lesion_anywhere_is_seen(value, share):
    synthesizer = toy_synthesizer(2, channels=3, validator=Always(value), batch_size=4)
    assert windows_with_lesions(synthesizer, tissue(), sides=(64, 128)) == share


def test_a_lesion_in_one_corner_is_seen_in_few_windows():
    """A validator that takes pure blue for a lesion."""

    def blue(latent, source, size):
        return (latent[:, 2:] > latent[:, :1]).float()

    frame = tissue()
    frame[:, -20:, -20:] = np.array([0, 0, 200])[:, None, None]
    synthesizer = toy_synthesizer(2, channels=3, validator=blue, batch_size=4)
    assert 0 < windows_with_lesions(synthesizer, frame, sides=(64,)) < 0.5
    assert windows_with_lesions(synthesizer, tissue(), sides=(64,)) == 0


def test_turned_flipped_and_recoloured_copies_are_found_and_others_are_not():
    synthesizer = toy_synthesizer(2, channels=3, batch_size=4)
    cases = [{"name": f"case_{seed}", "image": tissue(seed)} for seed in range(4)]
    neighbours, limits = Neighbours(synthesizer, cases), {"picture": 0.95, "latent": 0.95}
    copies = [
        tissue(2),
        tissue(2)[:, ::-1],
        np.rot90(tissue(2), 1, (1, 2)).copy(),
        change(tissue(2), lambda x: 0.8 * x + 0.05),
    ]
    for copy in copies:
        nearest = neighbours(np.ascontiguousarray(copy))
        assert {name for name, _ in nearest.values()} == {"case_2"}
        assert near_copies(nearest, limits) == ["near copy by picture", "near copy by latent"]
    other = neighbours(tissue(9))
    assert near_copies(other, limits) == [] and all(figure < 0.9 for _, figure in other.values())


def test_crops_are_the_ends_and_the_middle_of_the_longer_side():
    assert len(square_crops(tissue(shape=(64, 64)))) == 1
    crops = square_crops(tissue(shape=(64, 96)), size=32)
    assert [tuple(crop.shape) for crop in crops] == [(3, 32, 32)] * 3


def test_batches_have_one_shape_and_lose_nothing():
    members = [torch.tensor([float(n)]) for n in range(5)]
    found = list(batches(members, 2))
    assert [tuple(batch.shape) for batch, _ in found] == [(2, 1)] * 3
    assert [count for _, count in found] == [2, 2, 1]
    assert torch.cat([batch[:count] for batch, count in found]).flatten().tolist() == [0, 1, 2, 3, 4]


def test_options_become_stages():
    args = parse(["--data", "a", "--output", "b", "--steps", "8", "--start", "0.6", "--middle", "0.7"])
    assert stages_of(args, 128) == [Stage(128, 128, 1.0, 32), Stage(256, 256, 0.7, 8), Stage(128, None, 0.6, 8)]
    assert args.shapes == [(320, 320), (288, 352)]
    assert parse(["--data", "a", "--output", "b", "--shapes", "256x384"]).shapes == [(256, 384)]
