"""Metrics whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from monai_diffaug.metrics import acceptance, best_constant_overlap, overlaps, psnr, ssim
from monai_diffaug.synthesis import Attempt
from monai_diffaug.synthesis.gate import LESION_BEFORE, LOW_IOU
from tests.toys import ball, toy_image, toy_synthesizer


def masks(spatial_dims: int, *, spread: int = 0) -> torch.Tensor:
    """Return three masks of balls whose places differ by ``spread``."""
    shape = (24,) * spatial_dims
    places = [[12 + spread * (k - 1)] * spatial_dims for k in range(3)]
    return torch.stack([torch.from_numpy(ball(spatial_dims, 6, centre=at, shape=shape)) for at in places])[:, None]


class TestPsnr:
    def test_a_constant_error_has_a_known_figure(self, spatial_dims):
        image = torch.zeros(2, 3, *(8,) * spatial_dims)
        assert psnr(image + 0.2, image).tolist() == pytest.approx([20, 20])  # a tenth of the range

    def test_less_error_is_better(self):
        image = torch.zeros(1, 1, 8, 8)
        assert psnr(image + 0.1, image) > psnr(image + 0.2, image)


def test_an_image_is_most_similar_to_itself(spatial_dims):
    image = torch.rand(2, 1, *(16,) * spatial_dims, generator=torch.Generator().manual_seed(0))
    assert ssim(image, image).tolist() == pytest.approx([1, 1])
    assert (ssim(image, image.flip(2)) < 0.9).all()


def test_overlap_of_empty_masks_is_one():
    mask = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]])[:, None]
    pred = torch.tensor([[0.0, 1, 1, 0], [0, 0, 0, 0]])[:, None]
    assert overlaps(pred, mask).tolist() == pytest.approx([1 / 3, 1])


class TestBestConstantOverlap:
    def test_equal_masks_are_met_wholly(self, spatial_dims):
        assert best_constant_overlap(masks(spatial_dims))[0] == 1

    def test_it_falls_with_the_spread_of_the_masks(self, spatial_dims):
        found = [best_constant_overlap(masks(spatial_dims, spread=spread))[0] for spread in (0, 2, 5)]
        assert found[0] > found[1] > found[2]

    @pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
    def test_no_cut_of_the_mean_mask_is_better(self, spatial_dims, level):
        spread = masks(spatial_dims, spread=3)
        cut = spread.float().mean(0, keepdim=True) >= level
        assert best_constant_overlap(spread)[0] >= float(overlaps(cut.expand_as(spread), spread).mean()) - 1e-6

    def test_a_centred_ellipsoid_is_found_among_masks_that_are_one(self, spatial_dims):
        grid = torch.stack(torch.meshgrid(*[(torch.arange(24) + 0.5) / 24 - 0.5] * spatial_dims, indexing="ij"))
        axes = torch.tensor([0.3, 0.2, 0.4][:spatial_dims]).reshape(-1, *[1] * spatial_dims)
        ellipsoid = ((grid / axes).square().sum(0) <= 1)[None, None]
        other = torch.ones_like(ellipsoid)
        best, shape = best_constant_overlap(torch.cat([ellipsoid, ellipsoid, ellipsoid, other]))
        assert torch.equal(shape, ellipsoid[0]) and best > 0.75

    def test_the_shape_has_the_overlap_that_it_is_said_to_have(self, spatial_dims):
        spread = masks(spatial_dims, spread=3)
        best, shape = best_constant_overlap(spread)
        assert best == pytest.approx(float(overlaps(shape[None].expand_as(spread), spread).mean()))

    def test_empty_masks_are_refused(self):
        with pytest.raises(ValueError, match="1 of them empty"):
            best_constant_overlap(torch.zeros(1, 1, 8, 8))


class TestAcceptance:
    def record(self, *attempts: Attempt):
        record = toy_synthesizer(2)(toy_image(2), seed=1).record
        return replace(record, abnormalities=(replace(record.abnormalities[0], attempts=attempts),))

    def test_attempts_and_samples_are_counted_apart(self):
        refused, accepted = Attempt(1, 0.4, False, (LOW_IOU,)), Attempt(2, 0.8, True)
        found = acceptance([self.record(refused, accepted), self.record(accepted), self.record(refused, refused)])
        assert (found["samples"], found["attempts"]) == (3, 5)
        assert found["per_attempt"] == pytest.approx(2 / 5)
        assert found["first_attempt"] == pytest.approx(1 / 3) and found["per_sample"] == pytest.approx(2 / 3)
        assert found["reasons"] == {LOW_IOU: 3}

    def test_windows_that_were_left_alone_are_no_attempts(self):
        alone = Attempt(1, 0.0, False, (LESION_BEFORE,), stopped_early=True)
        found = acceptance([self.record(alone), self.record(Attempt(2, 0.8, True))])
        assert found["seen_before"] == 0.5 and found["attempts"] == 1 and found["per_attempt"] == 1
        assert found["per_sample"] == 0.5

    def test_no_sample_has_no_share(self):
        assert acceptance([])["per_attempt"] is None
