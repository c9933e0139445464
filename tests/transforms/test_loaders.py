"""The dictionary transform in data loaders, workers and caches, and on files that MONAI reads."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch
from monai.data import (
    CacheDataset,
    DataLoader,
    Dataset,
    MetaTensor,
    PersistentDataset,
    PILReader,
    SmartCacheDataset,
    ThreadDataLoader,
    decollate_batch,
    list_data_collate,
    pad_list_data_collate,
)
from monai.data.utils import worker_init_fn
from monai.transforms import Compose, EnsureTyped, LoadImaged
from PIL import Image

from monai_diffaug import RandDiffusionAbnormalityd, load_synthesizer
from monai_diffaug.cli import main
from tests.toys import toy_image, toy_synthesizer

# Python 3.12 warns of every fork from a process with threads, and PyTorch has threads.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")

COUNT = 6
WORKERS = [pytest.param(0, None, id="none"), pytest.param(2, "fork", id="fork")]


def images(spatial_dims: int) -> list[dict]:
    return [{"image": toy_image(spatial_dims, seed=k), "index": k} for k in range(COUNT)]


def chain(spatial_dims: int, prob: float = 1.0) -> Compose:
    painting = RandDiffusionAbnormalityd("image", "label", toy_synthesizer(spatial_dims), prob)
    return Compose([EnsureTyped("image"), painting]).set_random_state(0)


def seeded(value: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def batches(dataset, workers: int, context: str | None, *, loader: type = DataLoader, **options) -> list[dict]:
    options |= {"batch_size": 1, "multiprocessing_context": context, "generator": seeded()}
    return list(loader(dataset, num_workers=workers, **options))


def seeds(made: list[dict]) -> list[int]:
    return [int(seed) for batch in made for seed in batch["image"].meta["diffaug"]["seed"]]


def equal(one: list[dict], other: list[dict]) -> bool:
    return seeds(one) == seeds(other) and all(
        torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("image", "label")
    )


class TestWorkers:
    @pytest.mark.parametrize(("workers", "context"), WORKERS)
    def test_same_on_rerun_and_new_every_epoch(self, spatial_dims, workers, context):
        first, again = (batches(Dataset(images(spatial_dims), chain(spatial_dims)), workers, context) for _ in range(2))
        assert equal(first, again)
        assert len(set(seeds(first))) == COUNT, "workers must not repeat each other's draws"
        dataset = Dataset(images(spatial_dims), chain(spatial_dims))
        loader = DataLoader(dataset, batch_size=1, num_workers=workers, multiprocessing_context=context)
        assert not set(seeds(list(loader))) & set(seeds(list(loader)))

    @pytest.mark.slow
    def test_fork_equals_spawn(self, spatial_dims):
        fork, spawn = (
            batches(Dataset(images(spatial_dims), chain(spatial_dims)), 2, context) for context in ("fork", "spawn")
        )
        assert equal(fork, spawn)

    @pytest.mark.parametrize("workers", [0, 2])
    def test_recorded_seed_makes_a_loaded_sample_again(self, spatial_dims, workers):
        synthesizer = toy_synthesizer(spatial_dims)
        for batch in batches(Dataset(images(spatial_dims), chain(spatial_dims)), workers, "fork" if workers else None):
            sample = decollate_batch(batch)[0]
            result = synthesizer(toy_image(spatial_dims, seed=int(sample["index"])), seed=seeds([batch])[0])
            assert (sample["image"].numpy() == result.image).all() and (sample["label"].numpy() == result.label).all()

    @pytest.mark.parametrize("workers", [0, 2])
    def test_plain_torch_loader(self, spatial_dims, workers):
        dataset = Dataset(images(spatial_dims), chain(spatial_dims))
        options = {"loader": torch.utils.data.DataLoader, "collate_fn": list_data_collate}
        made = batches(dataset, workers, "fork" if workers else None, worker_init_fn=worker_init_fn, **options)
        assert len(set(seeds(made))) == COUNT and all(batch["label"].any() for batch in made)

    def test_thread_loader(self, spatial_dims):
        made = [
            list(ThreadDataLoader(Dataset(images(spatial_dims), chain(spatial_dims)), batch_size=2, generator=seeded()))
            for _ in range(2)
        ]
        assert equal(*made) and len(set(seeds(made[0]))) == COUNT

    def test_thread_workers(self, spatial_dims):
        """Threads share the random state, so that order is free, but every sample must be one that its seed makes."""
        dataset, synthesizer = Dataset(images(spatial_dims), chain(spatial_dims)), toy_synthesizer(spatial_dims)
        loader = ThreadDataLoader(dataset, batch_size=1, num_workers=2, use_thread_workers=True)
        for batch in loader:
            sample = decollate_batch(batch)[0]
            result = synthesizer(toy_image(spatial_dims, seed=int(sample["index"])), seed=seeds([batch])[0])
            assert (sample["image"].numpy() == result.image).all() and (sample["label"].numpy() == result.label).all()


class TestCaches:
    def test_cache_is_cut_before_the_transform(self, spatial_dims):
        dataset = CacheDataset(images(spatial_dims), chain(spatial_dims), progress=False)
        first, second = ([dataset[k] for k in range(COUNT)] for _ in range(2))
        assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))
        for cached, source in zip(dataset._cache, images(spatial_dims), strict=True):
            assert (cached["image"].numpy() == source["image"]).all()
            assert "diffaug" not in cached["image"].meta and "label" not in cached

    @pytest.mark.parametrize("copy_cache", [True, False])
    def test_cache_survives_in_place_work_on_painted_samples(self, spatial_dims, copy_cache):
        dataset = CacheDataset(images(spatial_dims), chain(spatial_dims), progress=False, copy_cache=copy_cache)
        for k in range(COUNT):
            dataset[k]["image"].zero_()
        assert all(item["image"].any() and "diffaug" not in item["image"].meta for item in dataset._cache)

    def test_persistent_cache_is_unaffected(self, spatial_dims, tmp_path):
        dataset = PersistentDataset(images(spatial_dims), chain(spatial_dims), cache_dir=tmp_path)
        first = [dataset[k] for k in range(COUNT)]
        files = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
        second = [dataset[k] for k in range(COUNT)]
        assert not any(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))
        assert len(files) == COUNT and files == {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
        other = PersistentDataset(images(spatial_dims), chain(spatial_dims, 0.0), cache_dir=tmp_path)
        assert all((other[k]["image"].numpy() == images(spatial_dims)[k]["image"]).all() for k in range(COUNT))

    def test_smart_cache(self, spatial_dims):
        dataset = SmartCacheDataset(
            images(spatial_dims), chain(spatial_dims), replace_rate=0.5, cache_num=2, progress=False, shuffle=False
        )
        dataset.start()
        try:
            drawn = [[dataset[k]["image"].meta["diffaug"]["seed"] for k in range(2)] for _ in range(2)]
            dataset.update_cache()
            drawn.append([dataset[k]["image"].meta["diffaug"]["seed"] for k in range(2)])
        finally:
            dataset.shutdown()
        assert len({seed for epoch in drawn for seed in epoch}) == 6

    @pytest.mark.parametrize(("workers", "context"), WORKERS)
    def test_cached_and_uncached_draw_alike(self, spatial_dims, workers, context):
        cached = CacheDataset(images(spatial_dims), chain(spatial_dims), progress=False)
        plain = Dataset(images(spatial_dims), chain(spatial_dims))
        assert equal(batches(cached, workers, context), batches(plain, workers, context))


class TestCollate:
    @pytest.mark.parametrize("collate", [list_data_collate, pad_list_data_collate])
    def test_applied_and_not_applied_mix(self, spatial_dims, collate):
        dataset = Dataset(images(spatial_dims), chain(spatial_dims, 0.5))
        samples = [dataset[k] for k in range(COUNT)]
        assert {sample["image"].meta["diffaug"]["applied"] for sample in samples} == {True, False}
        batch = collate(samples)
        assert type(batch["image"]) is type(batch["label"]) is MetaTensor and batch["label"].dtype == torch.uint8
        assert set(batch["image"].meta["diffaug"]) == {"applied", "accepted", "iou", "attempts", "seed", "prompt"}
        for sample, back in zip(samples, decollate_batch(batch), strict=True):
            assert torch.equal(sample["image"], back["image"]) and torch.equal(sample["label"], back["label"])
            for name, value in sample["image"].meta["diffaug"].items():
                recovered = back["image"].meta["diffaug"][name]
                assert recovered == (pytest.approx(value) if name == "iou" else value), name

    def test_given_and_made_labels_mix(self, spatial_dims):
        given = np.zeros(toy_image(spatial_dims).shape, np.uint8)
        items = [{**item, "label": given} if item["index"] % 2 else item for item in images(spatial_dims)]
        dataset = Dataset(items, chain(spatial_dims, 0.5))
        batch = list_data_collate([dataset[k] for k in range(COUNT)])
        assert batch["label"].shape == batch["image"].shape and batch["label"].any()


class Fixed(np.random.RandomState):
    """A random state that always applies, with one given seed."""

    value = 0

    def rand(self, *_):
        return 0.0

    def randint(self, *_, **__):
        return self.value


class TestFiles:
    def test_png_by_the_pil_recipe_equals_the_command_line(self, tmp_path):
        rng = np.random.default_rng(0)
        (tmp_path / "in").mkdir()
        Image.fromarray(rng.integers(100, 140, (150, 170, 3)).astype(np.uint8)).save(tmp_path / "in" / "case.png")
        command = f"generate --bundle texture_demo --images {tmp_path}/in --output {tmp_path}/out --num 1 --seed 4"
        assert main(command.split()) == 0
        line = json.loads((tmp_path / "out" / "manifest.jsonl").read_text())
        reader = PILReader(reverse_indexing=False)
        # Loaded as float first: MONAI hands read-only bytes to PyTorch otherwise, which warns.
        load = [LoadImaged("image", reader=reader, ensure_channel_first=True), EnsureTyped("image", dtype=torch.uint8)]
        painting = RandDiffusionAbnormalityd("image", "label", load_synthesizer("texture_demo"), 1.0)
        state = Fixed()
        state.value = line["seed"]
        chain = Compose([*load, painting])
        painting.set_random_state(state=state)  # after composing: Compose seeds its members anew
        made = chain({"image": str(tmp_path / "in" / "case.png")})
        written = {key: np.asarray(Image.open(tmp_path / "out" / line[key])) for key in ("image", "label")}
        assert line["accepted"] and made["image"].meta["diffaug"]["prompt"] == line["prompt"]
        assert (made["image"].numpy() == np.moveaxis(written["image"], -1, 0)).all()
        assert (made["label"][0].numpy() == written["label"]).all()

    def test_nifti_equals_python_on_the_same_floats(self, tmp_path):
        volume = np.random.default_rng(0).integers(400, 500, (60, 70, 50)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.5, 1.0, 2.0, 1.0])), tmp_path / "case.nii.gz")
        synthesizer = load_synthesizer("texture_demo", variant="volume")
        painting = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0).set_random_state(1)
        made = Compose([LoadImaged("image", ensure_channel_first=True), painting])(
            {"image": str(tmp_path / "case.nii.gz")}
        )
        seed = made["image"].meta["diffaug"]["seed"]
        result = synthesizer(volume[None].astype(np.float32), seed=seed, spacing=(1.5, 1.0, 2.0))
        assert made["image"].dtype == torch.float32 and (made["image"].numpy() == result.image).all()
        assert result.record.accepted and (made["label"].numpy() == result.label).all()
