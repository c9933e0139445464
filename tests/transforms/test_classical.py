"""Copy-paste and CarveMix: what changes and what does not, labels, spacing, the random state, what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Compose

from monai_diffaug import LesionDonors, RandCarveMix, RandCarveMixd, RandLesionCopyPaste, RandLesionCopyPasted
from tests.toys import ball, toy_image

VALUE = 3
ARRAYS = [RandLesionCopyPaste, RandCarveMix]
PAIRS = [(RandLesionCopyPaste, RandLesionCopyPasted), (RandCarveMix, RandCarveMixd)]


def case(spatial_dims: int, *, seed: int = 0, radius: float = 5) -> dict[str, Any]:
    """Return an image with one bright ball, and its label."""
    image, mask = toy_image(spatial_dims, seed=seed), ball(spatial_dims, radius)
    image[:, mask] = 250
    return {"image": image, "label": (VALUE * mask).astype(np.uint8)}


def donors(spatial_dims: int) -> LesionDonors:
    return LesionDonors([case(spatial_dims, seed=seed) for seed in (1, 2)])


@pytest.mark.parametrize("kind", ARRAYS)
def test_a_lesion_is_put_in_and_the_rest_stays(spatial_dims, kind):
    image = toy_image(spatial_dims)
    mixed, label = kind(donors(spatial_dims), 1.0).set_random_state(2)(image)
    changed = (mixed.numpy() != image).any(0)
    assert set(np.unique(label)) == {0, VALUE} and label.shape == (1, *image.shape[1:])
    assert mixed.dtype == torch.uint8 and 0 < changed.mean() < 0.5
    assert changed[label.numpy()[0] > 0].mean() > 0.8  # but where both have the same value


@pytest.mark.parametrize("kind", ARRAYS)
def test_probability_0_is_identity(spatial_dims, kind):
    image = toy_image(spatial_dims)
    mixed, label = kind(donors(spatial_dims), 0.0).set_random_state(0)(image)
    assert (mixed.numpy() == image).all() and not label.any()


@pytest.mark.parametrize("kind", ARRAYS)
def test_same_state_same_bytes(spatial_dims, kind):
    image, made = toy_image(spatial_dims), []
    for _ in range(2):
        transform = kind(donors(spatial_dims), 0.5).set_random_state(7)
        made.append([transform(image)[0].numpy() for _ in range(6)])
    assert all((a == b).all() for a, b in zip(*made, strict=True))
    assert len({a.tobytes() for a in made[0]}) > 2


@pytest.mark.parametrize("kind", ARRAYS)
def test_the_stream_does_not_depend_on_the_probability(spatial_dims, kind):
    image = toy_image(spatial_dims)
    always, mostly = (kind(donors(spatial_dims), prob).set_random_state(5) for prob in (1.0, 0.6))
    pairs = [(always(image)[0].numpy(), mostly(image)[0].numpy()) for _ in range(8)]
    assert all((a == b).all() or (b == image).all() for a, b in pairs)
    assert any((a == b).all() for a, b in pairs) and any((b == image).all() for _, b in pairs)


def test_pasted_lesions_keep_clear_of_what_is_there(spatial_dims):
    image = toy_image(spatial_dims)
    label = np.zeros(image.shape[1:], np.int16)
    label[..., : label.shape[-1] // 2] = 9
    transform = RandLesionCopyPaste(donors(spatial_dims), 1.0, scale=(0.5, 0.7)).set_random_state(0)
    for _ in range(6):
        mixed, merged = transform(image, label)
        assert (merged.numpy()[label == 9] == 9).all() and merged.shape == label.shape and merged.dtype == torch.int16
        assert (mixed.numpy()[:, label == 9] == image[:, label == 9]).all()


def test_pasted_lesions_lie_in_the_organ(spatial_dims):
    image = toy_image(spatial_dims)
    label = np.zeros(image.shape[1:], np.uint8)
    label[..., label.shape[-1] // 2 :] = 4
    transform = RandLesionCopyPaste(donors(spatial_dims), 1.0, scale=(0.5, 0.7), organ=[4]).set_random_state(0)
    found = [transform(image, label)[1].numpy() == VALUE for _ in range(6)]
    assert any(mask.any() for mask in found) and all((label[mask] == 4).all() for mask in found)


def test_several_lesions(spatial_dims):
    transform = RandLesionCopyPaste(donors(spatial_dims), 1.0, count=(2, 2), scale=(0.4, 0.5)).set_random_state(1)
    image = MetaTensor(torch.from_numpy(toy_image(spatial_dims)))
    assert [transform(image)[0].meta["copy_paste"]["pasted"] for _ in range(4)].count(2) >= 2


def test_no_room_is_no_lesion(spatial_dims):
    image = toy_image(spatial_dims)
    mixed, label = RandLesionCopyPaste(donors(spatial_dims), 1.0)(image, np.full(image.shape[1:], 2, np.uint8))
    assert (mixed.numpy() == image).all() and (label == 2).all()


def test_sizes_are_those_of_the_world(spatial_dims):
    """Between pixels of other sizes a lesion keeps its extent in mm."""
    affine = np.eye(4)
    affine[range(spatial_dims), range(spatial_dims)] = 2.0
    image = MetaTensor(torch.from_numpy(toy_image(spatial_dims)), affine=torch.from_numpy(affine))
    bank = LesionDonors([{**case(spatial_dims, radius=6), "spacing": (1.0,) * spatial_dims}])
    transform = RandLesionCopyPaste(bank, 1.0, scale=(1.0, 1.0)).set_random_state(0)
    counts = [int((transform(image)[1] > 0).sum()) for _ in range(4)]
    expected = bank[0].mask.sum() / 2**spatial_dims
    assert all(0.6 * expected < count < 1.6 * expected for count in counts if count) and any(counts)


def test_carve_mix_takes_the_donors_values_and_place(spatial_dims):
    bank, image = donors(spatial_dims), toy_image(spatial_dims)
    for seed in range(6):
        transform = RandCarveMix(bank, 1.0).set_random_state(seed)
        mixed, label = transform(image)
        theirs = case(spatial_dims, seed=(1, 2)[transform._donor])
        changed = (mixed.numpy() != image).any(0)
        assert (mixed.numpy()[:, changed] == theirs["image"][:, changed]).all()
        assert (theirs["label"][label.numpy()[0] == VALUE] == VALUE).all()


def test_carve_mix_between_images_of_other_sizes(spatial_dims):
    image = np.full((1, *(40,) * spatial_dims), 90, np.uint8)
    mixed, label = RandCarveMix(donors(spatial_dims), 1.0).set_random_state(0)(image)
    assert mixed.shape == image.shape and label.any()


@pytest.mark.parametrize(("array", "dictionary"), PAIRS)
def test_dictionary_and_array_forms_are_one(spatial_dims, array, dictionary):
    image, bank = toy_image(spatial_dims), donors(spatial_dims)
    label = np.zeros((1, *image.shape[1:]), np.uint8)
    expected = array(bank, 1.0).set_random_state(4)(image, label)
    item = dictionary("image", "label", bank, 1.0).set_random_state(4)({"image": image, "label": label, "id": "a"})
    assert torch.equal(torch.as_tensor(item["image"]), torch.as_tensor(expected[0])) and item["id"] == "a"
    assert torch.equal(torch.as_tensor(item["label"]), torch.as_tensor(expected[1]))


@pytest.mark.parametrize("dictionary", [RandLesionCopyPasted, RandCarveMixd])
def test_in_a_loader(spatial_dims, dictionary):
    items = [{"image": toy_image(spatial_dims, seed=seed)} for seed in range(4)]
    transform = Compose([dictionary("image", "label", donors(spatial_dims), 0.5)]).set_random_state(0)
    (batch,) = DataLoader(Dataset(items, transform), batch_size=4)
    assert batch["image"].shape[0] == batch["label"].shape[0] == 4
    pickle.loads(pickle.dumps(transform))


class TestDonors:
    def test_each_lesion_of_each_class(self, spatial_dims):
        one = case(spatial_dims)
        one["label"][(slice(0, 4),) * spatial_dims] = 1
        one["label"][..., -1] = 8
        bank = LesionDonors([one], ignored=[8])
        assert [donor.value for donor in bank.donors] == [1, VALUE]
        assert bank[1].mask.sum() == ball(spatial_dims, 5).sum()

    def test_meta_tensors_tell_their_spacing(self, spatial_dims):
        affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
        one = case(spatial_dims)
        bank = LesionDonors([{**one, "image": MetaTensor(torch.from_numpy(one["image"]), affine=affine)}])
        assert bank[0].spacing == (2.0, 3.0, 4.0)[:spatial_dims]

    def test_no_lesion(self, spatial_dims):
        one = case(spatial_dims)
        with pytest.raises(ValueError, match="none of 1 cases has a lesion of 12 pixels"):
            LesionDonors([{**one, "label": 0 * one["label"]}])

    def test_a_label_of_another_shape(self, spatial_dims):
        with pytest.raises(ValueError, match="case 0 has an image of shape"):
            LesionDonors([{**case(spatial_dims), "label": np.ones((5, 5), np.uint8)}])

    @pytest.mark.parametrize("kind", ARRAYS)
    def test_an_image_of_another_kind(self, spatial_dims, kind):
        with pytest.raises(ValueError, match="the donors have 1 channels"):
            kind(donors(spatial_dims), 1.0)(np.zeros((3, *(40,) * spatial_dims), np.uint8))


@pytest.mark.parametrize(
    "numbers", [{"prob": 1.5}, {"count": (0, 1)}, {"count": (3, 2)}, {"scale": (0, 1)}, {"contrast": -1}]
)
def test_numbers(numbers):
    with pytest.raises(ValueError, match="prob must lie in"):
        RandLesionCopyPaste(donors(2), **numbers)
