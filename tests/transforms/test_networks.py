"""Real MONAI networks, tiny and untrained, behind the transforms and behind ``synthesizer.batch``."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset

from monai_diffaug import AbnormalitySynthesizer, RandDiffusionAbnormality, RandDiffusionAbnormalityd
from monai_diffaug.synthesis import ImageFormat, NetworkValidator, QualityGate, SynthesisRequest, WindowSampler
from tests.tiny_networks import tiny_inpainter, tiny_validator_net
from tests.toys import ball, toy_planner, toy_synthesizer
from tests.toys import toy_image as make_image

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")

ANY_OVERLAP = {"iou": 0.0, "iou_alone": True, "early_level": -1.0}  # untrained networks hit the mask by chance only


# Windows whose deepest grid in the denoiser is even: 3 x 3 x 3 cells do not fill vector registers, and then the same
# sample is rounded otherwise in another row of its batch.
WINDOWS = {2: 64, 3: 32}


def network_synthesizer(spatial_dims: int, *, batch_size: int = 1, guidance_scale: float = 1.0, **gate):
    planner = toy_planner(spatial_dims)
    planner.windows = WindowSampler((WINDOWS[spatial_dims],))
    return toy_synthesizer(
        spatial_dims,
        planner=planner,
        inpainter=tiny_inpainter(spatial_dims, guidance_scale=guidance_scale),
        validator=NetworkValidator(tiny_validator_net(spatial_dims)),
        gate=QualityGate(**{**ANY_OVERLAP, **gate}),
        batch_size=batch_size,
    )


@pytest.fixture
def networks(spatial_dims) -> AbnormalitySynthesizer:
    return network_synthesizer(spatial_dims)


def requests(spatial_dims: int, seeds: list[int]) -> list[dict]:
    return [{"image": make_image(spatial_dims, seed=seed), "seed": seed} for seed in seeds]


def test_transform_equals_the_synthesizer(networks, toy_image):
    image, label = RandDiffusionAbnormality(networks, 1.0).set_random_state(0)(toy_image)
    meta = image.meta["diffaug"]
    result = networks(toy_image, seed=meta["seed"])
    assert meta["accepted"] and meta["iou"] == result.record.iou and meta["prompt"] == result.record.prompt
    assert (image.numpy() == result.image).all() and (label.numpy() == result.label).all()


@pytest.mark.parametrize(("dtype", "scale"), [(np.uint8, 1), (np.int16, 1), (np.float32, 255)])
def test_bits_outside_the_paint_mask_stay(spatial_dims, dtype, scale):
    synthesizer = network_synthesizer(spatial_dims)
    synthesizer.images = ImageFormat(spatial_dims, 1, (0.0, 255.0 / scale))
    image = (make_image(spatial_dims) / scale).astype(dtype)
    mask = ball(spatial_dims, 6)
    painted, label = RandDiffusionAbnormality(synthesizer, 1.0).set_random_state(0)(image, mask=mask)
    assert painted.meta["diffaug"]["accepted"] and (label[0].numpy() == mask).all()
    changed = (painted.numpy() != image).any(0)
    assert painted.numpy().dtype == dtype and changed[mask].mean() > 0.8
    assert not changed[~synthesizer.planner.paint(mask, None)].any()


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_batch_mates_do_not_matter(spatial_dims, guidance_scale):
    synthesizer = network_synthesizer(spatial_dims, batch_size=2, guidance_scale=guidance_scale, iou=0.02)
    together = synthesizer.batch(requests(spatial_dims, [0, 1, 2]))
    for seed, sample in zip([0, 1, 2], together, strict=True):
        alone = synthesizer.batch(requests(spatial_dims, [seed]))[0]
        assert sample.record == alone.record
        assert (sample.image == alone.image).all() and (sample.label == alone.label).all()
    reordered = synthesizer.batch(requests(spatial_dims, [2, 0, 1]))
    assert all(
        (one.image == other.image).all() for one, other in zip(reordered, [*together[2:], *together], strict=False)
    )


def test_every_attempt_has_noise_of_its_own(networks, spatial_dims, toy_image):
    refusing = network_synthesizer(spatial_dims, iou=1.0)
    image, label = RandDiffusionAbnormality(refusing, 1.0).set_random_state(0)(toy_image)
    meta = image.meta["diffaug"]
    assert (meta["accepted"], meta["attempts"]) == (False, 4)
    assert (image.numpy() == toy_image).all() and not label.any()
    attempts = refusing(toy_image, seed=meta["seed"]).record.attempts
    assert len({attempt.seed for attempt in attempts}) == len({attempt.iou for attempt in attempts}) == 4
    assert attempts[0].seed == networks(toy_image, seed=meta["seed"]).record.attempts[0].seed


class BlindOnce:
    """A validator that sees nothing in the first painting; its first call of all is for the window as it is."""

    def __init__(self, spatial_dims: int) -> None:
        self.validator, self.calls = NetworkValidator(tiny_validator_net(spatial_dims)), 0

    def __call__(self, latent, source, size):
        self.calls += 1
        return self.validator(latent, source, size) * (self.calls != 2)


def test_second_attempt_is_delivered(networks, spatial_dims, toy_image):
    renderer = networks.renderer
    renderer.validator = BlindOnce(spatial_dims)
    image, label = RandDiffusionAbnormality(networks, 1.0).set_random_state(0)(toy_image)
    meta = image.meta["diffaug"]
    assert (meta["accepted"], meta["attempts"]) == (True, 2)
    renderer.validator = BlindOnce(spatial_dims)
    result = networks(toy_image, seed=meta["seed"])
    assert [attempt.accepted for attempt in result.record.attempts] == [False, True]
    again = networks.replay(SynthesisRequest(toy_image, meta["seed"], mask=result.mask), result.record)
    assert (image.numpy() == again.image).all() and (label.numpy() == again.label).all()
    first = network_synthesizer(spatial_dims)(toy_image, seed=meta["seed"])
    assert (first.image != again.image).any()


def test_hopeless_samples_are_stopped_early(spatial_dims, toy_image):
    eager = network_synthesizer(spatial_dims, iou=1.0, early_level=1.0)
    attempts = eager(toy_image, seed=0).record.attempts
    assert len(attempts) == 4 and all(attempt.stopped_early and not attempt.accepted for attempt in attempts)


def test_global_random_state_and_networks_are_left_alone(networks, toy_image):
    weights = [weight.clone() for weight in networks.renderer.inpainter.denoiser.parameters()]
    before = torch.get_rng_state()
    RandDiffusionAbnormality(networks, 1.0).set_random_state(0)(toy_image)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = zip(weights, networks.renderer.inpainter.denoiser.parameters(), strict=True)
    assert all(torch.equal(one, other) and other.grad is None for one, other in pairs)


def test_training_on_the_output(networks, spatial_dims, toy_image):
    image, label = RandDiffusionAbnormality(networks, 1.0).set_random_state(0)(toy_image.astype(np.float32))
    conv = (torch.nn.Conv2d if spatial_dims == 2 else torch.nn.Conv3d)(1, 1, 3, padding=1)
    logits = conv(image[None])
    torch.nn.functional.binary_cross_entropy_with_logits(logits, label[None].float()).backward()
    assert conv.weight.grad.abs().sum() > 0


def test_pickled_transform_gives_the_same(networks, toy_image):
    transform = RandDiffusionAbnormalityd("image", "label", networks, 1.0).set_random_state(0)
    other = pickle.loads(pickle.dumps(transform))
    one, two = transform({"image": toy_image}), other({"image": toy_image})
    assert torch.equal(one["image"], two["image"]) and one["image"].meta["diffaug"] == two["image"].meta["diffaug"]


def test_forked_workers_give_what_the_seed_makes(networks, spatial_dims, toy_image):
    transform = RandDiffusionAbnormalityd("image", "label", networks, 1.0)
    transform({"image": toy_image})  # the parent has run the networks before it forks
    loader = DataLoader(
        Dataset([{"image": toy_image}] * 4, transform), batch_size=1, num_workers=2, multiprocessing_context="fork"
    )
    for batch in loader:
        result = networks(toy_image, seed=int(batch["image"].meta["diffaug"]["seed"][0]))
        assert (batch["image"][0].numpy() == result.image).all()
