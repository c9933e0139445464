"""Perceptual features of frames: from a file of weights that the user brings; here a random one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from monai_diffaug.networks import features as module
from monai_diffaug.networks.features import SqueezeNetFeatures


def random_state() -> dict[str, torch.Tensor]:
    """Return weights in torchvision's layout: what a network of the same plan would hold, and one entry more."""
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"features.0.weight": (64, 3, 3, 3), "features.0.bias": (64,)}
    for number, (inputs, squeezed, expanded) in module._PLAN.items():
        for name, shape in (
            ("squeeze", (squeezed, inputs, 1, 1)),
            ("expand1x1", (expanded, squeezed, 1, 1)),
            ("expand3x3", (expanded, squeezed, 3, 3)),
        ):
            shapes[f"features.{number}.{name}.weight"] = shape
            shapes[f"features.{number}.{name}.bias"] = shape[:1]
    state = {
        name.removeprefix("features."): 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }
    return {**state, "12.squeeze.bias": torch.zeros(4)}


@pytest.fixture(scope="module", params=["pt", "safetensors"])
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"squeezenet.{request.param}"
    torch.save(random_state(), path) if request.param == "pt" else save_file(random_state(), path)
    return path


def test_three_depths_of_unit_length(weights: Path) -> None:
    taken = SqueezeNetFeatures(weights)(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert [one.shape[1] for one in taken] == [64, 128, 256]
    for one in taken:
        length = one.square().sum(1)
        assert torch.allclose(length[length > 0], torch.ones(()), atol=1e-4)


def test_files_of_both_kinds_hold_the_same(weights: Path) -> None:
    network = SqueezeNetFeatures(weights)
    assert torch.equal(network.features[0].weight, random_state()["0.weight"])


def test_is_frozen_but_lets_gradients_through(weights: Path) -> None:
    network = SqueezeNetFeatures(weights).train()
    image = torch.rand(1, 3, 32, 32).requires_grad_()
    sum(one[:, :3].sum() for one in network(image)).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in network.parameters())


def test_missing_file_and_missing_entries(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights .*none.pt of the perceptual loss are missing"):
        SqueezeNetFeatures(tmp_path / "none.pt")
    torch.save({"0.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="other.pt is no SqueezeNet 1.1: it lacks"):
        SqueezeNetFeatures(tmp_path / "other.pt")


def test_without_safetensors_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.safetensors").touch()
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r"needs safetensors; pip install 'monai_diffaug\[train\]'"):
        SqueezeNetFeatures(tmp_path / "w.safetensors")
