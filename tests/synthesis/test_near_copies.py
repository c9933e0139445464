"""Near copies are found whatever their brightness; other latents are not."""

from __future__ import annotations

import pytest
import torch

from monai_diffaug.synthesis import NearCopies


def latents(spatial_dims, count=4, seed=0, cells=16):
    return torch.randn((count, 2, *[cells] * spatial_dims), generator=torch.Generator().manual_seed(seed))


def test_training_windows_are_found_and_others_not(spatial_dims):
    known, new = latents(spatial_dims), latents(spatial_dims, seed=1)
    copies = NearCopies(NearCopies.describe(known))
    assert copies(known).all() and not copies(new).any()
    assert copies(torch.cat([new[:1], known[2:3]])).tolist() == [False, True]


def test_brightness_and_contrast_do_not_hide_a_copy(spatial_dims):
    known = latents(spatial_dims)
    assert NearCopies(NearCopies.describe(known))(known * 1.7 + 0.4).all()


def test_noise_hides_it_gradually(spatial_dims):
    known, noise = latents(spatial_dims, count=1), latents(spatial_dims, count=1, seed=1)
    copies = NearCopies(NearCopies.describe(known), threshold=0.9)
    assert copies(known + 0.1 * noise).item() and not copies(known + 3 * noise).item()


def test_the_threshold_is_a_cosine(spatial_dims):
    known, other = latents(spatial_dims, count=1), latents(spatial_dims, count=1, seed=1)
    mixed = known + other
    cosine = float(NearCopies.describe(mixed) @ NearCopies.describe(known).T)
    for threshold, expected in ((cosine - 1e-4, True), (cosine + 1e-4, False)):
        assert NearCopies(NearCopies.describe(known), threshold=threshold)(mixed).item() is expected


def test_descriptors_have_unit_length_and_the_size_asked_for(spatial_dims):
    described = NearCopies.describe(latents(spatial_dims), cells=4)
    assert described.shape == (4, 2 * 4**spatial_dims)
    assert torch.allclose(described.norm(dim=1), torch.ones(4))
    assert NearCopies(described, cells=4)(latents(spatial_dims)).all()


def test_a_flat_latent_is_no_copy(spatial_dims):
    flat = torch.ones(1, 2, *[16] * spatial_dims)
    assert not NearCopies(NearCopies.describe(latents(spatial_dims)))(flat).any()


@pytest.mark.parametrize("wrong", [torch.zeros(0, 4), torch.zeros(4)])
def test_wrong_descriptors_are_refused(wrong):
    with pytest.raises(ValueError, match="descriptors"):
        NearCopies(wrong)
