"""The shipped polyp bundle: MONAI's own checks, its weights, its sample frames, and one sample through each door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out
from PIL import Image

from monai_diffaug import load_synthesizer
from monai_diffaug.bundle import open_bundle, shipped_bundles
from monai_diffaug.networks.composite import load_weights
from monai_diffaug.synthesis import SynthesisRequest

ROOT = shipped_bundles()["polyp_endoscopy"]
CONFIGS = ROOT / "configs"
COMMON, INFERENCE = str(CONFIGS / "common.json"), str(CONFIGS / "inference.json")
WEIGHTS = ROOT / "models" / "model.pt"
FRAMES = sorted((ROOT / "samples" / "frames").glob("*.png"))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(COMMON)
    parser["bundle_root"] = str(ROOT)
    return load_weights(parser.get_parsed_content("network_def"), WEIGHTS)


def read(frame: Path) -> np.ndarray:
    with Image.open(frame) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def exported(folder: Path, net_id: str, input_shape: list[int] | None = None) -> torch.nn.Module:
    """Export a network by MONAI's command, traced where an input shape is given, and load it."""
    path, trace = folder / "network.ts", input_shape is not None
    meta = str(CONFIGS / "metadata.json")
    ckpt_export(net_id, str(path), str(WEIGHTS), meta, COMMON, use_trace=trace, input_shape=input_shape)
    return torch.jit.load(path).eval()


class TestWeights:
    def test_size_and_precision(self):
        state = torch.load(WEIGHTS, weights_only=True)
        assert WEIGHTS.stat().st_size <= 24e6
        assert sum(value.numel() for value in state.values()) <= 12e6
        assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}
        assert all(torch.isfinite(value).all() for value in state.values() if value.is_floating_point())

    def test_digest_terms_and_stages_are_told(self):
        bundle = open_bundle("polyp_endoscopy")
        assert bundle.metadata["weights_sha256"].items() <= dict(bundle.weights).items()
        assert "model.pt" in bundle.metadata["weights_sha256"]
        assert bundle.metadata["trained"] == ["autoencoder", "inpainter", "distillation", "halving", "validator"]
        assert "Kvasir-SEG" in bundle.data_terms and "not for\ndiagnosis" in bundle.data_terms

    def test_validator_names_are_600(self):
        names = json.loads((CONFIGS / "validator_images.json").read_text())
        assert len(set(names)) == 600


class TestMonai:
    @pytest.mark.slow
    def test_network_in_and_out(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        verify_net_in_out(
            net_id="network_def", meta_file=str(CONFIGS / "metadata.json"), config_file=COMMON, n=4, p=1, device="cpu"
        )

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:.*torch.jit")  # MONAI's command writes TorchScript
    def test_validator_exports(self, tmp_path, network):
        scripted = exported(tmp_path, "validator_def")
        latent = torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(scripted(latent), network.validator(latent), atol=1e-5)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")  # MONAI's command traces, which warns of every shape that is looked at
    def test_composite_is_traced(self, tmp_path, network):
        traced = exported(tmp_path, "network_def", input_shape=[1, 4, 128, 128])
        x = torch.zeros(1, 4, 128, 128)
        x[:, 3, 40:90, 40:90] = 1
        assert torch.allclose(traced(x), network(x), atol=1e-4)


class TestComposite:
    def test_paints_where_it_is_told_to_and_nowhere_else(self, network):
        x = torch.zeros(1, 4, 64, 64)
        x[:, 3, 20:44, 20:44] = 1
        made = network(x)
        changed = (made != 0).any(1)[0]
        assert changed[20:44, 20:44].all() and not changed[:20].any() and not changed[:, 44:].any()
        assert torch.equal(made, network(x))


class TestSamples:
    def test_frames(self):
        assert len(FRAMES) >= 12
        assert all(min(read(frame).shape[1:]) >= 256 for frame in FRAMES)

    @pytest.mark.slow
    def test_frames_get_polyps(self):
        synthesizer = load_synthesizer("polyp_endoscopy", batch_size=8)
        images = [read(frame) for frame in FRAMES] * 2
        results = synthesizer.batch([SynthesisRequest(image, seed) for seed, image in enumerate(images)])
        assert any(one.record.accepted for one in results)
        for image, one in zip(images, results, strict=True):
            same = (one.image == image).all(0)
            assert same[~_near(one.mask[0] > 0)].all()

    @pytest.mark.slow
    @pytest.mark.parametrize("preset", [[], ["--steps", "2"]])
    def test_monai_runs_it_from_any_folder(self, tmp_path, preset):
        files = f"['{COMMON}','{INFERENCE}']"
        command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "--config_file", files]
        options = ["--bundle_root", str(ROOT), "--output_dir", str(tmp_path / "out"), "--num", "2", *preset]
        done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert (tmp_path / "out" / "manifest.jsonl").is_file(), done.stderr
        run = json.loads((tmp_path / "out" / "run.json").read_text())
        assert "Kvasir-SEG" in json.dumps(run) and run["environment"]["arithmetic"] == "bfloat16 autocast"


def _near(mask: np.ndarray) -> np.ndarray:
    """Return a mask grown by more than any paint margin."""
    if not mask.any():
        return mask
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    reach = 3 + max(np.ptp(rows), np.ptp(columns)) // 8
    grown = np.zeros_like(mask)
    grown[max(rows[0] - reach, 0) : rows[-1] + reach + 1, max(columns[0] - reach, 0) : columns[-1] + reach + 1] = True
    return grown
