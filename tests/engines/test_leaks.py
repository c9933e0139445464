"""Images that two splits share are found, others are not."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from monai_diffaug.engines.leaks import near_equal, shared
from monai_diffaug.synthesis import ImageFormat

SHAPES = {2: (90, 120), 3: (40, 44, 36)}


def case(spatial_dims: int, seed: int, *, noise: int = 0) -> dict:
    """Return an image with a bright middle, as all of them have, and detail of its own."""
    shape = SHAPES[spatial_dims]
    detail = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.5)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = 120 - 60 * np.sqrt(sum(axis**2 for axis in grid)) + 20 * detail / detail.std()
    image += np.random.default_rng(100 + noise).normal(0, 3, shape) if noise else 0
    return {"name": f"n{seed}", "image": image.clip(0, 255).astype(np.uint8)[None]}


def test_a_second_frame_of_a_scene_is_found_and_others_are_not(spatial_dims):
    ours = [case(spatial_dims, seed) for seed in range(12)]
    theirs = [case(spatial_dims, 3, noise=1), *(case(spatial_dims, seed) for seed in range(20, 26))]
    ((one, other, alike),) = near_equal(ours, theirs, ImageFormat(spatial_dims, 1, (0, 255)))
    assert (one, other) == ("n3", "n3") and 0.8 < alike <= 1


def test_nothing_is_shared_with_nothing(spatial_dims):
    assert near_equal([], [case(spatial_dims, 0)], ImageFormat(spatial_dims, 1, (0, 255))) == []


def test_patients_are_told_by_their_names():
    assert shared(["a_1", "b_1"], ["b_2", "c_1"], lambda name: name[0]) == ["b"]
