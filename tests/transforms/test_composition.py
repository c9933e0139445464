"""The transforms among MONAI's own: seeding, lazy resampling, inversion, spacing and metadata tracking."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, set_track_meta
from monai.transforms import (
    Compose,
    EnsureTyped,
    Flipd,
    Invertd,
    OneOf,
    RandFlipd,
    Rotate90d,
    ScaleIntensityRanged,
    Spacingd,
    Zoomd,
)

from monai_diffaug import RandDiffusionAbnormality, RandDiffusionAbnormalityd
from tests.toys import ball

AFFINE = {2: np.diag([0.7, 1.4, 1.0, 1.0]), 3: np.diag([1.0, 1.0, 3.0, 1.0])}
SPACING = {2: (0.7, 1.4), 3: (1.0, 1.0, 3.0)}


@pytest.fixture
def placed(toy_image, spatial_dims) -> MetaTensor:
    """The toy image with a spacing that is not even."""
    return MetaTensor(torch.from_numpy(toy_image), affine=AFFINE[spatial_dims], meta={"pixdim": np.arange(8.0)})


@pytest.fixture
def painting(synthesizer) -> RandDiffusionAbnormalityd:
    return RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0).set_random_state(0)


@pytest.fixture
def untracked():
    set_track_meta(False)
    yield
    set_track_meta(True)


def with_label(image: torch.Tensor) -> dict:
    """Return an item whose label holds a small lesion in a corner, so that every turn of it shows."""
    dims = image.ndim - 1
    label = ball(dims, 2, centre=[3] * dims, shape=image.shape[1:])[None].astype(np.uint8)
    return {"image": image, "label": MetaTensor(torch.from_numpy(label), affine=image.affine)}


def record(image: torch.Tensor) -> dict:
    return image.meta["diffaug"]


def same(one: dict, other: dict) -> bool:
    return record(one["image"]) == record(other["image"]) and all(torch.equal(one[key], other[key]) for key in one)


class TestSeeding:
    def test_compose(self, toy_image, synthesizer):
        def chain() -> Compose:
            inner = Compose([RandDiffusionAbnormalityd("image", "label", synthesizer, 0.8)])
            last = OneOf([RandDiffusionAbnormalityd("image", "label", synthesizer, 0.8), RandFlipd("image", 0.5)])
            return Compose([RandFlipd("image", 0.5), inner, last])

        first, second, third = (chain().set_random_state(seed) for seed in (4, 4, 5))
        runs = [[one({"image": toy_image}) for _ in range(4)] for one in (first, second, third)]
        assert all(same(one, other) for one, other in zip(runs[0], runs[1], strict=True))
        assert not all(torch.equal(a["image"], b["image"]) for a, b in zip(runs[0], runs[2], strict=True))
        first.set_random_state(4)
        assert all(same(first({"image": toy_image}), other) for other in runs[1])

    def test_two_in_a_row_paint_two(self, toy_image, synthesizer):
        twice = Compose([RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0) for _ in range(2)])
        once = Compose(twice.transforms[:1])
        one, two = (chain.set_random_state(1)({"image": toy_image}) for chain in (once, twice))
        assert record(one["image"])["seed"] != record(two["image"])["seed"]
        assert (two["label"][one["label"] > 0] > 0).all() and (two["label"] > 0).sum() > (one["label"] > 0).sum()


class TestMetadata:
    def test_kept_on_image_and_label(self, placed, painting):
        made = Compose([EnsureTyped(["image", "label"]), Flipd(["image", "label"], 0), painting])(with_label(placed))
        turned = Compose([EnsureTyped(["image", "label"]), Flipd(["image", "label"], 0)])(with_label(placed))
        for key in ("image", "label"):
            assert type(made[key]) is MetaTensor and torch.equal(made[key].affine, turned[key].affine)
            assert [op["class"] for op in made[key].applied_operations] == ["Flip"]
            assert not made[key].pending_operations
        assert (made["image"].meta["pixdim"] == placed.meta["pixdim"]).all()
        assert set(made["image"].meta) - set(turned["image"].meta) == {"diffaug"}
        assert set(made["label"].meta) == set(turned["label"].meta)

    def test_spacing_comes_from_the_affine(self, placed, toy_image, synthesizer, spatial_dims, painting):
        made = painting({"image": placed})
        seed = record(made["image"])["seed"]
        known, unknown = (synthesizer(toy_image, seed=seed, spacing=mm) for mm in (SPACING[spatial_dims], None))
        assert (made["label"].numpy() == known.label).all() and (made["image"].numpy() == known.image).all()
        assert (made["label"].numpy() != unknown.label).any()

    def test_turned_affine_has_the_same_spacing(self, placed, synthesizer, spatial_dims):
        turned = Compose([Rotate90d("image"), Flipd("image", 0)])({"image": placed})["image"]
        mask = ball(spatial_dims, 5, shape=turned.shape[1:])
        transform = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)
        made, _ = transform(turned, mask=mask)
        mm = (SPACING[spatial_dims][1], SPACING[spatial_dims][0], *SPACING[spatial_dims][2:])
        result = synthesizer(turned.as_tensor(), seed=record(made)["seed"], spacing=mm, mask=mask)
        assert torch.equal(made.as_tensor(), result.image)

    def test_without_tracking_tensors_are_plain(self, untracked, placed, painting, toy_image, synthesizer):
        made = painting({"image": toy_image})
        assert type(made["image"]) is type(made["label"]) is torch.Tensor
        result = synthesizer(toy_image, seed=painting.transform._seed)
        assert (made["image"].numpy() == result.image).all() and (made["label"].numpy() == result.label).all()
        left = RandDiffusionAbnormalityd("image", "label", synthesizer, 0.0)({"image": placed})
        assert type(left["image"]) is type(left["label"]) is torch.Tensor

    def test_without_tracking_the_spacing_still_counts(self, untracked, placed, painting, toy_image, synthesizer):
        made = painting({"image": placed})
        spacing = SPACING[toy_image.ndim - 1]
        result = synthesizer(toy_image, seed=painting.transform._seed, spacing=spacing)
        assert (made["label"].numpy() == result.label).all()


class TestSpatial:
    """Spatial transforms before and after, at once or lazily, and back."""

    def chain(self, painting, *, lazy: bool) -> Compose:
        keys = ["image", "label"]
        before = [Flipd(keys, 0), Rotate90d(keys, 1)]
        return Compose([EnsureTyped(keys), *before, painting, Flipd(keys, 1), Rotate90d(keys, 3)], lazy=lazy)

    def test_lazy_equals_at_once(self, placed, synthesizer):
        made = []
        for lazy in (False, True):
            painting = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0)
            # Float from the start: lazy resampling leaves no integers.
            item = {key: value.float() for key, value in with_label(placed).items()}
            made.append(self.chain(painting, lazy=lazy).set_random_state(3)(item))
        assert same(*made) and record(made[0]["image"])["accepted"]
        for key in ("image", "label"):
            assert not made[1][key].pending_operations and made[0][key].dtype == made[1][key].dtype
            dims = placed.ndim - 1  # in 2D, MONAI's lazy affines are 3 x 3
            assert torch.allclose(made[0][key].affine[:dims, :dims], made[1][key].affine[:dims, :dims], atol=1e-6)

    def test_lazy_resampling_before_and_after(self, placed, synthesizer):
        keys = ["image", "label"]
        painting = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0)
        before = [EnsureTyped(keys), Spacingd(keys, pixdim=[1.0] * (placed.ndim - 1)), Flipd(keys, 0)]
        # Without the override MONAI interpolates labels, whatever the mode of Spacingd.
        overrides = {"label": {"mode": "nearest"}}
        chain = Compose([*before, painting, Zoomd(keys, 1.2, keep_size=False)], lazy=True, overrides=overrides)
        made = chain.set_random_state(1)(with_label(placed))
        assert made["image"].shape == made["label"].shape and not made["label"].pending_operations
        assert record(made["image"])["applied"] and set(made["label"].unique().tolist()) == {0.0, 1.0}
        with pytest.raises(RuntimeError) as caught:
            Compose([*before, painting], lazy=True)(with_label(placed))
        assert "values that are not whole" in str(caught.value.__cause__)

    @pytest.mark.parametrize("prob", [0.0, 1.0])
    def test_inverse_brings_it_back(self, placed, synthesizer, prob):
        painting = RandDiffusionAbnormalityd("image", "label", synthesizer, prob)
        chain = self.chain(painting, lazy=False).set_random_state(0)
        made = chain(with_label(placed))
        back = chain.inverse(made)
        assert torch.allclose(back["image"].affine, placed.affine) and back["image"].shape == placed.shape
        changed = (back["image"] != placed).any(0)
        assert bool(changed.any()) == (prob > 0) and record(back["image"]) == record(made["image"])
        merged = back["label"][0] != with_label(placed)["label"][0]
        assert bool(merged.any()) == (prob > 0) and (changed[merged].float().mean() > 0.8 if prob else True)

    def test_a_made_label_can_be_inverted(self, placed, synthesizer):
        keys = ["image", "label"]
        turn = Rotate90d(keys, 1, allow_missing_keys=True)
        painting = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0)
        chain = Compose([ScaleIntensityRanged("image", 0, 255, 0, 255), turn, painting]).set_random_state(0)
        made = chain({"image": placed})
        invert = Invertd("label", chain, orig_keys="image", nearest_interp=True, to_tensor=False)
        back = invert({**made, "pred": made["label"]})
        assert back["label"].shape == placed.shape
        changed = (chain.inverse(made)["image"] - placed).abs()[0] > 0
        assert changed[back["label"][0] > 0].float().mean() > 0.8


def test_unwritten_spacing_is_unknown(toy_image, synthesizer):
    transform = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)
    made, _ = transform(MetaTensor(torch.from_numpy(toy_image), affine=np.eye(4)))
    assert (made.numpy() == synthesizer(toy_image, seed=record(made)["seed"], spacing=None).image).all()
