"""Synthesis of whole batches between loader and network."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.engines import PrepareBatchExtraInput, SupervisedTrainer
from torch import nn

from monai_diffaug import DiffusionAbnormalityPrepareBatch
from monai_diffaug.engines.prepare_batch import METRIC
from monai_diffaug.synthesis import QualityGate
from tests.toys import toy_image, toy_synthesizer

COUNT = 4


def batch(spatial_dims: int, *, label: bool = True, spacing: float | None = None) -> dict:
    items = []
    for k in range(COUNT):
        image = torch.as_tensor(toy_image(spatial_dims, seed=k)).float()
        if spacing is not None:
            affine = torch.diag(torch.tensor([*[spacing + k] * spatial_dims, *[1.0] * (4 - spatial_dims)]))
            image = MetaTensor(image, affine=affine)
        items.append(
            {"image": image, **({"label": torch.zeros(1, *image.shape[1:], dtype=torch.int64)} if label else {})}
        )
    return list_data_collate(items)


def preparing(spatial_dims: int, prob: float = 1.0, **options) -> DiffusionAbnormalityPrepareBatch:
    return DiffusionAbnormalityPrepareBatch(toy_synthesizer(spatial_dims, batch_size=2), prob, **options)


class TestBatch:
    def test_prob_0_is_identity(self, spatial_dims):
        given = batch(spatial_dims)
        prepare = preparing(spatial_dims, 0.0)
        images, labels = prepare(given)
        assert torch.equal(images, given["image"]) and not labels.any() and prepare.records == [None] * COUNT

    @pytest.mark.parametrize("spacing", [None, 2.0])
    def test_each_image_is_what_its_recorded_seed_makes(self, spatial_dims, spacing):
        given = batch(spatial_dims, spacing=spacing)
        before = given["image"].clone()
        prepare = preparing(spatial_dims)
        images, labels = prepare(given)
        assert torch.equal(given["image"], before) and not given["label"].any(), "the loader's own batch was changed"
        assert isinstance(images, MetaTensor) == (spacing is not None) and labels.dtype == torch.int64
        synthesizer = toy_synthesizer(spatial_dims, batch_size=2)
        for k, record in enumerate(prepare.records):
            place = None if spacing is None else (spacing + k,) * spatial_dims
            result = synthesizer(toy_image(spatial_dims, seed=k).astype("float32"), seed=record.seed, spacing=place)
            assert result.record == record and (images[k].numpy() == result.image).all()
            assert (labels[k].numpy() == result.label).all()

    def test_metadata_is_that_of_the_transform(self, spatial_dims):
        images, _ = preparing(spatial_dims, 0.5)(batch(spatial_dims, spacing=1.0))
        entries = [one["image"].meta["diffaug"] for one in decollate_batch({"image": images})]
        assert {bool(one["applied"]) for one in entries} == {True, False}
        assert set(entries[0]) == {"applied", "accepted", "iou", "attempts", "seed", "prompt"}

    def test_labels_are_made_where_there_are_none(self, spatial_dims):
        _, labels = preparing(spatial_dims)(batch(spatial_dims, label=False))
        assert labels.dtype == torch.uint8 and labels.shape[:2] == (COUNT, 1)
        assert all(int(label.max()) == 1 for label in labels)

    def test_refused_images_stay_as_they_are(self, spatial_dims):
        given = batch(spatial_dims)
        synthesizer = toy_synthesizer(spatial_dims, gate=QualityGate(iou=1.0), batch_size=2)
        prepare = DiffusionAbnormalityPrepareBatch(synthesizer, 1.0)
        images, labels = prepare(given)
        assert torch.equal(images, given["image"]) and not labels.any()
        assert (prepare.tried, prepare.accepted) == (COUNT, 0) and not any(one.accepted for one in prepare.records)

    def test_all_chosen_images_share_one_call(self, spatial_dims):
        prepare, calls = preparing(spatial_dims), []
        together = prepare.synthesizer.batch
        prepare.synthesizer.batch = lambda requests: calls.append(len(requests)) or together(requests)
        prepare(batch(spatial_dims))
        assert calls == [COUNT]

    def test_autocast_and_gradients_of_the_caller_stay_out(self, spatial_dims):
        plain, _ = preparing(spatial_dims)(batch(spatial_dims))
        with torch.autocast("cpu", torch.bfloat16), torch.enable_grad():
            images, _ = preparing(spatial_dims)(batch(spatial_dims))
        assert torch.equal(plain, images) and not images.requires_grad

    def test_scaling_comes_after(self, spatial_dims):
        images, _ = preparing(spatial_dims)(batch(spatial_dims))
        scaled, _ = preparing(spatial_dims, after=lambda values: values / 255)(batch(spatial_dims))
        assert torch.equal(scaled, images / 255)

    def test_arguments_of_the_trainer_reach_the_inner_preparation(self):
        given = {**batch(2), "age": torch.arange(COUNT)}
        prepare = preparing(2, 0.0, prepare=PrepareBatchExtraInput("age"), after=lambda values: values + 1)
        images, _, extra, named = prepare(given, "cpu", True, dtype=torch.float64)
        assert images.dtype == torch.float64 and torch.equal(images, given["image"].double() + 1)
        assert extra[0].tolist() == [0, 1, 2, 3] and named == {}
        images, _ = preparing(2, 0.0)(batch(2), "cpu", memory_format=torch.channels_last)
        assert images.is_contiguous(memory_format=torch.channels_last)

    @pytest.mark.parametrize("options", [{"prob": 1.5}, {"seed": -1}])
    def test_bad_numbers(self, options):
        with pytest.raises(ValueError, match="must"):
            DiffusionAbnormalityPrepareBatch(toy_synthesizer(2), **options)


def trainer(prepare, *, epochs: int) -> tuple[SupervisedTrainer, list[list[int]]]:
    network = nn.Conv2d(1, 1, 1)
    engine = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=[batch(2), batch(2)],
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.0),
        loss_function=lambda prediction, label: prediction.mean(),
        prepare_batch=prepare,
        train_handlers=[prepare],
    )
    seen: list[list[int]] = []
    engine.add_event_handler(
        Events.ITERATION_COMPLETED, lambda _: seen.append([-1 if one is None else one.seed for one in prepare.records])
    )
    return engine, seen


class TestTrainer:
    def test_a_resumed_training_draws_the_same(self):
        whole, seen = trainer(preparing(2, 0.5, seed=4), epochs=3)
        whole.run()
        assert len(seen) == 6 and len({seed for row in seen for seed in row}) > 3
        resumed, again = trainer(preparing(2, 0.5, seed=4), epochs=3)
        resumed.load_state_dict({"epoch": 1, "epoch_length": 2, "max_epochs": 3})
        resumed.run()
        assert again == seen[2:]

    def test_acceptance_of_the_epoch_is_a_metric(self):
        prepare = preparing(2, 1.0)
        engine, _ = trainer(prepare, epochs=2)
        engine.run()
        assert prepare.tried == 2 * COUNT and engine.state.metrics[METRIC] == prepare.accepted / prepare.tried
