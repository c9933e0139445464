"""Patches for the autoencoder: of the right size and range, whole or partly blanked, drawn by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from monai_diffaug.engines.patches import AutoencoderPatches
from monai_diffaug.synthesis import FormulaShapes
from tests.tiny_training import image_format, toy_cases


def patches(spatial_dims: int, **options: Any) -> AutoencoderPatches:
    chosen = {"size": 16, "sides": (8, 24), **options}
    return AutoencoderPatches(toy_cases(spatial_dims), image_format(spatial_dims), FormulaShapes(), **chosen)


def test_shape_and_range(spatial_dims: int) -> None:
    for index in range(8):
        image = patches(spatial_dims)[index]["image"]
        assert image.shape == (1, *(16,) * spatial_dims) and image.dtype == torch.float32
        assert image.min() >= -1 and image.max() <= 1 and image.std() > 0


def test_a_number_is_a_draw(spatial_dims: int) -> None:
    one, other, third = (patches(spatial_dims, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(one[index]["image"], other[index]["image"]) for index in (0, 5, 10**9))
    assert not torch.equal(one[0]["image"], one[1]["image"])
    assert not torch.equal(one[0]["image"], third[0]["image"])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 12)])
def test_share_of_blanked_patches(spatial_dims: int, share: float, expected: int) -> None:
    """Blanked cells are 0; whole numbers between 0 and 255 that are not resampled never are."""
    drawn = [patches(spatial_dims, sides=(16, 16), blanked=share)[index]["image"] for index in range(12)]
    assert sum(bool((image == 0).any()) for image in drawn) == expected


def test_images_smaller_than_a_patch_are_extended(spatial_dims: int) -> None:
    image = patches(spatial_dims, sides=(200, 200), blanked=0.0)[0]["image"]
    assert image.shape == (1, *(16,) * spatial_dims) and torch.isfinite(image).all()


def test_a_patch_is_a_piece_of_an_image(spatial_dims: int) -> None:
    """A patch as large as the grid is not resampled: each of its values is one of the image's."""
    dataset = patches(spatial_dims, sides=(16, 16), blanked=0.0)
    values = np.unique(np.concatenate([case["image"].ravel() for case in dataset.cases]))
    stored = (dataset[3]["image"].numpy() + 1) / 2 * 255
    assert np.abs(stored[..., None].round() - stored[..., None]).max() < 1e-3
    assert set(np.unique(stored.round()).astype(int)) <= set(values.astype(int))


@pytest.mark.parametrize("options", [{"sides": (24, 8)}, {"sides": (0, 8)}, {"blanked": 1.5}])
def test_ranges_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rising range"):
        patches(2, **options)


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="0 cases"):
        AutoencoderPatches([], image_format(2), FormulaShapes())
