"""From a bundle to a synthesizer: names, folders, presets, and every way in which a bundle can be broken."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata

from monai_diffaug import AbnormalitySynthesizer, load_synthesizer
from monai_diffaug.bundle import config_files, open_bundle, pick_device, shipped_bundles

SHIPPED = shipped_bundles()
DEMO = SHIPPED["texture_demo"]
SCHEMA = Path(__file__).parent / "data" / "meta_schema.json"
SCHEMA_DIGEST = hashlib.sha256(SCHEMA.read_bytes()).hexdigest()
FRAME = np.random.default_rng(0).integers(100, 140, (3, 150, 170)).astype(np.uint8)


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A copy of the demo bundle, to be broken."""
    return Path(shutil.copytree(DEMO, tmp_path / "mine", ignore=shutil.ignore_patterns("samples")))


def edit(bundle: Path, change: Callable[[dict], Any], name: str = "common.json") -> None:
    """Change a config of a bundle in place."""
    path = bundle / "configs" / name
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def renamed(*path: str, to: str) -> Callable[[dict], Any]:
    """Return a change that gives the last key of ``path`` another name."""

    def change(content: dict) -> None:
        for key in path[:-1]:
            content = content[key]
        content[to] = content.pop(path[-1])

    return change


def refusal(bundle: Path | str, error: type = ValueError, **options) -> str:
    """Return the one sentence with which a bundle is refused."""
    with pytest.raises(error) as caught:
        load_synthesizer(bundle, **options)
    assert type(caught.value) is error and "\n" not in str(caught.value)
    return str(caught.value)


