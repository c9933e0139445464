"""What every ``Inpainter`` promises. A new one is one more line in ``INPAINTERS``."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import Canvas, TextureInpainter
from tests.tiny_networks import tiny_inpainter

INPAINTERS = {
    "texture": lambda spatial_dims: TextureInpainter(),
    "diffusion": tiny_inpainter,
    "guided diffusion": lambda spatial_dims: tiny_inpainter(spatial_dims, steps=3, guidance_scale=2.0),
}
SIDE = 16
PROMPTS = ["a red polyp", "a pale lesion", "smooth polyp"]
SEEDS = [11, 12, 13]


@pytest.fixture(params=list(INPAINTERS))
def inpainter(request, spatial_dims):
    return INPAINTERS[request.param](spatial_dims)


def windows(spatial_dims, count=3, seed=0):
    """Return images in [-1, 1], (N, 1, *size)."""
    shape = (count, 1, *[SIDE] * spatial_dims)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def make_canvas(inpainter, images):
    dims = images.ndim - 2
    label, paint = torch.zeros_like(images), torch.zeros_like(images)
    label[(..., *[slice(5, 11)] * dims)] = 1
    paint[(..., *[slice(4, 12)] * dims)] = 1
    blanked = inpainter.encode(torch.where(paint > 0, 0.0, images))
    return Canvas(inpainter.encode(images), blanked, label, paint, torch.linspace(-1, 1, len(images)))


def take(canvas, order):
    return replace(canvas, **{name: value[order] for name, value in vars(canvas).items() if name != "begins"})


class TestInpainter:
    def test_encode_is_deterministic_and_keeps_its_input(self, inpainter, spatial_dims):
        images = windows(spatial_dims)
        before = images.clone()
        latent = inpainter.encode(images)
        assert torch.equal(latent, inpainter.encode(images)) and torch.equal(images, before)
        assert latent.dtype == torch.float32 and latent.ndim == images.ndim and len(latent) == 3
        assert torch.isfinite(latent).all()

    def test_decode_gives_windows_in_range(self, inpainter, spatial_dims):
        latent = inpainter.encode(windows(spatial_dims)) * 3
        image = inpainter.decode(latent)
        assert image.shape == (3, 1, *[SIDE] * spatial_dims) and image.dtype == torch.float32
        assert image.min() >= -1 and image.max() <= 1
        assert torch.equal(image, inpainter.decode(latent))

    def test_a_painted_latent_has_the_sources_shape_and_differs(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        assert painted.shape == canvas.source.shape and painted.dtype == torch.float32
        assert torch.isfinite(painted).all()
        assert all(not torch.equal(one, other) for one, other in zip(painted, canvas.source, strict=True))

    def test_what_it_is_given_stays(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        before = vars(copy.deepcopy(canvas))
        inpainter.inpaint(canvas, PROMPTS, SEEDS)
        assert canvas.begins == before.pop("begins")
        assert all(torch.equal(getattr(canvas, name), value) for name, value in before.items())

    def test_same_seed_same_bytes_and_other_seeds_differ(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        assert torch.equal(painted, inpainter.inpaint(canvas, PROMPTS, SEEDS))
        other = inpainter.inpaint(canvas, PROMPTS, [21, 12, 23])
        assert [torch.equal(a, b) for a, b in zip(painted, other, strict=True)] == [False, True, False]

    def test_order_and_batch_mates_do_not_matter(self, inpainter, spatial_dims):
        """Bit for bit, at equal batch shape."""
        images = windows(spatial_dims)
        canvas = make_canvas(inpainter, images)
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        order = [2, 0, 1]
        moved = inpainter.inpaint(take(canvas, order), [PROMPTS[k] for k in order], [SEEDS[k] for k in order])
        assert torch.equal(moved, painted[order])
        padded = inpainter.inpaint(take(canvas, [1, 1, 1]), [PROMPTS[1]] * 3, [SEEDS[1]] * 3)
        assert all(torch.equal(one, painted[1]) for one in padded)

    def test_batch_mates_do_not_matter_to_encode_and_decode(self, inpainter, spatial_dims):
        images, others = windows(spatial_dims), windows(spatial_dims, seed=1)
        mixed = torch.cat([others[:1], images[:1], others[1:2]])
        latent = inpainter.encode(images)
        assert torch.equal(inpainter.encode(mixed)[1], latent[0])
        decoded = inpainter.decode(latent)
        assert torch.equal(inpainter.decode(latent[[2, 0, 1]]), decoded[[2, 0, 1]])

    def test_a_sample_alone_is_nearly_the_same(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        alone = inpainter.inpaint(take(canvas, [1]), PROMPTS[1:2], SEEDS[1:2])
        assert torch.allclose(alone[0], painted[1], atol=1e-4)

    def test_the_text_has_an_effect(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        one = inpainter.inpaint(canvas, ["smooth polyp"] * 3, SEEDS)
        other = inpainter.inpaint(canvas, ["rough polyp"] * 3, SEEDS)
        assert not torch.equal(one, other)

    def test_the_background_is_held(self, inpainter, spatial_dims):
        """More than a latent cell away from the paint mask, the latent is the source's."""
        side = 2 * SIDE + 8
        images = torch.rand((3, 1, *[side] * spatial_dims), generator=torch.Generator().manual_seed(0)) * 2 - 1
        canvas = make_canvas(inpainter, images)
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        cells = painted.shape[-1]
        far = cells // 2
        for axis in range(2, 2 + spatial_dims):
            rest = axis, far, cells - far
            assert torch.equal(painted.narrow(*rest), canvas.source.narrow(*rest))

    def test_keep_is_asked_with_level_and_denoised(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        asked = []

        def keep(level, denoised):
            asked.append((level, denoised.clone()))
            return torch.ones(len(denoised), dtype=torch.bool)

        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS, keep)
        # The texture is painted at once: it has no unfinished sample to ask about.
        assert bool(asked) != isinstance(inpainter, TextureInpainter)
        assert all(0 <= level <= 1 and isinstance(level, float) for level, _ in asked)
        assert all(denoised.shape == canvas.source.shape for _, denoised in asked)
        assert [level for level, _ in asked] == sorted((level for level, _ in asked), reverse=True)
        # Asking changes nothing.
        assert torch.equal(painted, inpainter.inpaint(canvas, PROMPTS, SEEDS))

    def test_when_nothing_is_kept_it_may_stop_but_still_returns_latents(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        painted = inpainter.inpaint(
            canvas, PROMPTS, SEEDS, lambda level, denoised: torch.zeros(len(denoised), dtype=torch.bool)
        )
        assert painted.shape == canvas.source.shape

    def test_refusing_one_does_not_change_another(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        partly = inpainter.inpaint(canvas, PROMPTS, SEEDS, lambda level, denoised: torch.tensor([False, True, True]))
        assert torch.equal(partly[1:], painted[1:])

    def test_numbers_must_agree(self, inpainter, spatial_dims):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        with pytest.raises(ValueError):
            inpainter.inpaint(canvas, PROMPTS[:2], SEEDS)
        with pytest.raises(ValueError):
            inpainter.inpaint(canvas, PROMPTS, SEEDS[:2])

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
    def test_copies_paint_alike(self, inpainter, spatial_dims, copied):
        canvas = make_canvas(inpainter, windows(spatial_dims))
        painted = inpainter.inpaint(canvas, PROMPTS, SEEDS)
        assert torch.equal(copied(inpainter).inpaint(canvas, PROMPTS, SEEDS), painted)

    def test_global_random_state_is_left_alone(self, inpainter, spatial_dims):
        numpy_, torch_ = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
        canvas = make_canvas(inpainter, windows(spatial_dims))
        inpainter.decode(inpainter.inpaint(canvas, PROMPTS, SEEDS))
        after = np.random.get_state()  # noqa: NPY002
        assert (after[1] == numpy_[1]).all() and after[2] == numpy_[2]
        assert torch.equal(torch.random.get_rng_state(), torch_)


@pytest.mark.parametrize("wrong", [{"contrast": 0.0}, {"contrast": -1.0}, {"roughness": -0.1}])
def test_texture_numbers_are_checked(wrong):
    with pytest.raises(ValueError, match="contrast"):
        TextureInpainter(**wrong)


def test_the_texture_obeys_its_words(spatial_dims):
    inpainter = TextureInpainter()
    images = torch.zeros(8, 3, *[SIDE] * spatial_dims)
    label = torch.zeros(8, 1, *[SIDE] * spatial_dims)
    label[(..., *[slice(3, 13)] * spatial_dims)] = 1
    canvas = Canvas(images, images, label, label, torch.zeros(8))

    def paint(prompt):
        return inpainter.inpaint(canvas, [prompt] * 8, range(8))

    plain = paint("polyp")
    assert paint("paler polyp").mean() > plain.mean() > paint("darker polyp").mean()
    share = [(one[:, 0] - one[:, 1]).mean() for one in (paint("Redder, polyp"), plain, paint("paler polyp"))]
    assert share[0] > share[1] > share[2]
    smooth, rough = ((paint(f"{word} polyp") - plain.mean()).std() for word in ("smooth", "rough"))
    assert smooth < rough
