"""Items replaced by samples of a pool."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor, decollate_batch, list_data_collate, set_track_meta
from monai.transforms import Compose, EnsureTyped, LoadImaged, ScaleIntensityRanged
from PIL import Image

from monai_diffaug import FixedPool, PoolSchedule, RandDiffusionAbnormalityd, RandPooledAbnormalityd
from monai_diffaug.engines.pool_files import PoolFolder
from tests.pooled import fill
from tests.toys import toy_image, toy_synthesizer

COUNT = 6


@pytest.fixture
def pool(spatial_dims) -> FixedPool:
    synthesizer = toy_synthesizer(spatial_dims, batch_size=2)
    return FixedPool(synthesizer.batch([{"image": toy_image(spatial_dims, seed=9), "seed": k} for k in range(3)]))


def items(spatial_dims: int) -> list[dict]:
    return [{"image": toy_image(spatial_dims, seed=k), "index": k} for k in range(COUNT)]


def pooled(pool, prob: float = 1.0, seed: int = 0) -> RandPooledAbnormalityd:
    return RandPooledAbnormalityd("image", "label", pool, prob).set_random_state(seed)


class TestItems:
    def test_prob_0_is_identity(self, pool, spatial_dims):
        for item in items(spatial_dims):
            made = pooled(pool, 0.0)(item)
            assert (made["image"].numpy() == item["image"]).all() and made["index"] == item["index"]
            assert not made["label"].any() and not made["image"].meta["diffaug"]["applied"]

    def test_taken_samples_are_the_pools(self, pool, spatial_dims):
        transform, seen = pooled(pool), set()
        for item in items(spatial_dims):
            made = transform(item)
            sample = next(one for one in pool.samples if one.record.seed == made["image"].meta["diffaug"]["seed"])
            assert (made["image"].numpy() == sample.image).all() and (made["label"].numpy() == sample.label).all()
            seen.add(sample.record.seed)
        assert len(seen) > 1
        made["image"].zero_()
        assert all(sample.image.any() for sample in pool.samples)

    def test_draws_depend_on_the_state_alone(self, pool, spatial_dims):
        def drawn(prob: float, seed: int) -> list[int]:
            transform = pooled(pool, prob, seed)
            return [transform(item)["image"].meta["diffaug"]["seed"] for item in items(spatial_dims) * 3]

        assert drawn(0.5, 1) == drawn(0.5, 1) != drawn(0.5, 2)
        assert all(one in (-1, other) for one, other in zip(drawn(0.5, 1), drawn(1.0, 1), strict=True))

    @pytest.mark.parametrize("labelled", [False, True])
    def test_types_do_not_depend_on_the_draw(self, pool, spatial_dims, labelled):
        given = [{**item, "image": item["image"].astype(np.float32)} for item in items(spatial_dims)]
        for item in given if labelled else ():
            item["label"] = np.zeros(item["image"].shape[1:] if item["index"] % 2 else item["image"].shape, np.int32)
        taken, left = pooled(pool, 1.0), pooled(pool, 0.0)
        for item in given:
            one, other = taken(item), left(item)
            for key in ("image", "label"):
                assert type(one[key]) is type(other[key]) and one[key].dtype == other[key].dtype
                assert one[key].shape == other[key].shape

    def test_without_metadata(self, pool, spatial_dims):
        set_track_meta(False)
        try:
            made = pooled(pool)(items(spatial_dims)[0])
        finally:
            set_track_meta(True)
        assert type(made["image"]) is type(made["label"]) is torch.Tensor

    def test_no_label_and_missing_keys(self, pool, spatial_dims):
        made = RandPooledAbnormalityd("image", None, pool, 1.0)(items(spatial_dims)[0])
        assert "label" not in made
        assert RandPooledAbnormalityd("image", None, pool, 1.0, allow_missing_keys=True)({"index": 1}) == {"index": 1}

    def test_same_entries_as_the_synthesizing_transform(self, pool, spatial_dims):
        own = RandDiffusionAbnormalityd("image", "label", toy_synthesizer(spatial_dims), 1.0)
        item = items(spatial_dims)[0]
        assert set(own(item)["image"].meta["diffaug"]) == set(pooled(pool)(item)["image"].meta["diffaug"])

    @pytest.mark.parametrize(("keys", "prob"), [(("a", "b"), 0.1), ("a", -0.1), ("a", 1.1)])
    def test_bad_arguments(self, keys, prob):
        with pytest.raises(ValueError, match="one image key|prob must lie"):
            RandPooledAbnormalityd(keys, None, FixedPool([object()]), prob)
        with pytest.raises(ValueError, match="one sample or more"):
            FixedPool([])


class TestLoaders:
    def test_batches_of_both_kinds(self, pool, spatial_dims):
        chain = Compose([EnsureTyped("image"), pooled(pool, 0.5)]).set_random_state(3)
        data = CacheDataset(items(spatial_dims), chain, progress=False)
        (batch,) = list(DataLoader(data, batch_size=COUNT))
        assert set(batch["image"].meta["diffaug"]["applied"].tolist()) == {True, False}
        for one, index in zip(decollate_batch(batch), range(COUNT), strict=True):
            assert one["index"] == index and bool(one["label"].any()) == bool(one["image"].meta["diffaug"]["applied"])

    def test_a_rolling_pools_files_mix_with_loaded_ones(self, tmp_path):
        """Both with their metadata: the pool's affine and file name are those of its source."""
        for k in range(2):
            Image.fromarray(toy_image(2, seed=k)[0]).save(tmp_path / f"{k}.png")
        load = Compose([LoadImaged("image", ensure_channel_first=True), EnsureTyped("image", dtype=torch.float32)])
        files = [{"image": str(tmp_path / f"{k}.png")} for k in range(2)]
        loaded = [load(file) for file in files]
        schedule = PoolSchedule(2, 0)
        fill(tmp_path / "pool", schedule, 0, cases=loaded)
        folder = PoolFolder(tmp_path / "pool")
        stored = FixedPool([folder.read(number) for number in schedule.pool(0)])
        chain = Compose([load, pooled(stored, 0.5), ScaleIntensityRanged("image", 0, 255, 0, 1)]).set_random_state(1)
        made = [chain(file) for file in files * 4]
        batch = list_data_collate(made)
        applied = batch["image"].meta["diffaug"]["applied"].tolist()
        assert set(applied) == {True, False} and type(batch["image"]) is MetaTensor
        assert set(batch["image"].meta["filename_or_obj"]) <= {file["image"] for file in files}
        assert batch["image"].dtype == torch.float32 and float(batch["image"].max()) <= 1
        assert torch.equal(batch["image"].affine[0], batch["image"].affine[-1])
        assert [bool(label.any()) for label in batch["label"]] == applied
