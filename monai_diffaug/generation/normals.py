"""Normal frames from noise, in a folder: backgrounds for whoever has no images without lesions."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from monai_diffaug.generation.files import atomic_write
from monai_diffaug.synthesis import AbnormalitySynthesizer, LatentDiffusionInpainter, SceneMaker, Stage
from monai_diffaug.synthesis.lesion_scan import windows_with_lesions
from monai_diffaug.synthesis.provenance import environment, versions

NAME = "normals.json"


def quick_stages(grid: int, steps: int = 24) -> tuple[Stage, Stage]:
    """Return two passes that take about a second: the whole frame on the small grid, then windows half again as large.

    Args:
        grid: the networks' smallest.
        steps: of the first pass; the second takes a quarter of them.
    """
    return Stage(grid, side=grid, start=1.0, steps=steps), Stage(grid * 3 // 2, start=0.4, steps=max(1, steps // 4))


@dataclass(frozen=True)
class NormalFrames:
    """Make frames of normal tissue from noise, and keep those in which the bundle's own gate sees no lesion.

    Args:
        synthesizer: trained networks, with the plain denoiser (preset ``paper``).
        stages: see ``SceneMaker``.
        shape: of the frames, in pixels.
        most_lesions: greatest share of a frame's windows in which the gate may see a lesion.
        tries: candidates for each frame wanted, at most.
        progress: show a progress bar on standard error.

    Raises:
        ValueError: where the bundle has no trained networks, or its images are no RGB frames.
    """

    synthesizer: AbnormalitySynthesizer
    stages: Sequence[Stage]
    shape: tuple[int, ...]
    most_lesions: float = 0.1
    tries: int = 10
    progress: bool = True

    def __post_init__(self) -> None:
        images = self.synthesizer.images
        if not isinstance(self.synthesizer.renderer.inpainter, LatentDiffusionInpainter):
            raise ValueError("the bundle paints without networks, so it knows no normal tissue; give a trained bundle")
        if images.spatial_dims != 2 or images.channels != 3 or tuple(images.intensity_range) != (0.0, 255.0):
            raise ValueError(
                "normal images from noise are made of RGB frames of 8 bits alone; use monai-diffaug remove"
            )

    def __call__(self, output: Path, num: int, seed: int, about: dict[str, Any]) -> int:
        """Write ``images/normal_SEED.png`` and ``normals.json``; return how many frames there are.

        A frame depends on its seed and on what ``normals.json`` says; what is there is not made again.

        Args:
            output: folder; new, or one with frames of the same settings.
            num: frames wanted.
            seed: of the first candidate; the next ones have the numbers after it.
            about: what is written of the bundle.

        Raises:
            ValueError: when the folder holds something else.
        """
        settings = json.loads(json.dumps({**about, **self._told()}))
        self._begin(output, settings)
        kept: list[dict[str, Any]] = []
        refused: list[int] = []
        with tqdm(total=num, desc="frames", disable=not self.progress) as bar:
            for one in range(seed, seed + self.tries * num):
                if len(kept) == num:
                    break
                told = self._frame(output / "images" / f"normal_{one:06d}.png", one)
                if told["lesions"] > self.most_lesions:
                    refused.append(one)
                    continue
                kept.append(told)
                bar.update()
        _write(output, {**settings, "frames": kept, "refused_seeds": refused})
        return len(kept)

    def _begin(self, output: Path, settings: dict[str, Any]) -> None:
        """Write the settings, or compare them with those that are there."""
        if not output.exists() or not any(output.iterdir()):
            _write(output, settings)
        there = json.loads((output / NAME).read_text("utf-8")) if (output / NAME).is_file() else {}
        other = [name for name in settings if settings[name] != there.get(name)]
        if other:
            raise ValueError(f"{output} holds no frames of these settings ({other[0]} differs); give a new folder")

    def _frame(self, path: Path, seed: int) -> dict[str, Any]:
        frame = self._stored(path) if path.is_file() else self._made(seed)
        lesions = windows_with_lesions(self.synthesizer, frame)
        if not path.is_file() and lesions <= self.most_lesions:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = io.BytesIO()
            Image.fromarray(frame.transpose(1, 2, 0)).save(stream, "PNG")
            atomic_write(path, stream.getvalue())
        return {"file": f"images/{path.name}", "seed": seed, "lesions": round(lesions, 4)}

    def _stored(self, path: Path) -> np.ndarray:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)

    def _made(self, seed: int) -> np.ndarray:
        own = self.synthesizer.renderer
        inpainter: Any = copy(own.inpainter)
        inpainter.guidance_scale = 1.0  # the text of normal tissue needs no pressing
        size, channels = own.batch_size, self.synthesizer.images.channels
        maker = SceneMaker(
            inpainter, self.stages, channels=channels, overlap=0.25, batch_size=size, autocast=own.autocast
        )
        return np.rint(self.synthesizer.images.from_network(maker(seed, self.shape).numpy())).astype(np.uint8)

    def _told(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "stages": [asdict(stage) for stage in self.stages],
            "most_lesions": self.most_lesions,
            "batch_size": self.synthesizer.renderer.batch_size,
            "weights": dict(self.synthesizer.weights),
            "versions": dict(versions()),
            "environment": environment(torch.device(self.synthesizer.renderer.device)),
        }


def _write(output: Path, content: dict[str, Any]) -> None:
    output.mkdir(parents=True, exist_ok=True)
    atomic_write(output / NAME, (json.dumps(content, indent=1) + "\n").encode())
