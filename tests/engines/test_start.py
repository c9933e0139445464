"""What must be there before a training begins, and which weights it begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from monai_diffaug.engines.start import begin, check_stage, end, starting_network
from monai_diffaug.engines.weights import NEEDS, trained_after, write_weights
from monai_diffaug.networks.seeded import seeded
from tests.tiny_networks import tiny_validator_net
from tests.tiny_training import STAGES, bare_bundle, toy_composite


@pytest.mark.parametrize("stage", STAGES)
def test_earlier_stages_must_be_trained(tmp_path: Path, stage: str) -> None:
    root = bare_bundle(tmp_path / "b")
    for needed in NEEDS[stage]:
        sentence = f"run first: monai-diffaug train {needed} --bundle {root}"
        with pytest.raises(ValueError, match=f"the {stage} needs the bundle's {needed}, .*{sentence}"):
            check_stage(root, stage)
        write_weights(root, toy_composite(2).state_dict(), stage=needed)
    check_stage(root, stage)


def test_metadata_without_weights_is_not_enough(tmp_path: Path) -> None:
    root = bare_bundle(tmp_path / "b", trained=list(STAGES))
    with pytest.raises(ValueError, match="is not trained yet"):
        check_stage(root, "validator")


def test_an_unknown_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="stage must be one of autoencoder, inpainter, distillation, halving, validator, got 'gate'"
    ):
        check_stage(bare_bundle(tmp_path / "b"), "gate")


class TestStartingNetwork:
    def test_without_weights_it_stays_as_it_was_drawn(self, tmp_path: Path) -> None:
        network = toy_composite(2)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        started = starting_network(network, bare_bundle(tmp_path / "b"), "autoencoder", "cpu")
        assert started is network
        assert all(torch.equal(value, before[name]) for name, value in started.state_dict().items())

    @pytest.mark.parametrize("stage", STAGES)
    def test_with_weights_it_has_them(self, tmp_path: Path, stage: str, spatial_dims: int) -> None:
        root = bare_bundle(tmp_path / "b")
        state = {name: value + 1 for name, value in toy_composite(spatial_dims).state_dict().items()}
        for trained in STAGES:
            write_weights(root, state, stage=trained)
        started = starting_network(toy_composite(spatial_dims), root, stage, "cpu")
        for name, value in started.state_dict().items():
            assert value.dtype == state[name].dtype
            assert torch.equal(value, state[name].half().to(value.dtype) if value.is_floating_point() else state[name])

    def test_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        root = bare_bundle(tmp_path / "b")
        write_weights(root, toy_composite(3).state_dict(), stage="autoencoder")
        with pytest.raises(ValueError, match="do not fit the bundle's network"):
            starting_network(toy_composite(2), root, "autoencoder", "cpu")


class TestBegin:
    def test_refuses_before_anything_is_read(self, tmp_path: Path) -> None:
        root = bare_bundle(tmp_path / "b")
        with pytest.raises(ValueError, match="run first"):
            begin(root, "inpainter", tmp_path / "out", device="cpu")
        with pytest.raises(FileNotFoundError, match="begin without --resume"):
            begin(root, "autoencoder", tmp_path / "out", resume=True, device="cpu")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "checkpoint.pt").touch()
        with pytest.raises(ValueError, match="is there already"):
            begin(root, "autoencoder", tmp_path / "out", device="cpu")

    def test_alone_it_joins_nothing(self, tmp_path: Path) -> None:
        begin(bare_bundle(tmp_path / "b"), "autoencoder", tmp_path / "out", device="cpu")
        assert not torch.distributed.is_initialized() and not (tmp_path / "out").exists()
        end()


class TestSeeded:
    def test_equal_seeds_give_equal_weights(self) -> None:
        one, other, third = (seeded(lambda: torch.nn.Linear(4, 4), seed) for seed in (0, 0, 1))
        assert torch.equal(one.weight, other.weight) and not torch.equal(one.weight, third.weight)

    def test_the_global_state_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        seeded(lambda: tiny_validator_net(2))
        assert torch.equal(before, torch.get_rng_state())

    def test_also_when_building_fails(self) -> None:
        before = torch.get_rng_state()
        with pytest.raises(ZeroDivisionError):
            seeded(lambda: torch.nn.Linear(4, 1 // 0))
        assert torch.equal(before, torch.get_rng_state())


def test_a_stage_undoes_what_is_built_on_it_and_nothing_else() -> None:
    assert tuple(NEEDS) == STAGES
    assert trained_after("autoencoder", STAGES) == ("autoencoder",)
    assert trained_after("inpainter", STAGES) == ("autoencoder", "inpainter")
    again = ("autoencoder", "inpainter", "distillation", "validator")
    assert trained_after("distillation", ["autoencoder", "inpainter", "validator"]) == again
    assert trained_after("distillation", STAGES) == again
    assert trained_after("validator", STAGES) == STAGES
    assert trained_after("validator", ["autoencoder", "inpainter"]) == ("autoencoder", "inpainter", "validator")
