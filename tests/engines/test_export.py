"""From a training to the bundle: which weights are written, and what the metadata says of them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from torch import nn

from monai_diffaug.engines.export import Export, latent_statistics
from monai_diffaug.engines.handlers import Averaging, average
from monai_diffaug.engines.training import Pace, build_trainer, run_training
from monai_diffaug.engines.weights import NEEDS, write_weights
from monai_diffaug.networks.composite import DiffusionAugmentationNet
from monai_diffaug.networks.passes import AutoencoderPass, DenoiserPass, ValidatorPass
from tests.tiny_networks import LATENT_CHANNELS, tiny_autoencoder
from tests.tiny_training import STAGES, bare_bundle, toy_composite, toy_patches, toy_stage


def weights(root: Path) -> dict[str, torch.Tensor]:
    return torch.load(root / "models" / "model.pt", weights_only=True)


def one_pass(network: DiffusionAugmentationNet, stage: str) -> nn.Module:
    if stage == "autoencoder":
        return AutoencoderPass(network.autoencoder)
    if stage in ("inpainter", "distillation", "halving"):
        return DenoiserPass(network.denoiser, network.text_encoder)
    return ValidatorPass(network.validator)


@pytest.mark.parametrize("stage", STAGES)
def test_averaged_weights_of_the_stage_and_the_others_as_they_were(
    tmp_path: Path, stage: str, spatial_dims: int
) -> None:
    root, network = bare_bundle(tmp_path / "b", trained=list(NEEDS[stage])), toy_composite(spatial_dims)
    parts = toy_stage(stage, spatial_dims)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained = one_pass(network, stage)
    averaged = average(trained)
    patches = toy_patches(spatial_dims) if stage == "autoencoder" else None
    trainer = build_trainer(
        trained, parts.loss, torch.optim.AdamW(trained.parameters(), 1e-2), parts.dataset,
        pace=Pace(2, 2 if patches else 1), device="cpu",
        handlers=[Averaging(averaged), Export(network, averaged, root, stage, patches=patches, draws=4)],
    )  # fmt: skip
    run_training(trainer)
    written, mean = weights(root), averaged.module.state_dict()
    assert set(written) == set(before)
    for name, value in written.items():
        assert value.dtype == (torch.float16 if before[name].is_floating_point() else before[name].dtype)
        if name in mean:
            assert torch.equal(value, mean[name].to(value.dtype))
        elif not name.startswith("latent_") or patches is None:
            assert torch.equal(value, before[name].to(value.dtype))
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    assert metadata["trained"] == [*NEEDS[stage], stage] and metadata["name"] == "x"
    digest = sha256((root / "models" / "model.pt").read_bytes()).hexdigest()
    assert metadata["weights_sha256"] == {"model.pt": digest}
    assert sorted(path.name for path in root.rglob("*.partial")) == []


def test_statistics_are_the_latents(spatial_dims: int) -> None:
    network, patches = AutoencoderPass(tiny_autoencoder(spatial_dims)), toy_patches(spatial_dims)
    found = latent_statistics(network, patches, count=5)
    latents = torch.cat([network.autoencoder.encode(patches[index]["image"][None])[0] for index in range(5)])
    normal = (latents - found["latent_mean"].reshape(1, -1, *(1,) * spatial_dims)) / found["latent_std"].reshape(
        1, -1, *(1,) * spatial_dims
    )
    over = [axis for axis in range(normal.ndim) if axis != 1]
    assert torch.allclose(normal.mean(over), torch.zeros(LATENT_CHANNELS), atol=1e-4)
    assert torch.allclose(normal.std(over), torch.ones(LATENT_CHANNELS), atol=1e-3)


def test_a_stopped_training_writes_nothing(tmp_path: Path) -> None:
    root, network, parts = bare_bundle(tmp_path / "b"), toy_composite(2), toy_stage("validator", 2)
    averaged = average(ValidatorPass(network.validator))
    trainer = build_trainer(
        parts.network, parts.loss, torch.optim.AdamW(parts.network.parameters()), parts.dataset,
        pace=Pace(4, 1), device="cpu", handlers=[Export(network, averaged, root, "validator")],
    )  # fmt: skip
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: engine.terminate())
    trainer.run()
    assert trainer.state.iteration == 1 and not (root / "models").exists()


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    network = toy_composite(2)
    with pytest.raises(
        ValueError, match="stage must be one of autoencoder, inpainter, distillation, halving, validator, got 'gate'"
    ):
        Export(network, average(ValidatorPass(network.validator)), tmp_path, "gate")


def test_weights_are_replaced_as_a_whole(tmp_path: Path) -> None:
    root = bare_bundle(tmp_path / "b", trained=["autoencoder", "inpainter"], weights_sha256={"model.pt": "old"})
    for value in (1.0, 2.0):
        write_weights(root, {"a": torch.full((2,), value), "n": torch.tensor(3)}, stage="autoencoder")
    assert weights(root)["a"].tolist() == [2.0, 2.0] and weights(root)["n"].dtype == torch.int64
    assert json.loads((root / "configs" / "metadata.json").read_text())["trained"] == ["autoencoder"]
    assert [path.name for path in (root / "models").iterdir()] == ["model.pt"]
