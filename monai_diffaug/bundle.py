"""From a bundle folder, or a shipped bundle's name, to a synthesizer."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monai_diffaug.configs import cause_of, read_configs, read_json
from monai_diffaug.synthesis import AbnormalitySynthesizer
from monai_diffaug.synthesis.provenance import file_digest


@dataclass(frozen=True)
class Bundle:
    """A bundle folder and what it says of itself.

    Args:
        root: the folder.
        metadata: its ``configs/metadata.json``.
        weights: ``models/NAME`` -> sha256 of the file; empty for a bundle without weights.
        data_terms: text of ``docs/data_license.txt``.
    """

    root: Path
    metadata: Mapping[str, Any]
    weights: Mapping[str, str]
    data_terms: str

    @property
    def name(self) -> str:
        return self.root.name

    def variant_for(self, spatial_dims: int) -> str | None:
        """Return the variant made for images of ``spatial_dims``, None when the bundle itself is, or none is."""
        return self.metadata.get("variants", {}).get(str(spatial_dims))


def load_synthesizer(
    bundle: str | Path | Bundle,
    *,
    device: str | torch.device = "cpu",
    preset: str = "fast",
    variant: str | None = None,
    prompts: str = "standard",
    intensity_range: tuple[float, float] | None = None,
    batch_size: int = 1,
    counts: Sequence[float] | None = None,
) -> AbnormalitySynthesizer:
    """Build the synthesizer of a bundle.

    Args:
        bundle: a shipped bundle's name, or a bundle folder (a path that contains "/" or exists), or one opened already.
        device: ``cpu``, ``cuda``, ``cuda:1`` ..., or ``auto`` (CUDA where there is one).
        preset: ``fast``, or another override file of the bundle's ``configs`` folder, such as ``paper``.
        variant: an override file for other images, such as ``volume``.
        prompts: the bank to draw texts from, ``minimal``, ``standard`` or ``extended``.
        intensity_range: image values that the networks see as -1 and +1, instead of the bundle's.
        batch_size: fixed batch shape of the networks; bytes are equal at equal batch shape.
        counts: weight of 1, 2, 3 ... abnormalities in one image, instead of the bundle's.

    Raises:
        FileNotFoundError: when the bundle, preset, variant or a weight file is missing.
        ValueError: when a config or a weight file is broken, or CUDA is asked for but absent.

    Example:
        >>> synthesizer = load_synthesizer("texture_demo", batch_size=4)
        >>> synthesizer.images.spatial_dims, synthesizer.renderer.batch_size
        (2, 4)
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    overrides = {
        "bundle_root": str(opened.root),
        "batch_size": batch_size,
        "device": str(pick_device(device)),
        "prompt_bank": prompts,
    }
    if intensity_range is not None:
        overrides["intensity_range"] = list(intensity_range)
    if counts is not None:
        overrides["counts"] = list(counts)
    return _build(config_files(opened.root, preset=preset, variant=variant), overrides, opened)


def describe(bundle: Bundle, *, preset: str, variant: str | None, prompts: str) -> dict[str, Any]:
    """Return what a run's report says of the bundle and of how it was used."""
    return {
        "bundle": bundle.name,
        "bundle_version": bundle.metadata.get("version", ""),
        "bundle_root": str(bundle.root),
        "preset": preset,
        "variant": variant,
        "prompts": prompts,
        "configs": {file.name: file_digest(file) for file in config_files(bundle.root, preset=preset, variant=variant)},
        "data_terms": bundle.data_terms,
        "intended_use": bundle.metadata.get("intended_use", ""),
        "recorded_rate": bundle.metadata.get("recorded_rate"),
    }


def describe_merged(
    bundle: Bundle, *, preset: str, variant: str | None, prompts: str, merged: Collection[str]
) -> dict[str, Any]:
    """Describe a bundle for a run's report, whose preset and variant must be those in force.

    Args:
        bundle, preset, variant, prompts: as for ``describe``.
        merged: names of the override files that were merged; each adds its own to the entry ``overrides``.

    Raises:
        ValueError: when a preset or variant is named whose file was not merged, or the reverse.
    """
    named = [name for name in (variant, preset if preset != "fast" else None) if name is not None]
    if set(named) != set(merged):
        raise ValueError(
            f"preset {preset!r} and variant {variant!r} are named, but the override files merged are "
            f"{', '.join(sorted(merged)) or 'none'}; "
            "choose them by --config_file (configs/NAME.json after common.json) alone"
        )
    return describe(bundle, preset=preset, variant=variant, prompts=prompts)


def open_bundle(bundle: str | Path) -> Bundle:
    """Read a bundle's metadata and digest its weights.

    Raises:
        FileNotFoundError: when there is no such bundle.
        ValueError: when its metadata is broken, or a weight file differs from the digest in the metadata.
    """
    root = find_bundle(bundle)
    metadata = read_json(root / "configs" / "metadata.json")
    weights = {path.name: file_digest(path) for path in sorted((root / "models").glob("*.pt"))}
    for name, expected in metadata.get("weights_sha256", {}).items():
        if name not in weights:
            raise FileNotFoundError(
                f"weights {root / 'models' / name} are missing (sha256 {expected}); reinstall the bundle"
            )
        if weights[name] != expected:
            raise ValueError(
                f"weights {root / 'models' / name} are corrupted or of another version: "
                f"sha256 {weights[name]}, the bundle's metadata says {expected}"
            )
    terms = root / "docs" / "data_license.txt"
    return Bundle(root, metadata, weights, terms.read_text("utf-8").strip() if terms.exists() else "")


