"""The auditor: a network of another architecture, on pixels, trained on images that the validator never saw.

Its windows are those of use, with flips, turns and colour changes; it sees all of them on one grid. Training goes on
from its file in the cache, where there is one, and the finished network is read from there.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet
from torch import Tensor, nn
from tqdm import tqdm

from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.engines.draws import rng_for, turn
from monai_diffaug.engines.lesions import LabelledCases, bank_masks
from monai_diffaug.engines.windows import TrainingWindows
from monai_diffaug.synthesis.resample import resample, resample_mask

GRID = 128
NORMAL_SHARE = 0.2
DIFFERENT = 4000  # windows; each is turned and coloured anew whenever it is drawn
SAVE_EVERY = 100


class Auditor(nn.Module):
    """Segment windows in pixels.

    Args:
        spatial_dims: 2 or 3.
        channels: of the image.
        features: of the finest level.
    """

    def __init__(self, spatial_dims: int, channels: int, *, features: int = 16) -> None:
        super().__init__()
        plan: dict[str, Any] = {"blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1)}
        self.network = SegResNet(spatial_dims, features, in_channels=channels, out_channels=1, **plan)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 1, *size) of windows (N, C, *size) in [-1, 1]."""
        return self.network(image)

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """Return probabilities (N, 1, *size) of windows on any grid."""
        size = tuple(image.shape[2:])
        return resample(self(resample(image, (GRID,) * len(size))).float().sigmoid(), size)


class AuditWindows:
    """Batches of windows by number, on the auditor's grid.

    Args:
        cases: images and labels, as ``read_pairs`` gives them.
        synthesizer: whose window sampler and image format are in use.
        grid: cells of a window along each axis.
        seed: of every draw.
    """

    def __init__(
        self,
        cases: Sequence[Mapping[str, Any]],
        synthesizer: AbnormalitySynthesizer,
        *,
        grid: int = GRID,
        seed: int = 0,
    ) -> None:
        both = [*cases, *(halved(case) for case in cases)]  # small lesions are rare; frames of half the size have them
        images, windows, words = synthesizer.images, synthesizer.planner.windows, cast(Any, _no_words)
        masks = bank_masks(LabelledCases(cases))
        self.windows = TrainingWindows(LabelledCases(both), images, windows, masks, words, turned=False, seed=seed)
        self.grid, self.seed = grid, seed
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def batch(self, step: int, count: int) -> tuple[Tensor, Tensor]:
        """Return images (N, C, *grid) in [-1, 1] and lesions, 0 or 1, (N, 1, *grid)."""
        drawn = [self._one(step * count + place) for place in range(count)]
        return torch.stack([image for image, _ in drawn]), torch.stack([mask for _, mask in drawn])

    def _one(self, index: int) -> tuple[Tensor, Tensor]:
        place, rng = index % DIFFERENT, rng_for(self.seed, index)
        if place not in self.kept:
            self.kept[place] = self._window(place)
        image, mask = turn([self.kept[place][0].float() / 127.5 - 1, self.kept[place][1].float()], rng)
        return jittered(image, rng), mask

    def _window(self, place: int) -> tuple[Tensor, Tensor]:
        """Draw a window, as bytes: cutting it costs as much as a step of training."""
        rng, lesions = rng_for(self.seed + 1, place), len(self.windows.lesions)
        if rng.random() < NORMAL_SHARE:
            window = self.windows.normal(place)
        else:  # the lesions take turns by their number: any order of them is as good, but for neighbours in a batch
            window = self.windows.lesion(lesions * place + int(rng.integers(lesions)))
        size = (self.grid,) * (window.image.ndim - 1)
        mask = resample_mask(window.lesions, size) if window.lesions.any() else torch.zeros(1, *size)
        return ((resample(window.image, size) + 1) * 127.5).round().clamp(0, 255).byte(), mask.byte()


