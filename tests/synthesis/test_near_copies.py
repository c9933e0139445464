"""Copies of a lesion are found wherever and however it is painted; other lesions are not."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch

from monai_diffaug.synthesis import NearCopies


def latents(spatial_dims, count=4, seed=0, cells=16):
    return torch.randn((count, 2, *[cells] * spatial_dims), generator=torch.Generator().manual_seed(seed))


def masks(spatial_dims, count=4, low=16, high=44, size=64):
    """Return boxes on the window grid, longer along the first axis, (count, 1, *size)."""
    drawn = torch.zeros(count, 1, *[size] * spatial_dims)
    drawn[(slice(None), slice(None), slice(low - 8, high), *[slice(low, high)] * (spatial_dims - 1))] = 1
    return drawn


def known_copies(spatial_dims, **more):
    return NearCopies(NearCopies.describe(latents(spatial_dims), masks(spatial_dims)), **more)


def test_training_lesions_are_found_and_others_not(spatial_dims):
    copies, here = known_copies(spatial_dims), masks(spatial_dims)
    known, new = latents(spatial_dims), latents(spatial_dims, seed=1)
    assert copies(known, here).all() and not copies(new, here).any()
    assert copies(torch.cat([new[:1], known[2:3]]), here[:2]).tolist() == [False, True]


def test_the_window_around_the_lesion_does_not_matter(spatial_dims):
    """A training lesion in a user's image is a copy; a new lesion in a training image is none."""
    copies, here = known_copies(spatial_dims), masks(spatial_dims)
    inside = torch.zeros(4, 1, *[16] * spatial_dims)
    inside[(slice(None), slice(None), slice(2, 11), *[slice(4, 11)] * (spatial_dims - 1))] = 1
    known, new = latents(spatial_dims), latents(spatial_dims, seed=1)
    assert copies(torch.where(inside > 0, known, new), here).all()
    assert not copies(torch.where(inside > 0, new, known), here).any()


def test_place_and_grid_do_not_matter(spatial_dims):
    """The same lesion elsewhere in a window of twice the grid."""
    known, here = latents(spatial_dims), masks(spatial_dims)
    shift = [3 - axis for axis in range(spatial_dims)]
    axes = list(range(2, spatial_dims + 2))
    moved = torch.zeros(4, 2, *[32] * spatial_dims)
    moved[(slice(None), slice(None), *[slice(0, 16)] * spatial_dims)] = known
    mask = torch.zeros(4, 1, *[128] * spatial_dims)
    mask[(slice(None), slice(None), *[slice(0, 64)] * spatial_dims)] = here
    moved, mask = moved.roll(shift, axes), mask.roll([4 * one for one in shift], axes)
    assert known_copies(spatial_dims, threshold=0.999)(moved, mask).all()


def test_flips_and_turns_do_not_hide_a_copy(spatial_dims):
    copies = known_copies(spatial_dims, threshold=0.999)
    known, here = latents(spatial_dims), masks(spatial_dims)
    axes = list(range(2, spatial_dims + 2))
    some = list(product((False, True), repeat=spatial_dims))
    for number, order in enumerate(permutations(axes)):
        turned = [axis for axis, flip in zip(axes, some[-1 - number], strict=True) if flip]
        assert copies(known.permute(0, 1, *order).flip(turned), here.permute(0, 1, *order).flip(turned)).all()


def test_brightness_and_contrast_do_not_hide_a_copy(spatial_dims):
    tint = torch.tensor([0.4, -1.0]).reshape(1, 2, *[1] * spatial_dims)
    assert known_copies(spatial_dims)(latents(spatial_dims) * 1.7 + tint, masks(spatial_dims)).all()


def test_noise_hides_it_gradually(spatial_dims):
    known, noise, here = latents(spatial_dims, 1), latents(spatial_dims, 1, seed=1), masks(spatial_dims, 1)
    copies = NearCopies(NearCopies.describe(known, here), threshold=0.9)
    near = [float(copies.cosines(known + level * noise, here)) for level in (0.0, 0.1, 0.5, 1.0, 3.0)]
    assert near == sorted(near, reverse=True) and near[0] == pytest.approx(1, abs=1e-5)
    assert copies(known + 0.1 * noise, here).item() and not copies(known + 3 * noise, here).item()


