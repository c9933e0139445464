"""Render recorded samples again and compare them with what was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_diffaug.generation import manifest
from monai_diffaug.generation.files import (
    BadInput,
    StoredImage,
    StoredLabel,
    quantiser,
    read_image,
    read_label,
    read_map,
    read_stored,
    write_image,
    write_label,
    write_mask,
)
from monai_diffaug.generation.runfile import read_run
from monai_diffaug.synthesis import AbnormalitySynthesizer, SynthesisRecord, SynthesisRequest, SynthesisResult
from monai_diffaug.synthesis.provenance import environment, file_digest, versions


@dataclass(frozen=True)
class Comparison:
    """A replayed sample against the written one.

    Args:
        id: of the sample.
        difference: largest difference of decoded pixels, in stored values; 0 = the same; None = nothing to compare.
    """

    id: str
    difference: float | None


class Replayer:
    """Make the accepted samples of a generated folder again.

    Args:
        output: the folder that ``generate`` has written.
        synthesizer: of the recorded bundle, preset and batch shape.
        images_root: where the sources lie; the recorded place when not given.

    Raises:
        FileNotFoundError: when the run's files are missing.
        ValueError: when the synthesizer's weights are not the recorded ones.
    """

    def __init__(self, output: Path, synthesizer: AbnormalitySynthesizer, images_root: Path | None = None) -> None:
        self.output, self.synthesizer = output, synthesizer
        self.run = read_run(output)
        self.images_root = images_root or output / self.run["images_root"]
        if self.run["weights"] != synthesizer.weights:
            raise ValueError(
                f"this bundle's weights are not the recorded ones: recorded {self.run['weights']}, "
                f"here {synthesizer.weights}; give the bundle that made {output}"
            )

    def __call__(self, line: Mapping[str, Any], destination: Path) -> Comparison:
        """Render one accepted manifest line into ``destination`` and compare it.

        Raises:
            ValueError: when the source is missing or is not the recorded file.
        """
        source = self._source(line)
        stored = read_image(source, self.synthesizer.images)
        spatial = stored.array.shape[1:]
        mask = read_map(self.output / line["mask"], spatial)
        merged = read_label(self.output / line["label"], spatial)
        # The abnormality never lay on an existing lesion: without it, the label is what the painting saw.
        before = np.where(mask, np.zeros_like(merged.array), merged.array)
        request = SynthesisRequest(
            stored.array, line["seed"], before, stored.spacing, mask=mask, quantise=quantiser(stored)
        )
        result = self.synthesizer.replay(request, _record(line))
        self._write(line, stored, result, merged, destination)
        return Comparison(line["id"], self._difference(line, destination))

    def differing_environment(self) -> list[str]:
        """Return what differs between the recorded environment and this one."""
        renderer = self.synthesizer.renderer
        here = {**environment(renderer.device, autocast=renderer.autocast), **versions()}
        then = {**self.run["environment"], **self.run["versions"]}
        return [f"{key}: recorded {then.get(key)}, here {here.get(key)}" for key in here if then.get(key) != here[key]]

    def _source(self, line: Mapping[str, Any]) -> Path:
        source = self.images_root / line["source"]
        if not source.is_file():
            raise BadInput(f"{line['id']}: source {source} is missing; give the image root with --images")
        if file_digest(source) != line["source_sha256"]:
            raise BadInput(f"{line['id']}: source {source} is not the recorded file (its sha256 differs)")
        return source

    def _write(
        self, line: Mapping[str, Any], stored: StoredImage, result: SynthesisResult, label: StoredLabel, folder: Path
    ) -> None:
        for kind in ("image", "mask", "label"):
            (folder / line[kind]).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / line["image"], result.image, stored)
        write_mask(folder / line["mask"], result.mask, stored)
        write_label(folder / line["label"], result.label, label)

    def _difference(self, line: Mapping[str, Any], folder: Path) -> float | None:
        if not (self.output / line["image"]).is_file():
            return None
        places = (self.output / line["image"], folder / line["image"])
        before, now = (read_stored(place, self.synthesizer.images).array.astype(np.float64) for place in places)
        if before.shape != now.shape:
            raise BadInput(f"{line['id']}: {places[0]} has shape {before.shape}, not its source's {now.shape}")
        return float(np.abs(before - now).max())


def _record(line: Mapping[str, Any]) -> SynthesisRecord:
    try:
        return SynthesisRecord.from_json(line)
    except (KeyError, IndexError, TypeError) as error:
        raise BadInput(f"{line['id']}: its line in the manifest is broken ({error!r}); make the run anew") from error


def accepted_lines(path: Path, id_: str | None = None) -> Sequence[dict[str, Any]]:
    """Return the accepted lines of a manifest, or the one with an id.

    Raises:
        FileNotFoundError: when the manifest is missing.
        ValueError: when no such sample was accepted.
    """
    lines = manifest.read(path)
    chosen = [line for line in lines if line["accepted"] and id_ in (None, line["id"])]
    if not chosen:
        known = {line["id"]: line for line in lines}
        if id_ in known:
            raise ValueError(f"sample {id_} was refused, so there is nothing to replay; see its attempts in {path}")
        asked = "no accepted sample" if id_ is None else f"no sample {id_!r}"
        raise ValueError(f"{path} holds {asked}; its first ids are {', '.join(list(known)[:3])}")
    return chosen
