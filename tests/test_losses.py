"""Objectives against closed forms: what is perfect costs nothing, what is weighted costs its weight."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_diffaug.losses import Adversary, AutoencoderLoss, InpaintingLoss, ValidatorLoss
from monai_diffaug.networks.passes import AutoencoderPass
from tests.tiny_networks import tiny_autoencoder
from tests.tiny_training import toy_discriminator


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def number(value: Tensor) -> float:
    return float(value.detach())


class Shift(nn.Module):
    """An autoencoder of one weight: reconstructs the image plus a constant, from a latent of a given posterior."""

    def __init__(self, shift: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        self.deviation = deviation

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image, torch.full_like(image, self.deviation)

    def decode(self, latent: Tensor) -> Tensor:
        return latent + self.shift


def image(spatial_dims: int) -> Tensor:
    return torch.rand(2, 1, *(8,) * spatial_dims, generator=generator()) - 0.5


class TestAutoencoder:
    def test_perfect_reconstruction_costs_its_divergence_only(self, spatial_dims: int) -> None:
        losses = AutoencoderLoss(kl=0.5)(AutoencoderPass(Shift()).eval(), {"image": image(spatial_dims)}, generator())
        assert number(losses["l1"]) == number(losses["gradient"]) == 0
        assert torch.isclose(losses["kl"], 0.5 * image(spatial_dims).square().mean())
        assert torch.isclose(losses["loss"], 0.5 * losses["kl"]) and number(losses["psnr"]) > 90

    def test_a_constant_error_has_no_gradient(self, spatial_dims: int) -> None:
        losses = AutoencoderLoss()(AutoencoderPass(Shift(0.25)).eval(), {"image": image(spatial_dims)}, generator())
        assert number(losses["l1"]) == pytest.approx(0.25, abs=1e-6)
        assert number(losses["gradient"]) == pytest.approx(0, abs=1e-6)
        assert number(losses["psnr"]) == pytest.approx(10 * torch.log10(torch.tensor(4 / 0.0625)).item(), abs=1e-3)

    def test_gradient_term_by_hand(self) -> None:
        class Ramp(Shift):
            def decode(self, latent: Tensor) -> Tensor:
                return latent + torch.arange(8.0) / 10

        losses = AutoencoderLoss(gradient=2.0, kl=0.0)(AutoencoderPass(Ramp()).eval(), {"image": image(2)}, generator())
        assert number(losses["gradient"]) == pytest.approx(0.1, abs=1e-6)
        assert torch.isclose(losses["loss"], losses["l1"] + 2 * losses["gradient"])

    def test_colour_term_by_hand(self, spatial_dims: int) -> None:
        """What all channels share is light, not colour."""

        class Tint(Shift):
            def decode(self, latent: Tensor) -> Tensor:
                return latent + torch.tensor([0.4, 0.1, 0.1]).reshape(1, 3, *(1,) * spatial_dims)

        frames = {"image": image(spatial_dims).expand(-1, 3, *(8,) * spatial_dims)}
        tinted, lit = (
            AutoencoderLoss()(AutoencoderPass(one).eval(), frames, generator()) for one in (Tint(), Shift(0.2))
        )
        assert number(tinted["colour"]) == pytest.approx((0.2 + 0.1 + 0.1) / 3, abs=1e-6)
        assert number(lit["colour"]) == pytest.approx(0, abs=1e-6)
        assert number(tinted["l1"]) == pytest.approx(number(lit["l1"]), abs=1e-6)

    def test_the_divergence_of_a_normal_posterior_is_zero(self) -> None:
        losses = AutoencoderLoss()(AutoencoderPass(Shift()).eval(), {"image": torch.zeros(1, 1, 4, 4)}, generator())
        assert number(losses["kl"]) == pytest.approx(0, abs=1e-6)

    def test_in_training_the_posterior_is_drawn_from_the_generator(self, spatial_dims: int) -> None:
        network = AutoencoderPass(Shift(deviation=0.3)).train()
        first, again, other = (
            AutoencoderLoss()(network, {"image": image(spatial_dims)}, generator(seed))["l1"] for seed in (0, 0, 1)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)

    def test_features(self) -> None:
        class Double(nn.Module):
            def forward(self, image: Tensor) -> list[Tensor]:
                return [2 * image, image]

        plain, more = AutoencoderLoss(), AutoencoderLoss(features=Double(), feature_weight=3.0)
        batch = {"image": image(2)}
        one, other = (loss(AutoencoderPass(Shift(0.5)).eval(), batch, generator()) for loss in (plain, more))
        assert number(other["features"]) == pytest.approx(1.0 + 0.25, abs=1e-5)
        assert torch.isclose(other["loss"], one["loss"] + 3 * other["features"])


class TestAdversary:
    def losses(self, adversary: Adversary, steps: int) -> list[dict[str, Tensor]]:
        network, loss = AutoencoderPass(tiny_autoencoder(2)).train(), AutoencoderLoss(adversary=adversary)
        batch = {"image": torch.rand(2, 1, 16, 16, generator=generator()) - 0.5}
        return [loss(network, batch, generator(step)) for step in range(steps)]

    def test_starts_after_its_time(self) -> None:
        adversary = Adversary(toy_discriminator(2), after=2, learning_rate=0.1)
        before = [weight.clone() for weight in adversary.discriminator.parameters()]
        early = self.losses(adversary, 2)
        assert all(number(one["adversarial"]) == 0 for one in early)
        assert all(map(torch.equal, before, adversary.discriminator.parameters()))
        (late,) = self.losses(adversary, 1)
        assert number(late["adversarial"]) > 0
        assert not all(map(torch.equal, before, adversary.discriminator.parameters()))

    def test_is_weighted_and_deceives_no_weight_of_its_own(self) -> None:
        made = torch.zeros(1, 1, 16, 16, requires_grad=True)
        terms = []
        for weight in (1.0, 0.25):
            adversary = Adversary(toy_discriminator(2), weight=weight)
            term = adversary(made, torch.ones(1, 1, 16, 16))
            term.backward()
            terms.append(number(term))
            # What the term says goes to the autoencoder alone: the discriminator's gradients are of its own lesson.
            assert made.grad is not None and made.grad.abs().sum() > 0
            assert all(one.requires_grad for one in adversary.discriminator.parameters())
        assert terms[1] == pytest.approx(terms[0] / 4)

    def test_learns_to_tell_real_from_made(self, spatial_dims: int) -> None:
        adversary = Adversary(toy_discriminator(spatial_dims), learning_rate=1e-2)
        size = (2, 1, *(12,) * spatial_dims)
        for step in range(20):
            noise = 0.1 * torch.randn(size, generator=generator(step))
            adversary(noise - 0.5, noise + 0.5)
        noise = 0.1 * torch.randn(size, generator=generator(99))
        verdicts = adversary.discriminator(torch.cat([noise - 0.5, noise + 0.5]))[-1]
        made, real = (number(verdict.mean()) for verdict in verdicts.chunk(2))
        assert made < 0.4 and real > made + 0.3

    def test_its_optimizer_is_part_of_its_state(self) -> None:
        one, other = Adversary(toy_discriminator(2)), Adversary(toy_discriminator(2))
        made, real = torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)
        for _ in range(3):
            one(made, real)
        other.load_state_dict(deepcopy(one.state_dict()))
        assert torch.equal(one(made, real), other(made, real)) and int(other.calls) == 4
        pairs = zip(one.discriminator.parameters(), other.discriminator.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)

    def test_is_not_asked_in_evaluation(self) -> None:
        adversary = Adversary(toy_discriminator(2))
        loss = AutoencoderLoss(adversary=adversary)
        losses = loss(AutoencoderPass(tiny_autoencoder(2)).eval(), {"image": torch.zeros(1, 1, 16, 16)}, generator())
        assert "adversarial" not in losses and int(adversary.calls) == 0


def painting(spatial_dims: int, *, cells: int = 8, held: int = 4, rows: int = 2) -> dict[str, Any]:
    """Return a batch whose paint mask has ``held`` cells along each axis."""
    grid = (cells,) * spatial_dims
    latent = torch.randn(rows, 2, *grid, generator=generator())
    hold = torch.zeros(rows, 1, *grid)
    hold[(slice(None), slice(None), *(slice(held),) * spatial_dims)] = 1
    return {
        "latent": latent,
        "blanked": torch.zeros_like(latent),
        "area": hold.clone(),
        "hold": hold,
        "scale": torch.zeros(rows),
        "prompts": ["red polyp"] * rows,
    }


class Oracle(nn.Module):
    """Knows the clean latent, and so the velocity; adds an error inside or outside of the mask."""

    def __init__(self, batch: dict[str, Any], *, inside: float = 0.0, outside: float = 0.0) -> None:
        super().__init__()
        self.batch, self.inside, self.outside = batch, inside, outside
        self.seen: list[Any] = []

    def forward(self, x: Tensor, timesteps: Tensor, prompts: list[str], scale: Tensor) -> Tensor:
        self.seen.append((x, timesteps, prompts))
        latent, hold = self.batch["latent"], self.batch["hold"]
        level = (timesteps / 1000).reshape(-1, *(1,) * (latent.ndim - 1))
        velocity = (x[:, : latent.shape[1]] - latent) / level  # z_t = z_0 + t v
        return velocity + self.inside * hold + self.outside * (1 - hold)


class TestInpainting:
    def test_perfect_velocity_costs_nothing(self, spatial_dims: int) -> None:
        batch = painting(spatial_dims)
        losses = InpaintingLoss()(Oracle(batch), batch, generator())
        assert all(number(value) == pytest.approx(0, abs=1e-6) for value in losses.values())

    @pytest.mark.parametrize("preserve", [0.0, 0.5, 2.0])
    def test_both_regions_cost_their_mean_error(self, spatial_dims: int, preserve: float) -> None:
        batch = painting(spatial_dims)
        losses = InpaintingLoss(preserve=preserve)(Oracle(batch, inside=0.5, outside=0.2), batch, generator())
        assert number(losses["inside"]) == pytest.approx(0.25, rel=1e-3)
        assert number(losses["outside"]) == pytest.approx(0.04, rel=1e-3)
        assert number(losses["loss"]) == pytest.approx(0.25 + preserve * 0.04, rel=1e-3)

    def test_a_mask_counts_as_sixteen_cells_at_least(self) -> None:
        """Of a 2 x 2 mask each cell costs a sixteenth, not a quarter."""
        batch = painting(2, held=2)
        losses = InpaintingLoss()(Oracle(batch, inside=1.0), batch, generator())
        assert number(losses["inside"]) == pytest.approx(4 / 16, rel=1e-3)
        nothing = painting(2, held=0)
        assert number(InpaintingLoss()(Oracle(nothing, inside=1.0), nothing, generator())["inside"]) == 0

    def test_what_the_network_sees(self) -> None:
        batch = painting(2)
        batch["blanked"] = torch.full_like(batch["latent"], 7.0)
        oracle = Oracle(batch)
        InpaintingLoss()(oracle, batch, generator())
        x, timesteps, _ = oracle.seen[0]
        assert torch.equal(x[:, 2:3], batch["area"]) and torch.equal(x[:, 3:], batch["blanked"])
        assert timesteps.shape == (2,) and (timesteps > 0).all() and (timesteps <= 1000).all()

    @pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 200, 200), (0.3, 40, 80)])
    def test_text_dropout(self, share: float, low: int, high: int) -> None:
        batch = painting(2, cells=4, rows=200)
        oracle = Oracle(batch)
        InpaintingLoss(text_dropout=share)(oracle, batch, generator())
        prompts = oracle.seen[0][2]
        assert set(prompts) <= {"", "red polyp"} and low <= prompts.count("") <= high
        assert batch["prompts"] == ["red polyp"] * 200

    def test_draws_from_the_generator_alone(self) -> None:
        batch = painting(2)
        seen = []
        for seed in (0, 0, 1):
            oracle = Oracle(batch)
            InpaintingLoss()(oracle, batch, generator(seed))
            seen.append(oracle.seen[0][0])
        assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])


class Answer(nn.Module):
    """Says the same logits of every latent, and remembers the latents."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.seen: list[Tensor] = []

    def forward(self, latent: Tensor) -> Tensor:
        self.seen.append(latent)
        return self.logits