class TestFind:
    def test_name_folder_and_path_are_the_same(self, bundle, monkeypatch):
        monkeypatch.chdir(bundle.parent)
        made = [load_synthesizer(one)(FRAME, seed=3) for one in ("texture_demo", str(bundle), bundle, "./mine", "mine")]
        assert made[0].record.accepted
        assert all((one.image == made[0].image).all() and one.record == made[0].record for one in made)

    def test_a_folder_of_samples_does_not_hide_the_shipped_bundle(self, tmp_path, monkeypatch):
        (tmp_path / "texture_demo").mkdir()
        monkeypatch.chdir(tmp_path)
        assert isinstance(load_synthesizer("texture_demo"), AbnormalitySynthesizer)

    def test_unknown_name(self):
        assert "bundle 'polip' is unknown; shipped bundles: " in refusal("polip", FileNotFoundError)
        assert "texture_demo" in refusal("polip", FileNotFoundError)

    def test_folder_that_is_none(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            assert f"{folder} is no bundle folder" in refusal(folder, FileNotFoundError)

    def test_missing_common_config(self, bundle):
        (bundle / "configs" / "common.json").unlink()
        assert "has no configs/common.json" in refusal(bundle, FileNotFoundError)


class TestOptions:
    @pytest.mark.parametrize("option", ["preset", "variant"])
    def test_unknown_override_names_what_there_is(self, option):
        sentence = refusal("texture_demo", FileNotFoundError, **{option: "papr"})
        assert (
            f"has no {option} 'papr'; it has: " in sentence
            and {"preset": "paper", "variant": "volume"}[option] in sentence
        )

    def test_overrides_are_applied(self):
        fast, paper = (load_synthesizer("texture_demo", preset=preset) for preset in ("fast", "paper"))
        assert (fast.renderer.gate.iou_alone, paper.renderer.gate.iou_alone) == (False, True)
        volume = load_synthesizer("texture_demo", variant="volume", preset="paper", batch_size=3)
        assert (volume.images.spatial_dims, volume.images.channels, volume.renderer.batch_size) == (3, 1, 3)
        assert volume.renderer.gate.iou_alone and volume.images.intensity_range == (0, 1000)

    def test_a_list_beside_the_configs_is_none(self, bundle):
        (bundle / "configs" / "names.json").write_text('["one", "other"]')
        assert load_synthesizer(bundle, preset="paper").renderer.gate.iou_alone

    def test_variant_for(self):
        demo = open_bundle("texture_demo")
        assert (demo.variant_for(2), demo.variant_for(3), demo.name) == (None, "volume", "texture_demo")

    def test_prompt_bank(self):
        banks = {
            level: load_synthesizer("texture_demo", prompts=level) for level in ("minimal", "standard", "extended")
        }
        assert banks["minimal"](FRAME, seed=1).record.prompt == "polyp"
        assert banks["standard"](FRAME, seed=1).record.prompt != "polyp"
        sentence = refusal("texture_demo", prompts="huge")
        assert "prompt bank 'huge' is unknown" in sentence and "minimal, standard, extended" in sentence

    def test_intensity_range(self):
        synthesizer = load_synthesizer("texture_demo", intensity_range=(0, 1))
        floats = (FRAME / 255).astype(np.float32)
        result = synthesizer(floats, seed=3)
        assert result.record.accepted and result.image.max() <= 1
        with pytest.raises(ValueError, match="intensity range is 0 to 1; rescale"):
            synthesizer(FRAME, seed=3)
        assert "intensity_range must rise" in refusal("texture_demo", intensity_range=(5, 1))

    def test_batch_size(self):
        requests = [{"image": FRAME, "seed": seed} for seed in range(3)]
        one, four = (load_synthesizer("texture_demo", batch_size=n).batch(requests) for n in (1, 4))
        assert [sample.record.batch_size for sample in (one[0], four[0])] == [1, 4]
        assert all((a.image == b.image).all() for a, b in zip(one, four, strict=True))
        assert "batch_size must be " in refusal("texture_demo", batch_size=0)

    def test_device(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert load_synthesizer("texture_demo", device="auto").renderer.device == torch.device("cpu")
        assert "no CUDA device is available" in refusal("texture_demo", device="cuda")
        assert "no CUDA device is available" in refusal("texture_demo", device=torch.device("cuda", 0))
        assert "device 'gpu' is unknown; use auto, cpu or cuda" in refusal("texture_demo", device="gpu")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert pick_device("auto") == torch.device("cuda") and pick_device("cpu") == torch.device("cpu")

    def test_each_process_has_a_device_of_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:1")
        assert pick_device("cuda:0") == torch.device("cuda:0") and pick_device("cpu") == torch.device("cpu")


class TestBrokenConfigs:
    @pytest.mark.parametrize("name", ["common.json", "metadata.json"])
    @pytest.mark.parametrize("content", [b"{,}", b"\xff\xfe{}", b"", b"[1]"], ids=["typo", "bytes", "empty", "list"])
    def test_broken_json_names_the_file(self, bundle, name, content):
        (bundle / "configs" / name).write_bytes(content)
        sentence = refusal(bundle)
        assert sentence.startswith(str(bundle / "configs" / name)) and "JSON" in sentence

    @pytest.mark.parametrize("key", ["synthesizer", "prompt_banks", "batch_size"])
    def test_entries_that_every_bundle_has(self, bundle, key):
        edit(bundle, lambda content: content.pop(key))
        assert f"{bundle / 'configs' / 'common.json'} lacks the entries ['{key}']" in refusal(bundle)

    @pytest.mark.parametrize(
        ("path", "to", "cause"),
        [
            (["masks", "_target_"], "_targt_", "unknown key masks::_targt_"),
            (["masks", "shape", "_target_"], "target", "unknown key masks::shape::target"),
            (["synthesizer", "_target_"], "_target", "unknown key synthesizer::_target"),
            (["gate", "reconstruction_error"], "reconstuction_error", "argument 'reconstuction_error'"),
            (["windows"], "window", "'windows'|`@windows`"),
        ],
        ids=["targt", "target", "_target", "argument", "entry"],
    )
    def test_misspelt_key(self, bundle, path, to, cause):
        edit(bundle, renamed(*path, to=to))
        sentence = refusal(bundle)
        assert str(bundle / "configs" / "common.json") in sentence
        assert any(part in sentence for part in cause.split("|")), sentence

    @pytest.mark.parametrize(
        ("entry", "key", "value", "cause"),
        [
            ("masks", "_target_", "monai_diffaug.synthesis.RandomMaks", "'monai_diffaug.synthesis.RandomMaks'"),
            ("masks", "_target_", "monai_difaug.synthesis.RandomMask", "'monai_difaug.synthesis.RandomMask'"),
            ("images", "intensity_range", "$tupel(@intensity_range)", "name 'tupel' is not defined"),
            ("windows", "sizes", [4], "sizes must name network grids of 8 cells or more, got [4]"),
        ],
        ids=["class", "package", "expression", "value"],
    )
    def test_misspelt_or_wrong_value(self, bundle, entry, key, value, cause):
        edit(bundle, lambda content: content[entry].update({key: value}))
        sentence = refusal(bundle)
        assert str(bundle / "configs" / "common.json") in sentence and cause in sentence

    def test_misspelt_key_in_an_override(self, bundle):
        edit(bundle, renamed("gate", "_target_", to="_taget_"), "paper.json")
        assert load_synthesizer(bundle)
        assert f"{bundle / 'configs' / 'paper.json'} has the unknown key gate::_taget_" in refusal(
            bundle, preset="paper"
        )


class TestWeights:
    def weighed(self, bundle: Path, digest: str) -> Path:
        """Give a bundle a weight file and say in its metadata what the digest should be."""
        (bundle / "models").mkdir()
        path = bundle / "models" / "model.pt"
        path.write_bytes(b"weights")
        edit(bundle, lambda metadata: metadata.update(weights_sha256={"model.pt": digest}), "metadata.json")
        return path

    def test_digests_reach_the_record(self, bundle):
        digest = hashlib.sha256(b"weights").hexdigest()
        self.weighed(bundle, digest)
        assert open_bundle(bundle).weights == {"model.pt": digest}
        assert load_synthesizer(bundle)(FRAME, seed=0).record.weights == {"model.pt": digest}
        assert load_synthesizer("texture_demo")(FRAME, seed=0).record.weights == {}

    def test_corrupted(self, bundle):
        path = self.weighed(bundle, hashlib.sha256(b"weights").hexdigest())
        path.write_bytes(b"weight")
        sentence = refusal(bundle)
        assert sentence.startswith(f"weights {path} are corrupted")
        assert all(hashlib.sha256(content).hexdigest() in sentence for content in (b"weights", b"weight"))

    def test_digested_once(self, bundle, monkeypatch):
        self.weighed(bundle, hashlib.sha256(b"weights").hexdigest())
        opened = open_bundle(bundle)
        monkeypatch.setattr("monai_diffaug.bundle.file_digest", lambda path: pytest.fail(f"{path} is digested again"))
        assert load_synthesizer(opened).weights == opened.weights

    def test_missing(self, bundle):
        path = self.weighed(bundle, "0" * 64)
        path.unlink()
        assert f"weights {path} are missing" in refusal(bundle, FileNotFoundError)


class TestShipped:
    @pytest.mark.parametrize("name", SHIPPED)
    def test_all_configs_parse(self, name):
        overrides = sorted(path.stem for path in (SHIPPED[name] / "configs").glob("*.json"))
        variants = [None, *open_bundle(name).metadata.get("variants", {}).values()]
        for variant in variants:
            for preset in ("fast", *(["paper"] if "paper" in overrides else [])):
                assert all(file.is_file() for file in config_files(SHIPPED[name], preset=preset, variant=variant))
                assert isinstance(load_synthesizer(name, preset=preset, variant=variant), AbnormalitySynthesizer)

    @pytest.mark.parametrize("variant", [None, "volume"], ids=["frames", "volumes"])
    def test_demo_inference_config_builds_every_entry(self, variant, tmp_path):
        names = ["common", *([variant] if variant else []), "inference"]
        parser = ConfigParser()
        parser.read_config([str(DEMO / "configs" / f"{name}.json") for name in names])
        parser.update({"bundle_root": str(DEMO), "output_dir": str(tmp_path)})
        wanted = [key for key in parser.config if not key.startswith("_") and key not in ("initialize", "run")]
        parsed = {key: parser.get_parsed_content(key) for key in wanted}
        assert parsed["evaluator"] is parsed["generator"] and parsed["inferer"] is parsed["synthesizer"]

    @pytest.mark.parametrize("name", SHIPPED)
    def test_metadata_by_monai(self, name):
        """MONAI downloads nothing where the schema is already at ``filepath``."""
        path = SHIPPED[name] / "configs" / "metadata.json"
        verify_metadata(meta_file=str(path), filepath=str(SCHEMA), hash_val=SCHEMA_DIGEST, hash_type="sha256")
        metadata = json.loads(path.read_text())
        assert metadata["version"] in metadata["changelog"]
        assert (SHIPPED[name] / "LICENSE").is_file() and open_bundle(name).data_terms

    @pytest.mark.parametrize(
        "change",
        [
            lambda metadata: metadata.pop("monai_version"),
            lambda metadata: metadata.update(version=1),
            lambda metadata: metadata["network_data_format"]["inputs"].pop("image"),
            lambda metadata: metadata["network_data_format"]["outputs"]["pred"].update(dtype="float31"),
            lambda metadata: metadata["network_data_format"]["inputs"]["image"].update(value_range=[0]),
            lambda metadata: metadata.update(validator_data_format={"inputs": {}}),
        ],
        ids=["missing", "version", "image", "dtype", "range", "second network"],
    )
    def test_schema_finds_faults(self, bundle, change):
        edit(bundle, change, "metadata.json")
        with pytest.raises(ValueError, match="Failed validating"):
            path = bundle / "configs" / "metadata.json"
            verify_metadata(meta_file=str(path), filepath=str(SCHEMA), hash_val=SCHEMA_DIGEST, hash_type="sha256")
