"""The transforms by themselves: what goes in, what comes out, what is drawn, and what the metadata tell."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_diffaug import (
    RandDiffusionAbnormality,
    RandDiffusionAbnormalityD,
    RandDiffusionAbnormalityd,
    RandDiffusionAbnormalityDict,
)
from monai_diffaug.synthesis import Abnormality, QualityGate
from tests.toys import ball, toy_image, toy_planner, toy_synthesizer

SIX = {"applied": bool, "accepted": bool, "iou": float, "attempts": int, "seed": int, "prompt": str}
NEVER = QualityGate(iou=1.0)  # the overlap must be above it


def changed(image, original) -> np.ndarray:
    """Return where any channel differs in any bit, bool (*spatial)."""
    return (np.asarray(image) != np.asarray(original)).any(0)


def record(image) -> dict:
    return image.meta["diffaug"]


@pytest.fixture
def refusing(spatial_dims):
    """A synthesizer whose gate accepts nothing."""
    return toy_synthesizer(spatial_dims, gate=NEVER)


class TestMetadata:
    @pytest.mark.parametrize(("prob", "gate"), [(0.0, None), (1.0, None), (1.0, NEVER)], ids=["not", "yes", "refused"])
    def test_six_entries_of_equal_types(self, toy_image, spatial_dims, prob, gate):
        transform = RandDiffusionAbnormality(toy_synthesizer(spatial_dims, gate=gate), prob).set_random_state(0)
        meta = record(transform(toy_image)[0])
        assert {name: type(value) for name, value in meta.items()} == SIX
        assert (meta["applied"], meta["accepted"]) == (prob > 0, prob > 0 and gate is None)

    def test_refused_sample_is_the_source(self, toy_image, refusing, spatial_dims):
        label = ball(spatial_dims, 3, centre=[6] * spatial_dims).astype(np.int16)[None]
        image, merged = RandDiffusionAbnormality(refusing, 1.0).set_random_state(0)(toy_image, label)
        assert record(image)["attempts"] == 4 and not record(image)["accepted"]
        assert not changed(image, toy_image).any() and (merged.numpy() == label).all()

    def test_seed_makes_the_sample_again(self, toy_image, synthesizer):
        image, label = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(5)(toy_image)
        result = synthesizer(toy_image, seed=record(image)["seed"])
        assert (image.numpy() == result.image).all() and (label.numpy() == result.label).all()
        assert record(image)["prompt"] == result.record.prompt and record(image)["iou"] == result.record.iou
        assert record(image)["attempts"] == len(result.record.attempts)

    def test_changed_within_the_paint_mask_only(self, toy_image, synthesizer, spatial_dims):
        mask = ball(spatial_dims, 6)
        image, label = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)(toy_image, mask=mask)
        assert record(image)["accepted"] and (label[0].numpy() == mask).all()
        paint = synthesizer.planner.paint(mask, None)
        assert changed(image, toy_image)[mask].mean() > 0.8 and not changed(image, toy_image)[~paint].any()


class TestProbability:
    def test_zero_is_identity(self, toy_image, synthesizer, spatial_dims):
        affine = np.diag([2.0, 3.0, 4.0, 1.0])
        given = MetaTensor(torch.from_numpy(toy_image), affine=affine, meta={"name": "case"})
        label = MetaTensor(torch.from_numpy(ball(spatial_dims, 4)[None].astype(np.int64)), meta={"name": "label"})
        image, same = RandDiffusionAbnormality(synthesizer, prob=0.0)(given, label)
        assert type(image) is MetaTensor and image.dtype == given.dtype and torch.equal(image, given)
        assert type(same) is MetaTensor and same.dtype == label.dtype and torch.equal(same, label)
        assert same.meta == label.meta
        assert {key for key in image.meta if key not in given.meta} == {"diffaug"}
        assert torch.equal(image.affine, given.affine) and image.meta["name"] == "case"

    @pytest.mark.parametrize("prob", [-0.1, 1.5, float("nan")])
    def test_outside_0_to_1_is_refused(self, prob):
        synthesizer = toy_synthesizer(2)
        with pytest.raises(ValueError, match="prob must lie in"):
            RandDiffusionAbnormality(synthesizer, prob)
        with pytest.raises(ValueError, match="prob must lie in"):
            RandDiffusionAbnormalityd("image", "label", synthesizer, prob)

    def test_share_of_samples(self, refusing, toy_image):
        transform = RandDiffusionAbnormality(refusing, 0.3).set_random_state(0)
        applied = []
        for _ in range(200):
            transform.randomize()
            applied.append(transform._do_transform)
        assert 0.2 < np.mean(applied) < 0.4


class TestRandomness:
    def test_stream_ignores_what_the_network_returns(self, toy_image, synthesizer, refusing):
        streams = []
        for one in (synthesizer, refusing):
            transform = RandDiffusionAbnormality(one, 0.5).set_random_state(1)
            metas = [record(transform(toy_image)[0]) for _ in range(8)]
            streams.append([(meta["applied"], meta["seed"]) for meta in metas])
        assert streams[0] == streams[1] and {applied for applied, _ in streams[0]} == {True, False}
        always = RandDiffusionAbnormality(refusing, 1.0).set_random_state(1)
        seeds = [record(always(toy_image)[0])["seed"] for _ in range(8)]
        assert all(seed == theirs for seed, (applied, theirs) in zip(seeds, streams[0], strict=True) if applied)

    def test_same_state_same_samples_in_both_forms(self, toy_image, synthesizer):
        array = [RandDiffusionAbnormality(synthesizer, 0.7).set_random_state(3) for _ in range(2)]
        dictionary = RandDiffusionAbnormalityd("image", "label", synthesizer, 0.7).set_random_state(3)
        for _ in range(4):
            (one, label), (other, _) = (transform(toy_image) for transform in array)
            item = dictionary({"image": toy_image})
            assert torch.equal(one, other) and torch.equal(one, item["image"]) and torch.equal(label, item["label"])
            assert record(one) == record(other) == record(item["image"])

    def test_state_object(self, toy_image, synthesizer):
        state = np.random.RandomState(3)
        item = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0).set_random_state(state=state)(
            {"image": toy_image}
        )
        image, _ = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(3)(toy_image)
        assert torch.equal(item["image"], image)

    def test_without_randomize_the_draw_is_used_again(self, toy_image, synthesizer):
        transform = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)
        first, _ = transform(toy_image)
        again, _ = transform(toy_image, randomize=False)
        fresh, _ = transform(toy_image)
        assert torch.equal(first, again) and not torch.equal(first, fresh)

    def test_global_random_state_is_left_alone(self, toy_image, synthesizer):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - that it is not used is tested
        RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)(toy_image)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


class TestLabel:
    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32])
    def test_type_does_not_depend_on_the_draw(self, toy_image, synthesizer, spatial_dims, dtype):
        label = ball(spatial_dims, 2, centre=[4] * spatial_dims).astype(dtype)
        for shaped in (label, label[None]):
            made = [RandDiffusionAbnormality(synthesizer, p).set_random_state(0)(toy_image, shaped)[1] for p in (0, 1)]
            assert made[0].dtype == made[1].dtype == torch.from_numpy(shaped).dtype
            assert type(made[0]) is type(made[1]) is MetaTensor and made[0].shape == made[1].shape == shaped.shape
            assert (made[1].numpy()[shaped != 0] == shaped[shaped != 0]).all()
            assert (made[1] > 0).sum() > (made[0] > 0).sum()

    def test_made_where_there_is_none(self, toy_image, synthesizer):
        image = MetaTensor(torch.from_numpy(toy_image), affine=np.diag([2.0, 2.0, 2.0, 1.0]))
        made = [
            RandDiffusionAbnormalityd("image", "label", synthesizer, p).set_random_state(0)({"image": image})["label"]
            for p in (0, 1)
        ]
        assert {(type(label), label.dtype, label.shape) for label in made} == {
            (MetaTensor, torch.uint8, (1, *toy_image.shape[1:]))
        }
        assert all(torch.equal(label.affine, image.affine) for label in made)
        assert not made[0].any() and made[1].any() and "diffaug" not in made[1].meta

    def test_without_a_label_key_no_label_is_touched(self, toy_image, synthesizer):
        label = object()
        item = RandDiffusionAbnormalityd("image", None, synthesizer, 1.0)({"image": toy_image, "label": label})
        assert item["label"] is label and set(item) == {"image", "label"}
        assert set(RandDiffusionAbnormalityd("image", None, synthesizer, 1.0)({"image": toy_image})) == {"image"}

    def test_class(self, toy_image, spatial_dims):
        planner = toy_planner(spatial_dims, abnormalities=[Abnormality("polyp", 1), Abnormality("lesion", 2)])
        synthesizer = toy_synthesizer(spatial_dims, planner=planner)
        transform = RandDiffusionAbnormality(synthesizer, 1.0, abnormality="lesion").set_random_state(0)
        assert int(transform(toy_image)[1].max()) == 2
        with pytest.raises(ValueError, match="'cyst' is unknown.*polyp, lesion"):
            RandDiffusionAbnormality(synthesizer, 1.0, abnormality="cyst")(toy_image)


class TestKeys:
    def test_mask_regions_and_prompt(self, toy_image, synthesizer, spatial_dims):
        keys = {"mask_key": "mask", "regions_key": "regions", "prompt_key": "prompt"}
        transform = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0, **keys).set_random_state(0)
        mask, regions = ball(spatial_dims, 5)[None], ball(spatial_dims, 10)[None]
        made = transform({"image": toy_image, "mask": mask, "prompt": "polyp, redder"})
        assert record(made["image"])["prompt"] == "polyp, redder"
        assert (made["label"].numpy() == mask).all() and made["mask"] is mask
        made = transform({"image": toy_image, "regions": MetaTensor(torch.from_numpy(regions))})
        assert made["label"].any() and not made["label"].numpy()[~regions].any()
        with pytest.raises(ValueError, match="pixels lie where nothing may be painted"):
            transform({"image": toy_image, "mask": mask, "regions": ~mask})

    def test_missing_image(self, synthesizer):
        with pytest.raises(KeyError, match="image"):
            RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0)({"other": 1})
        lenient = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0, allow_missing_keys=True)
        assert lenient({"other": 1}) == {"other": 1}

    def test_one_image_key(self):
        with pytest.raises(ValueError, match="one image key is needed, got .*'a', 'b'"):
            RandDiffusionAbnormalityd(["a", "b"], "label", toy_synthesizer(2))

    def test_aliases(self):
        assert RandDiffusionAbnormalityD is RandDiffusionAbnormalityDict is RandDiffusionAbnormalityd


class TestData:
    @pytest.mark.parametrize(
        ("dtype", "intensity_range"),
        [(np.uint8, (0, 255)), (np.int16, (-200, 300)), (np.float32, (0, 1)), (np.float64, (0, 255))],
    )
    def test_dtype_is_kept_and_other_bits_too(self, spatial_dims, dtype, intensity_range):
        image = toy_image(spatial_dims, dtype=dtype)
        image = (image / 255).astype(dtype) if intensity_range == (0, 1) else image
        synthesizer = toy_synthesizer(spatial_dims, intensity_range=intensity_range)
        mask = ball(spatial_dims, 7)
        painted, _ = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)(image, mask=mask)
        assert record(painted)["accepted"] and painted.numpy().dtype == dtype
        difference = changed(painted, image)
        assert difference.any() and not difference[~synthesizer.planner.paint(mask, None)].any()
        assert intensity_range[0] <= painted.min() and painted.max() <= intensity_range[1]

    def test_every_container_gives_the_same(self, toy_image, synthesizer):
        tensor = torch.from_numpy(toy_image)
        backwards = np.asfortranarray(toy_image[..., ::-1])[..., ::-1]
        made = [
            RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)(image)
            for image in (toy_image, backwards, tensor, tensor.clone().requires_grad_(False), MetaTensor(tensor))
        ]
        assert all(type(image) is MetaTensor and image.device == tensor.device for image, _ in made)
        assert all(torch.equal(image, made[0][0]) and torch.equal(label, made[0][1]) for image, label in made)

    def test_nothing_given_is_modified(self, toy_image, synthesizer, spatial_dims):
        item = {
            "image": MetaTensor(torch.from_numpy(toy_image), meta={"name": "case"}),
            "label": ball(spatial_dims, 2, centre=[4] * spatial_dims)[None].astype(np.uint8),
            "mask": ball(spatial_dims, 5),
        }
        before = copy.deepcopy(item)
        made = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0, mask_key="mask")(item)
        assert list(item) == list(before) and item["image"].meta == before["image"].meta
        assert all((np.asarray(item[key]) == np.asarray(before[key])).all() for key in item)
        made["image"].meta["name"] = "other"
        made["image"] += 1
        assert item["image"].meta["name"] == "case" and torch.equal(item["image"], before["image"])

    def test_bad_image_is_refused_in_one_sentence(self, synthesizer, toy_image):
        transform = RandDiffusionAbnormality(synthesizer, 1.0)
        with pytest.raises(ValueError, match="image has 2 channels but this bundle takes 1"):
            transform(np.concatenate([toy_image, toy_image]))
        with pytest.raises(ValueError, match="NaN or infinite"):
            transform(np.full(toy_image.shape, np.nan, np.float32))
        with pytest.raises(ValueError, match="label has shape"):
            transform(toy_image, toy_image[:, 1:])


class TestUse:
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies_give_the_same(self, toy_image, synthesizer, copied):
        transform = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0).set_random_state(0)
        transform({"image": toy_image})
        other = copied(transform)
        for _ in range(2):
            one, two = transform({"image": toy_image}), other({"image": toy_image})
            assert torch.equal(one["image"], two["image"]) and torch.equal(one["label"], two["label"])

    def test_training_on_the_output(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims, intensity_range=(0, 1))
        image = torch.from_numpy(toy_image(spatial_dims, dtype=np.float32) / 255)
        transform = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)
        conv = (torch.nn.Conv2d if spatial_dims == 2 else torch.nn.Conv3d)(1, 1, 3, padding=1)
        batch = [torch.stack(two) for two in zip(transform(image), transform(image), strict=True)]
        for images, labels in (transform(image), batch):
            conv.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(conv(images), labels.float())
            loss.backward()
            assert torch.is_grad_enabled() and conv.weight.grad.abs().sum() > 0
        painted, _ = transform(image)
        painted.requires_grad_()
        (painted * painted).sum().backward()
        assert torch.equal(painted.grad, 2 * painted.detach().as_tensor())

    def test_cuda_in_forked_workers_is_refused(self, monkeypatch, toy_image, synthesizer):
        monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: object())
        monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
        transform = RandDiffusionAbnormalityd("image", "label", synthesizer, 1.0).set_random_state(0)
        assert record(transform({"image": toy_image})["image"])["applied"]  # on the CPU forking is harmless
        monkeypatch.setattr(synthesizer.renderer, "device", torch.device("cuda"))
        with pytest.raises(RuntimeError, match="CUDA cannot run in forked data-loading workers; use num_workers=0"):
            transform({"image": toy_image})
        assert not record(RandDiffusionAbnormality(synthesizer, 0.0)(toy_image)[0])["applied"]
