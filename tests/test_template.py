"""A new bundle from the template: the shipped bundle's configs, with the entries that the words say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from monai.bundle import verify_net_in_out

from monai_diffaug.bundle import shipped_bundles
from monai_diffaug.configs import read_configs
from monai_diffaug.template import TEMPLATE, BundleSpec, start_bundle

POLYPS = shipped_bundles()["polyp_endoscopy"]
SAME = sorted(
    path.name for path in (TEMPLATE / "configs").iterdir() if path.name not in ("common.json", "metadata.json")
)
SPEC = BundleSpec(2, 3, (0.0, 255.0), "skin", {"naevus": 1, "basal cell carcinoma": 2}, protected=[5])


def common(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "configs" / "common.json").read_text("utf-8"))


@pytest.mark.parametrize("name", SAME)
def test_the_shipped_bundle_has_the_templates_configs(name: str) -> None:
    assert (TEMPLATE / "configs" / name).read_text("utf-8") == (POLYPS / "configs" / name).read_text("utf-8")


def test_the_shipped_bundle_differs_in_few_entries() -> None:
    ours, theirs = common(POLYPS), common(TEMPLATE)
    differing = {name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)}
    assert differing == {"_desc_", "dataset_dir", "grain", "abnormalities", "least_pixels", "regions", "words"} | {
        "prompt_banks",
        "filler",
    }


def test_what_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    start_bundle(folder, SPEC, terms="\nTERMS\n")
    body = common(folder)
    assert [(one["name"], one["value"]) for one in body["abnormalities"]] == [*SPEC.lesions.items()]
    assert body["protected"] == [5] and "skin" in body["filler"]
    parser = read_configs([folder / "configs" / "common.json"])
    encoder = parser.get_parsed_content("network_def").text_encoder
    assert {"naevus", "basal", "cell", "carcinoma", "skin"} <= set(encoder.index)
    assert "TERMS" in (folder / "docs" / "data_license.txt").read_text("utf-8")
    readme = (folder / "docs" / "README.md").read_text("utf-8")
    assert "`basal cell carcinoma` (label value 2)" in readme and "{" not in readme.replace("```", "")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("channels", [1, 3])
def test_networks_for_any_images(tmp_path: Path, spatial_dims: int, channels: int) -> None:
    start_bundle(tmp_path / "mine", replace(SPEC, spatial_dims=spatial_dims, channels=channels))
    parser = read_configs([tmp_path / "mine" / "configs" / "common.json"])
    network = parser.get_parsed_content("network_def")
    first = next(network.autoencoder.parameters())
    assert first.ndim == spatial_dims + 2 and first.shape[1] == channels
    assert sum(one.numel() for one in network.parameters()) < 17e6
    formats = json.loads((tmp_path / "mine" / "configs" / "metadata.json").read_text())["network_data_format"]
    image = formats["inputs"]["image"]
    assert image["num_channels"] == channels + 1 and len(image["spatial_shape"]) == spatial_dims
    words = json.dumps(parser.get("prompt_banks"))
    assert ("redder" in words) == (channels == 3)


def test_monai_accepts_it(tmp_path: Path, spatial_dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start_bundle(tmp_path / "mine", replace(SPEC, spatial_dims=spatial_dims, channels=1))
    monkeypatch.chdir(tmp_path)
    meta, config = (str(tmp_path / "mine" / "configs" / f"{name}.json") for name in ("metadata", "common"))
    schema = json.loads((Path(__file__).parent / "data" / "meta_schema.json").read_text("utf-8"))
    jsonschema.validate(json.loads(Path(meta).read_text("utf-8")), schema)
    verify_net_in_out(net_id="network_def", meta_file=meta, config_file=config, n=2, p=1, device="cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"channels": 0}, "1 channel or more, got 2D and 0"),
        ({"spatial_dims": 4}, "2D or 3D images"),
        ({"intensity_range": (1.0, 0.0)}, "must rise, got 1 to 0"),
        ({"lesions": {}}, "one lesion or more are needed"),
        ({"organ": " "}, "an organ and one lesion"),
        ({"protected": [2]}, "must be different and above 0"),
        ({"lesions": {"cyst": 0}}, "must be different and above 0"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(SPEC, **change)


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        start_bundle(tmp_path, SPEC)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
