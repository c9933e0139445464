"""The bank of encoded windows: what it holds, when it is built again, which batches come out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_diffaug.engines.bank import (
    LatentBatches,
    bank_key,
    batch_of,
    build_bank,
    cached_bank,
    encode_windows,
    read_names,
    select,
)
from monai_diffaug.synthesis.latent_diffusion import to_latent_area, to_latent_max
from tests.tiny_networks import tiny_autoencoder, tiny_inpainter
from tests.tiny_training import toy_batches, toy_group, toy_windows


class TestEncoding:
    def test_windows_and_their_blanked_selves(self, spatial_dims: int) -> None:
        windows, inpainter = toy_windows(spatial_dims), tiny_inpainter(spatial_dims)
        drawn = [("lesion", windows.lesion(0)), ("normal", windows.normal(0)), ("lesion", windows.lesion(1))]
        group = encode_windows(drawn, inpainter, batch_size=2, amp=False)
        assert group["kinds"] == ["lesion", "normal", "lesion"]
        assert group["prompts"] == [one.prompt for _, one in drawn]
        for row, (_, one) in enumerate(drawn):
            blanked = torch.where(one.paint > 0, 0.0, one.image)
            for name, image in (("latent", one.image), ("blanked", blanked)):
                assert group[name].dtype == torch.float16
                assert torch.allclose(group[name][row].float(), inpainter.encode(image[None])[0], atol=5e-3, rtol=5e-3)
            assert torch.equal(group["label"][row], one.label > 0) and torch.equal(group["paint"][row], one.paint > 0)

    def test_as_many_as_are_counted(self) -> None:
        counts = [{"lesion": 3, "normal": 2}, {"frame": 1}]
        groups = build_bank([toy_windows(2), toy_windows(2, seed=1)], counts, tiny_inpainter(2), batch_size=2)
        assert [group["kinds"] for group in groups] == [["lesion"] * 3 + ["normal"] * 2, ["frame"]]


class TestCache:
    def build(self, built: list[int], seed: int = 0) -> Any:
        return lambda: built.append(seed) or [toy_group(2, seed=seed)]

    def test_is_built_once_for_a_key(self, tmp_path: Path) -> None:
        built: list[int] = []
        path = tmp_path / "deep" / "bank.pt"
        first = cached_bank(path, "a", self.build(built))
        again = cached_bank(path, "a", self.build(built, 1))
        assert built == [0] and list(path.parent.iterdir()) == [path]
        assert all(torch.equal(first[0][name], again[0][name]) for name in ("latent", "label", "scale"))
        assert first[0]["prompts"] == again[0]["prompts"]

    def test_another_key_replaces_it(self, tmp_path: Path) -> None:
        built: list[int] = []
        for key, seed in (("a", 0), ("b", 1), ("b", 2)):
            cached_bank(tmp_path / "bank.pt", key, self.build(built, seed))
        assert built == [0, 1]

    def test_key_follows_weights_and_facts(self) -> None:
        from types import SimpleNamespace

        def network() -> Any:
            return SimpleNamespace(
                autoencoder=tiny_autoencoder(2), latent_mean=torch.zeros(2), latent_std=torch.ones(2)
            )

        changed, shifted = network(), network()
        next(changed.autoencoder.parameters()).data[0] += 1
        shifted.latent_mean += 1
        key = bank_key(network(), ["data", 3])
        assert key == bank_key(network(), ["data", 3])
        others = {bank_key(network(), ["data", 4]), bank_key(changed, ["data", 3]), bank_key(shifted, ["data", 3])}
        assert len(others | {key}) == 4

    def test_key_follows_windows_and_counts(self, spatial_dims: int) -> None:
        from types import SimpleNamespace

        network = SimpleNamespace(
            autoencoder=tiny_autoencoder(spatial_dims), latent_mean=torch.zeros(2), latent_std=torch.ones(2)
        )
        few, many = [{"lesion": 1, "normal": 1}], [{"lesion": 2, "normal": 1}]
        keys = [
            bank_key(network, ["data"], windows=[toy_windows(spatial_dims, seed=seed)], counts=counts)
            for seed, counts in [(0, few), (0, few), (1, few), (0, many)]
        ]
        assert keys[0] == keys[1] and len(set(keys)) == 3


class TestBatches:
    def test_a_number_is_a_batch_of_one_grid(self, spatial_dims: int) -> None:
        batches, again = toy_batches(spatial_dims), toy_batches(spatial_dims)
        cells = set()
        for index in range(12):
            batch = batches[index]
            assert all(
                torch.equal(batch[name], again[index][name]) for name in ("latent", "target", "scale", "area", "hold")
            )
            cells.add(batch["latent"].shape[-1])
            assert len(batch["latent"]) == max(1, 2 * 4**spatial_dims // batch["latent"][0, 0].numel())
            assert len(batch["prompts"]) == len(batch["kinds"]) == len(batch["scale"]) == len(batch["latent"])
        assert cells == {4, 8}

    def test_masks_on_the_latent_grid(self, spatial_dims: int) -> None:
        group = toy_group(spatial_dims)
        batch = batch_of(group, [1, 3])
        grid = batch["latent"].shape[2:]
        assert torch.equal(batch["area"], to_latent_area(group["label"][[1, 3]].float(), grid))
        assert torch.equal(batch["hold"], to_latent_max(group["paint"][[1, 3]].float(), grid))
        assert torch.equal(batch["target"], group["lesions"][[1, 3]])

    def test_shares(self) -> None:
        groups = [toy_group(2), toy_group(2, cells=8, seed=1)]
        batches = LatentBatches(groups, shares=(1, 0))
        assert {batches[index]["latent"].shape[-1] for index in range(10)} == {4}
        with pytest.raises(ValueError, match="one share a group"):
            LatentBatches(groups, shares=(1,))
        with pytest.raises(ValueError, match="0 groups"):
            LatentBatches([])

    def test_scale_jitter(self) -> None:
        plain, jittered = (LatentBatches([toy_group(2)], scale_jitter=jitter) for jitter in (0.0, 0.5))
        shift = torch.cat([jittered[index]["scale"] - plain[index]["scale"] for index in range(20)])
        assert 0.4 < float(shift.std()) < 0.6
        assert torch.equal(plain[0]["latent"], jittered[0]["latent"])

    def test_collate_hands_on_the_one_batch(self) -> None:
        batch = toy_batches(2)[0]
        assert LatentBatches.collate([batch]) is batch


def test_select_by_kind_and_name() -> None:
    group = toy_group(2)
    (lesions,) = select([group], kinds={"lesion"})
    assert lesions["kinds"] == ["lesion"] * 3 and torch.equal(lesions["latent"], group["latent"][1::2])
    (one,) = select([group], names={"case2"})
    assert one["names"] == ["case2"]
    with pytest.raises(ValueError, match="no window of the bank is left"):
        select([group], names={"elsewhere"})


def test_names_of_a_file_or_all(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('["a", "b"]')
    assert read_names(tmp_path / "names.json") == {"a", "b"}
    assert read_names(tmp_path / "none.json") is None and read_names(None) is None


def test_any_shares_can_be_drawn_by():
    """Shares of single precision do not add up to 1 closely enough."""
    batches = LatentBatches([toy_group(2)] * 3, shares=(0.6, 0.2, 0.2), batch_cells=16)
    assert len(batches[0]["prompts"]) == 1 and sum(batches.shares) == pytest.approx(1, abs=1e-12)