def segmenting(spatial_dims: int, rows: int = 2) -> dict[str, Any]:
    """Return a batch with a lesion in the first window and none in the others."""
    target = torch.zeros(rows, 1, *(16,) * spatial_dims, dtype=torch.bool)
    target[(0, 0, *(slice(4, 12),) * spatial_dims)] = True
    return {"latent": torch.randn(rows, 2, *(4,) * spatial_dims, generator=generator()), "target": target}


class TestValidator:
    def test_perfect_logits_cost_nothing(self, spatial_dims: int) -> None:
        batch = segmenting(spatial_dims)
        losses = ValidatorLoss()(Answer(100 * (2.0 * batch["target"] - 1)).eval(), batch, generator())
        assert number(losses["loss"]) == pytest.approx(0, abs=1e-5)
        assert number(losses["iou"]) == 1 and number(losses["false_alarms"]) == 0

    def test_wrong_logits_cost_all(self, spatial_dims: int) -> None:
        batch = segmenting(spatial_dims)
        losses = ValidatorLoss()(Answer(100 * (1 - 2.0 * batch["target"])).eval(), batch, generator())
        assert number(losses["dice"]) == pytest.approx(1, abs=0.02)
        assert number(losses["cross_entropy"]) == pytest.approx(100)
        assert number(losses["iou"]) == 0 and number(losses["false_alarms"]) == 1

    def test_cross_entropy_is_weighted(self) -> None:
        batch = segmenting(2)
        losses = ValidatorLoss(cross_entropy=3.0)(Answer(torch.zeros(2, 1, 16, 16)).eval(), batch, generator())
        assert torch.isclose(losses["loss"], losses["dice"] + 3 * losses["cross_entropy"])
        assert number(losses["cross_entropy"]) == pytest.approx(0.6931, abs=1e-4)

    def test_scores_of_the_whole_window(self) -> None:
        losses = ValidatorLoss()(Answer(torch.full((2, 1, 16, 16), 5.0)).eval(), segmenting(2), generator())
        assert number(losses["iou"]) == pytest.approx(64 / 256) and number(losses["false_alarms"]) == 1

    def test_evaluation_sees_clean_latents(self) -> None:
        batch, answer = segmenting(2), Answer(torch.zeros(2, 1, 16, 16))
        ValidatorLoss(noised=1.0)(answer.eval(), batch, generator())
        assert torch.equal(answer.seen[0], batch["latent"])

    @pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (1.0, 64, 64), (0.5, 20, 44)])
    def test_share_of_noised_latents_in_training(self, share: float, low: int, high: int) -> None:
        batch, answer = segmenting(2, rows=64), Answer(torch.zeros(64, 1, 16, 16))
        ValidatorLoss(noised=share)(answer.train(), batch, generator())
        changed = (answer.seen[0] != batch["latent"]).flatten(1).any(1)
        assert low <= int(changed.sum()) <= high

    def test_noised_latents_are_brought_back_by_the_estimate(self, spatial_dims: int) -> None:
        batch, levels = segmenting(spatial_dims), []

        def estimate(noised: Tensor, level: Tensor, batch: Any) -> Tensor:
            levels.append(level)
            return torch.full_like(noised, 9.0)

        answer = Answer(torch.zeros(2, 1, *(16,) * spatial_dims)).train()
        ValidatorLoss(noised=1.0, noisiest=0.25, estimate=estimate)(answer, batch, generator())
        assert bool((answer.seen[0] == 9).all()) and number(levels[0].max()) <= 0.25