def jittered(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Change contrast, brightness and the balance of the channels (C, *size) in [-1, 1]."""
    unit = (image.clamp(-1, 1) + 1) / 2
    gains = torch.from_numpy(rng.uniform(0.85, 1.15, (len(image), *[1] * (image.ndim - 1)))).float()
    unit = unit.pow(float(np.exp(rng.uniform(-0.3, 0.3)))) * gains + float(rng.uniform(-0.1, 0.1))
    return unit.clamp(0, 1) * 2 - 1


def halved(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case at half the size."""
    shape = [max(n // 2, 16) for n in case["label"].shape]
    image = resample(torch.from_numpy(case["image"].astype(np.float32)), shape).numpy()
    share = resample(torch.from_numpy((case["label"] != 0).astype(np.float32)), shape).numpy()
    stored = case["image"].dtype
    image = np.rint(image) if np.issubdtype(stored, np.integer) else image
    return {**case, "image": image.astype(stored), "label": (share >= 0.5).astype(np.uint8)}


def audit_cases(
    train: Sequence[Mapping[str, Any]], val: Sequence[Mapping[str, Any]], validator_images: Path
) -> list[Mapping[str, Any]]:
    """Return the cases that the validator was not trained on.

    Args:
        train: the training split.
        val: the validation split.
        validator_images: JSON list of the names that the validator was trained on.

    Raises:
        ValueError: where a listed name is not in the training split.
    """
    taken = {Path(name).stem for name in json.loads(validator_images.read_text("utf-8"))}
    names = {Path(str(case["name"])).stem for case in train}
    if missing := sorted(taken - names):
        raise ValueError(f"{validator_images} lists {len(missing)} names that the data lacks, such as {missing[0]}")
    return [case for case in train if Path(str(case["name"])).stem not in taken] + list(val)


def trained_auditor(
    cases: Sequence[Mapping[str, Any]],
    synthesizer: AbnormalitySynthesizer,
    cache: Path,
    *,
    steps: int = 1500,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> Auditor:
    """Return an auditor trained on the cases: read from the cache, or trained from where its file there ends.

    Args:
        cases: images and labels.
        synthesizer: tells windows and image format; none of its networks is asked.
        cache: folder outside of the repository.
        steps: of training.
        batch_size: windows a step.
        learning_rate: at its height.
        seed: of weights and draws.
    """
    auditor = _fresh(synthesizer, seed).to(synthesizer.renderer.device)
    names, windows = sorted(str(case["name"]) for case in cases), (GRID, NORMAL_SHARE, DIFFERENT)
    about = [names, windows, steps, batch_size, learning_rate, seed, repr(auditor)]
    path = cache / f"auditor_{hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]}.pt"
    optimizer = torch.optim.AdamW(auditor.parameters(), lr=learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    parts: dict[str, Any] = {"network": auditor, "optimizer": optimizer, "schedule": schedule}
    start = 0
    if path.is_file():
        stored = torch.load(path, weights_only=True, map_location=synthesizer.renderer.device)
        start = stored.pop("step")
        for name, part in parts.items():
            part.load_state_dict(stored[name])
    if start < steps:
        _train(parts, AuditWindows(cases, synthesizer, seed=seed), path, range(start, steps), batch_size)
    return auditor.eval()


def _train(parts: Mapping[str, Any], windows: AuditWindows, path: Path, steps: range, batch_size: int) -> None:
    auditor, optimizer = parts["network"].train(), parts["optimizer"]
    device = next(auditor.parameters()).device
    loss_of = DiceCELoss(sigmoid=True, batch=True)
    with tqdm(total=steps.stop, initial=steps.start, desc="train auditor", file=sys.stderr, disable=None) as bar:
        for step in steps:
            image, mask = (one.to(device) for one in windows.batch(step, batch_size))
            with torch.autocast(device.type, torch.bfloat16):
                logits = auditor(image)
            loss = loss_of(logits.float(), mask)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(auditor.parameters(), 1.0)
            optimizer.step()
            parts["schedule"].step()
            bar.update()
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}")
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps.stop:
                _save(parts, step + 1, path)


def _save(parts: Mapping[str, Any], step: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, partial)
    partial.replace(path)


def _rate(step: int, steps: int) -> float:
    """Return the share of the learning rate: a short rise, then half a cosine."""
    return min((step + 1) / 50, 0.5 * (1 + math.cos(math.pi * step / steps)))


def _fresh(synthesizer: AbnormalitySynthesizer, seed: int) -> Auditor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Auditor(synthesizer.images.spatial_dims, synthesizer.images.channels)


def _no_words(*_: Any, key: Any = None) -> str:
    return ""
