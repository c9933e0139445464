"""Start a bundle for images of one's own: the template in ``bundle/``, with the few entries that differ."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monai_diffaug.configs import read_json, write_json

TEMPLATE = Path(__file__).resolve().parent / "bundle"
TAKEN = ("network_def", "latent_channels", "patch")  # what a bundle's weights fit to


@dataclass(frozen=True)
class BundleSpec:
    """What a new bundle is for.

    Args:
        spatial_dims: 2 for frames, 3 for volumes.
        channels: of the images.
        intensity_range: image values that the networks see as -1 and +1.
        organ: the word for what the images show.
        lesions: class -> label value.
        organ_values: label values in which lesions may lie; empty means the background.
        protected: label values that stay as they are.
        patient: regular expression that finds the patient in a case's path, or None.

    Raises:
        ValueError: when a number or a name cannot be used.
    """

    spatial_dims: int
    channels: int
    intensity_range: tuple[float, float]
    organ: str
    lesions: Mapping[str, int]
    organ_values: Sequence[int] = ()
    protected: Sequence[int] = ()
    patient: str | None = None

    def __post_init__(self) -> None:
        if not (TEMPLATE.parent / "grids" / f"{self.spatial_dims}d.json").is_file() or self.channels < 1:
            raise ValueError(
                f"a bundle is for 2D or 3D images of 1 channel or more, got {self.spatial_dims}D and {self.channels}"
            )
        low, high = self.intensity_range
        if not low < high:
            raise ValueError(f"the intensity range must rise, got {low:g} to {high:g}")
        if not self.lesions or not self.organ.strip() or not all(name.strip() for name in self.lesions):
            raise ValueError(f"an organ and one lesion or more are needed, got {self.organ!r} and {list(self.lesions)}")
        values = [*self.lesions.values(), *self.organ_values, *self.protected]
        if len(set(values)) < len(values) or min(values) < 1:
            raise ValueError(f"label values must be different and above 0, got {values}")


def start_bundle(folder: Path, spec: BundleSpec, *, source: Path | None = None, terms: str = "") -> None:
    """Write a bundle without weights; it appears whole or not at all.

    Args:
        folder: new or empty.
        spec: what it is for.
        source: a bundle whose networks it shall have.
        terms: data terms of that bundle.

    Raises:
        ValueError: when the folder is not empty, or the other bundle is for other images.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder; give a new one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        shutil.copytree(TEMPLATE, made)
        write_json(made / "configs" / "common.json", _common(read_json(made / "configs" / "common.json"), spec, source))
        write_json(made / "configs" / "metadata.json", _metadata(read_json(made / "configs" / "metadata.json"), spec))
        for name, words in (("README.md", _words(spec, folder.name)), ("data_license.txt", {"source": terms})):
            path = made / "docs" / name
            path.write_text(path.read_text("utf-8").format(**words), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)


def _common(body: dict[str, Any], spec: BundleSpec, source: Path | None) -> dict[str, Any]:
    body["spatial_dims"], body["channels"] = spec.spatial_dims, spec.channels
    body["intensity_range"] = list(spec.intensity_range)
    body["abnormalities"] = [
        {"_target_": "monai_diffaug.synthesis.Abnormality", "name": name, "value": value}
        for name, value in spec.lesions.items()
    ]
    body["organ"], body["protected"], body["patient"] = [*spec.organ_values], [*spec.protected], spec.patient
    body["words"] = [*body["words"], *spec.lesions, spec.organ]
    body["filler"] = [*body["filler"], *spec.organ.lower().split()]
    if spec.channels != 3:
        _without_colour(body)
    for place, value in read_json(TEMPLATE.parent / "grids" / f"{spec.spatial_dims}d.json").items():
        _put(body, place.split("::"), value)
    if source is not None:
        _networks_of(body, read_json(source / "configs" / "common.json"), source)
    return body


def _put(body: dict[str, Any], place: Sequence[str], value: Any) -> None:
    """Replace an entry of a config by its place, such as ``network_def::denoiser``."""
    for key in place[:-1]:
        body = body[key]
    body[place[-1]] = value


def _without_colour(body: dict[str, Any]) -> None:
    """Leave out what only colour images have."""
    for bank in body["prompt_banks"].values():
        if bank["attributes"].pop("colour", None):
            bank["attributes"].setdefault("brightness", ["darker", "same brightness", "brighter"])
        bank["templates"] = [
            text.replace("{colour}, {brightness}", "{brightness}").replace("{colour}", "{brightness}")
            for text in bank["templates"]
        ]
    body["regions"]["rules"] = [{"_target_": "monai_diffaug.synthesis.BlackBorder"}]


def _networks_of(body: dict[str, Any], other: Mapping[str, Any], source: Path) -> None:
    """Take the networks of another bundle, whose weights shall be used."""
    lacking = [name for name in (*TAKEN, "spatial_dims", "channels") if name not in other]
    if lacking:
        raise ValueError(f"bundle {source.name} has no networks to begin with: its common.json lacks {lacking}")
    for name in ("spatial_dims", "channels"):
        if other[name] != body[name]:
            raise ValueError(f"bundle {source.name} has {name} {other[name]}, but {body[name]} was asked for")
    body |= {name: other[name] for name in TAKEN}
    body["network_def"] = {**other["network_def"], "prompt": "$@abnormalities[0].name"}


def _metadata(body: dict[str, Any], spec: BundleSpec) -> dict[str, Any]:
    lesions, place = " and ".join(spec.lesions), ["16*n"] * spec.spatial_dims
    body["name"] = f"{spec.organ} {lesions}"
    body["task"] = f"Synthesis of {lesions} in images of the {spec.organ}"
    body["image_classes"] = f"{spec.spatial_dims}D image of the {spec.organ}, {spec.channels} channel(s)"
    channels = {str(channel): f"channel {channel}" for channel in range(spec.channels)}
    formats = body["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    mask = {str(spec.channels): "mask, above 0 where to paint"}
    image |= {"num_channels": spec.channels + 1, "spatial_shape": place, "channel_def": {**channels, **mask}}
    pred |= {"num_channels": spec.channels, "spatial_shape": place, "channel_def": channels}
    return body


def _words(spec: BundleSpec, name: str) -> dict[str, Any]:
    low, high = (f"{value:g}" for value in spec.intensity_range)
    classes = ", ".join(f"`{lesion}` (label value {value})" for lesion, value in spec.lesions.items())
    lesions = " and ".join(spec.lesions)
    facts = {"spatial_dims": spec.spatial_dims, "channels": spec.channels, "low": low, "high": high}
    return {"name": name, "organ": spec.organ, "lesions": lesions, "classes": classes, **facts}