def test_monotone_in_the_threshold(spatial_dims):
    noise, here = latents(spatial_dims, seed=1), masks(spatial_dims)
    seen = latents(spatial_dims) + torch.linspace(0, 2, 4).reshape(4, 1, *[1] * spatial_dims) * noise
    found = [known_copies(spatial_dims, threshold=one)(seen, here) for one in (0.2, 0.5, 0.8, 0.95, 1.0)]
    assert all((later <= earlier).all() for earlier, later in zip(found, found[1:], strict=False))
    assert found[0].all() and not found[-1].all()


def test_the_projection_keeps_cosines(spatial_dims):
    """Many more numbers give about the same cosine; what is equal stays equal."""
    one, other = latents(spatial_dims, 1), latents(spatial_dims, 1) + 0.5 * latents(spatial_dims, 1, seed=1)
    here = masks(spatial_dims, 1)
    few, many = (
        float(NearCopies.describe(one, here, numbers=n) @ NearCopies.describe(other, here, numbers=n).T)
        for n in (96, 4096)
    )
    assert few == pytest.approx(many, abs=0.15)


def test_descriptors_are_few_numbers_of_unit_length_and_always_the_same(spatial_dims):
    described = NearCopies.describe(latents(spatial_dims), masks(spatial_dims), cells=4, numbers=48)
    assert described.shape == (4, 48) and torch.allclose(described.norm(dim=1), torch.ones(4))
    again = NearCopies.describe(latents(spatial_dims), masks(spatial_dims), cells=4, numbers=48)
    assert torch.equal(described, again)
    assert NearCopies(described, cells=4)(latents(spatial_dims), masks(spatial_dims)).all()


def test_half_precision_is_enough(spatial_dims):
    described = NearCopies.describe(latents(spatial_dims), masks(spatial_dims)).half()
    cosines = NearCopies(described).cosines(latents(spatial_dims), masks(spatial_dims))
    assert cosines.min() > 0.999


def test_batch_mates_do_not_matter(spatial_dims):
    copies, seen, here = known_copies(spatial_dims), latents(spatial_dims, seed=3), masks(spatial_dims)
    together = copies.cosines(seen, here)
    alone = torch.cat([copies.cosines(seen[k : k + 1], here[k : k + 1]) for k in range(4)])
    assert torch.equal(together, alone) and torch.equal(together.flip(0), copies.cosines(seen.flip(0), here))


def test_the_networks_arithmetic_does_not_matter(spatial_dims):
    copies, seen, here = known_copies(spatial_dims), latents(spatial_dims, seed=3), masks(spatial_dims)
    with torch.autocast("cpu", torch.bfloat16):
        half = copies.cosines(seen, here), NearCopies.describe(seen, here)
    assert torch.equal(half[0], copies.cosines(seen, here)) and torch.equal(half[1], NearCopies.describe(seen, here))


def test_a_flat_latent_is_no_copy(spatial_dims):
    flat = torch.full((1, 2, *[16] * spatial_dims), 0.3)
    assert not known_copies(spatial_dims, threshold=0.1)(flat, masks(spatial_dims, 1)).any()


def test_a_mask_of_one_cell_has_a_descriptor(spatial_dims):
    mask = torch.zeros(1, 1, *[64] * spatial_dims)
    mask[(0, 0, *[63] * spatial_dims)] = 1
    assert torch.isfinite(NearCopies.describe(latents(spatial_dims, 1), mask)).all()


@pytest.mark.parametrize("wrong", [torch.zeros(0, 4), torch.zeros(4)])
def test_wrong_descriptors_are_refused(wrong):
    with pytest.raises(ValueError, match="descriptors"):
        NearCopies(wrong)