def trained_weights(bundle: Bundle, stages: Sequence[str]) -> dict[str, str]:
    """Return the digests of a bundle's weights, all of whose networks are trained.

    Args:
        bundle: the opened bundle.
        stages: the trainings that synthesis needs, in their order.

    Raises:
        ValueError: when one has not been done: a gate that was never trained passes or refuses at random.
    """
    missing = [stage for stage in stages if stage not in bundle.metadata.get("trained", [])]
    if missing:
        raise ValueError(
            f"bundle {bundle.name} is not trained: {', '.join(missing)} missing; "
            f"run first: monai-diffaug train {missing[0]} --bundle {bundle.root} --data DATA"
        )
    return dict(bundle.weights)


def config_files(root: Path, *, preset: str = "fast", variant: str | None = None) -> list[Path]:
    """Return the config files of a synthesizer: ``common.json``, then the overrides.

    A preset's file sets ``preset`` to its own name, a variant's file ``variant``; no other config is one.

    Raises:
        FileNotFoundError: when there is no such preset or variant; names those that there are.
    """
    files = [root / "configs" / "common.json"]
    for kind, name, default in (("variant", variant, None), ("preset", preset, "fast")):
        if name == default:
            continue
        there = [file for file in sorted(files[0].parent.glob("*.json")) if _overrides(file, kind)]
        chosen = [file for file in there if file.stem == name]
        if not chosen:
            names = ", ".join([*([default] if default else []), *(file.stem for file in there)])
            raise FileNotFoundError(f"bundle {root.name} has no {kind} {name!r}; it has: {names or 'none'}")
        files += chosen
    if not files[0].is_file():
        raise FileNotFoundError(f"bundle {root.name} has no configs/common.json")
    return files


def _overrides(file: Path, kind: str) -> bool:
    """Whether a config is a preset's or a variant's override file."""
    if file.name in ("common.json", "metadata.json") or file.read_text("utf-8", "replace").lstrip().startswith("["):
        return False  # a list, such as one of names, is no config
    return read_json(file).get(kind) == file.stem


def bundle_entry(bundle: Bundle, name: str, *, variant: str | None = None) -> Any:
    """Return an entry of a bundle's configs as it is evaluated, None where there is none."""
    parser = read_configs(config_files(bundle.root, variant=variant))
    parser.update({"bundle_root": str(bundle.root)})
    return parser.get_parsed_content(name) if name in parser.config else None


def pick_device(device: str | torch.device) -> torch.device:
    """Return the device; ``auto`` is CUDA where there is one. Each process of torchrun has a CUDA device of its own.

    Raises:
        ValueError: when CUDA is asked for but absent, or the name is no device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device {device!r} is unknown; use auto, cpu or cuda") from error
    if picked.type not in ("cpu", "cuda"):
        raise ValueError(f"device {str(device)!r} is not supported; use auto, cpu or cuda")
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for but no CUDA device is available here; use --device cpu or auto")
    if picked.type == "cuda" and picked.index is None and (place := os.environ.get("LOCAL_RANK")):
        return torch.device("cuda", int(place) % max(torch.cuda.device_count(), 1))
    return picked


def shipped_bundles() -> dict[str, Path]:
    """Return the bundles that come with the package: name -> folder."""
    here = Path(__file__).resolve().parent
    # Installed, bundles lie inside the package; in a checkout beside it.
    home = next((folder for folder in (here / "bundles", here.parent / "bundles") if folder.is_dir()), here)
    return {path.parent.parent.name: path.parent.parent for path in sorted(home.glob("*/configs/metadata.json"))}


def find_bundle(bundle: str | Path) -> Path:
    """Return the folder of a shipped bundle's name, or of a bundle folder.

    Raises:
        FileNotFoundError: when there is no such bundle.
    """
    path = Path(bundle)
    shipped = shipped_bundles()
    if str(bundle) in shipped and not (path.is_dir() and (path / "configs").is_dir()):
        return shipped[str(bundle)]
    if (path / "configs" / "metadata.json").is_file():
        return path.resolve()
    if "/" in str(bundle) or path.exists():
        raise FileNotFoundError(f"{bundle} is no bundle folder: it has no configs/metadata.json")
    raise FileNotFoundError(
        f"bundle {str(bundle)!r} is unknown; shipped bundles: {', '.join(shipped)}; or give a folder"
    )


def _build(files: Sequence[Path], overrides: Mapping[str, Any], bundle: Bundle) -> AbnormalitySynthesizer:
    parser = read_configs(files)
    entries: Any = parser.config
    unknown = [key for key in ("synthesizer", "prompt_banks", *overrides) if key not in entries]
    if unknown:
        raise ValueError(f"{files[0]} lacks the entries {unknown}, which every bundle's common.json must have")
    if overrides["prompt_bank"] not in entries["prompt_banks"]:
        banks = ", ".join(entries["prompt_banks"])
        raise ValueError(f"prompt bank {overrides['prompt_bank']!r} is unknown to this bundle; it has: {banks}")
    # The bundle was opened already: its weights are digested once, and what is wrong with them is no config's fault.
    parser.update({**overrides, "bundle": bundle})
    return _parsed(parser, files)


def _parsed(parser: Any, files: Sequence[Path]) -> AbnormalitySynthesizer:
    try:
        return parser.get_parsed_content("synthesizer")
    except Exception as error:
        cause = cause_of(error)
        if isinstance(cause, FileNotFoundError):
            raise cause from error
        names = ", ".join(str(file) for file in files)
        sentence = (str(cause).splitlines() or [type(cause).__name__])[0]
        raise ValueError(f"the config {names} cannot be built: {sentence}") from error
