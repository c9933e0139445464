"""The cosine of a near copy: held-out lesions hardly ever reach it, training lesions do; repeats are no yardstick."""

from __future__ import annotations

import pytest
import torch

from monai_diffaug.engines.copies import FALSE_ALARMS, cosines, measure_copies
from monai_diffaug.engines.real_lesions import SeenLesion
from monai_diffaug.synthesis import NearCopies


def lesions(count: int, seed: int, spatial_dims: int = 2, *, noise: float = 0.0, prefix: str = "") -> list[SeenLesion]:
    """Return lesions of random looks; a little noise makes other views of the same ones."""
    generator = torch.Generator().manual_seed(seed)
    other = torch.Generator().manual_seed(seed + 1000)
    found = []
    for number in range(count):
        latent = torch.randn((2, *[8] * spatial_dims), generator=generator)
        latent = latent + noise * torch.randn(latent.shape, generator=other)
        mask = torch.zeros(1, *[32] * spatial_dims, dtype=torch.bool)
        mask[(0, *[slice(4, 26)] * spatial_dims)] = True
        found.append(SeenLesion("polyp", f"{prefix}{number}", mask, mask, mask, latent))
    return found


def test_hardly_any_held_out_lesion_is_called_a_copy_and_training_lesions_are(spatial_dims):
    training, held_out = lesions(20, 0, spatial_dims), lesions(60, 1, spatial_dims, prefix="h")
    found = measure_copies(training, held_out, lesions(20, 0, spatial_dims, noise=0.2))
    copies = NearCopies(found["descriptors"], threshold=found["threshold"], cells=found["cells"])
    called = cosines(copies, held_out) > copies.threshold
    assert float(called.float().mean()) <= FALSE_ALARMS and found["called"] <= FALSE_ALARMS
    assert found["recognised"] == 1.0 and found["repeats"] == []
    assert found["descriptors"].dtype == torch.float16 and found["lesions"] == 20 and found["held_out"] == 60


def test_with_enough_held_out_lesions_some_may_be_called():
    found = measure_copies(lesions(10, 0), lesions(400, 1, prefix="h"), lesions(10, 0))
    assert 0 < found["called"] <= FALSE_ALARMS


def test_repeats_are_named_and_left_out():
    """Without that, one training lesion among the held-out ones would raise the threshold for all."""
    training, held_out = lesions(20, 0), lesions(60, 1, prefix="h")
    plain = measure_copies(training, held_out, training)
    repeats = lesions(2, 0, noise=0.1, prefix="r")
    found = measure_copies(training, held_out + repeats, training)
    assert found["repeats"] == ["r0", "r1"] and found["held_out"] == 60
    assert found["threshold"] == plain["threshold"] < 0.95


def test_all_alike_is_a_high_threshold():
    training = lesions(5, 0)
    found = measure_copies(training, training, training)
    assert found["threshold"] >= 0.999 and found["called"] == 0


def test_lesions_of_unequal_grids_are_compared():
    (small,) = lesions(1, 0)
    large = SeenLesion(
        "polyp",
        "large",
        *[small.mask.repeat_interleave(2, 1).repeat_interleave(2, 2)] * 3,
        small.latent.repeat_interleave(2, 1).repeat_interleave(2, 2),
    )
    known = NearCopies(NearCopies.describe(small.latent[None], small.mask[None]))
    assert cosines(known, [small, large]).tolist() == pytest.approx([1, 1], abs=0.01)
