"""What the student is taught: where the guided teacher goes in several steps, on part of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_diffaug.engines.distillation import DistillationLoss
from monai_diffaug.networks.passes import DenoiserPass
from monai_diffaug.synthesis.diffusion import guided, sample_inpainting, uniform_levels, velocity_denoiser
from tests.tiny_networks import LATENT_CHANNELS, tiny_denoiser, tiny_text_encoder
from tests.tiny_training import toy_batches


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def painting(spatial_dims: int, rows: int = 4) -> dict[str, Any]:
    grid = (4,) * spatial_dims
    hold = torch.zeros(rows, 1, *grid)
    hold[(slice(None), slice(None), *(slice(2),) * spatial_dims)] = 1
    latent, blanked = torch.randn(2, rows, LATENT_CHANNELS, *grid, generator=generator(3))
    scale = torch.linspace(-1, 1, rows)
    prompts = ["red polyp", "pale polyp", "normal tissue", "rough polyp"][:rows]
    return {"latent": latent, "blanked": blanked, "area": hold, "hold": hold, "scale": scale, "prompts": prompts}


class Student(nn.Module):
    """Says nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}

    def forward(self, x: Tensor, timesteps: Tensor, prompts: list[str], scale: Tensor, distilled: Tensor) -> Tensor:
        self.seen = {"x": x, "level": timesteps / 1000, "prompts": prompts, "distilled": distilled}
        return torch.zeros_like(x[:, :LATENT_CHANNELS])


class Constant(nn.Module):
    """A teacher whose velocity is 1 with a text and 0 without."""

    def forward(self, x: Tensor, timesteps: Tensor, prompts: list[str], scale: Tensor) -> Tensor:
        told = torch.tensor([float(bool(prompt)) for prompt in prompts])
        return told.reshape(-1, *(1,) * (x.ndim - 1)).expand_as(x[:, :LATENT_CHANNELS])


def teacher(spatial_dims: int) -> DenoiserPass:
    return DenoiserPass(tiny_denoiser(spatial_dims), tiny_text_encoder())


def test_one_step_from_noise_is_the_guided_sampler(spatial_dims: int) -> None:
    """With one step the student's whole way is taught; the teacher walks it as synthesis does."""
    batch, student = painting(spatial_dims), Student()
    loss = DistillationLoss(teacher(spatial_dims), steps=1, teacher_steps=3, guidance_scale=2.5, share=1.0)
    told = loss(student, batch, generator())
    noise = student.seen["x"][:, :LATENT_CHANNELS]
    condition = torch.cat([batch["area"], batch["blanked"]], dim=1)

    def denoise(prompts: list[str], times: int) -> Any:
        more, scale = torch.cat([condition] * times), torch.cat([batch["scale"]] * times)
        return velocity_denoiser(lambda z, t: loss.teacher(torch.cat([z, more], dim=1), t, prompts, scale))

    both = guided(denoise(batch["prompts"], 1), denoise([*batch["prompts"], *[""] * 4], 2), scale=2.5)
    with torch.no_grad():
        walked = sample_inpainting(both, batch["latent"], noise, batch["hold"], uniform_levels(3))
    assert torch.equal(student.seen["level"], torch.ones(4))
    expected = loss.weighted(noise - walked, batch["hold"])
    for name, value in expected.items():
        assert torch.allclose(told[name], value, rtol=1e-4)


def test_guidance_counts_inside_and_the_background_is_held(spatial_dims: int) -> None:
    batch, student = painting(spatial_dims), Student()
    loss = DistillationLoss(Constant(), guidance_scale=3.0, share=1.0)  # type: ignore[arg-type]
    told = loss(student, batch, generator())
    cells = 2**spatial_dims / max(2**spatial_dims, loss.least_cells)
    assert float(told["inside"]) == pytest.approx(9 * cells, rel=1e-3)
    level = student.seen["level"].reshape(-1, *(1,) * (spatial_dims + 1))
    straight = (student.seen["x"][:, :LATENT_CHANNELS] - batch["latent"]) / level
    assert float(told["outside"]) == pytest.approx(float(loss.weighted(straight, batch["hold"])["outside"]), rel=1e-3)


def test_levels_are_the_sampler_s_and_every_one_comes(spatial_dims: int) -> None:
    batch, levels = painting(spatial_dims), set()
    loss = DistillationLoss(Constant(), steps=4, share=1.0)  # type: ignore[arg-type]
    for seed in range(20):
        student = Student()
        loss(student, batch, generator(seed))
        levels |= set(student.seen["level"].tolist())
    assert levels == {level for level, _ in uniform_levels(4)}


def test_the_rest_is_trained_as_ever(spatial_dims: int) -> None:
    batch, student = painting(spatial_dims), Student()
    loss = DistillationLoss(Constant(), share=0.5, text_dropout=1.0)  # type: ignore[arg-type]
    loss(student, batch, generator())
    assert student.seen["distilled"].tolist() == [True, True, False, False]
    assert student.seen["prompts"] == [*batch["prompts"][:2], "", ""]
    assert not set(student.seen["level"][2:].tolist()) & {0.25, 0.5, 0.75, 1.0}
    nothing = DistillationLoss(Constant(), share=0.0)  # type: ignore[arg-type]
    nothing(student, batch, generator())
    assert not student.seen["distilled"].any()


def test_the_teacher_stays_as_it_was_and_is_part_of_the_state(spatial_dims: int) -> None:
    network = teacher(spatial_dims)
    loss = DistillationLoss(network)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    batch = toy_batches(spatial_dims)[0]
    loss.train()(network, batch, generator())["loss"].backward()
    optimizer.step()
    assert before and all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())
    changed = [
        name for name, value in network.state_dict().items() if not torch.equal(value, before[f"teacher.{name}"])
    ]
    assert "denoiser.unet.class_embedding.weight" in changed
    assert not any(weight.requires_grad for weight in loss.parameters())


def test_the_student_learns_it() -> None:
    """Some dozen steps bring a small student nearer to its guided teacher."""
    network, batch = teacher(2), painting(2)
    loss = DistillationLoss(network, share=1.0, guidance_scale=2.0)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    first = float(loss(network, batch, generator(9))["loss"].detach())
    for step in range(60):
        optimizer.zero_grad()
        loss(network, batch, generator(step))["loss"].backward()
        optimizer.step()
    assert float(loss(network, batch, generator(9))["loss"].detach()) < 0.5 * first


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"teacher_steps": 0}, {"share": 1.5}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="steps must be 1 or more and share in"):
        DistillationLoss(teacher(2), **wrong)
