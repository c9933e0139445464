"""A fixed bank of windows, encoded once: no image goes through the autoencoder twice in a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from monai_diffaug.engines.draws import rng_for
from monai_diffaug.engines.windows import TrainingWindow
from monai_diffaug.synthesis.latent_diffusion import to_latent_area, to_latent_max

Group = dict[str, Any]
"""``latent`` and ``blanked`` (N, c, *latent) half precision; ``label``, ``paint`` bool (N, 1, *size), ``lesions`` bool
(N, K, *size), of each class; ``scale`` (N,); ``prompts``, ``names``, ``kinds``, N texts each."""


class Encoder(Protocol):
    """Encodes images (N, C, *size) in [-1, 1] to normalised latents, as ``LatentDiffusionInpainter`` does."""

    def encode(self, image: Tensor) -> Tensor: ...


def encode_windows(
    windows: Iterable[tuple[str, TrainingWindow]], encoder: Encoder, *, batch_size: int = 16, amp: bool = True
) -> Group:
    """Encode windows of one grid, as they are and with the paint mask blanked.

    Args:
        windows: (kind, window) pairs, at least one.
        encoder: the autoencoder's side of the inpainter.
        batch_size: windows that it sees at once.
        amp: bfloat16 autocast.
    """
    parts: list[Group] = []
    waiting: list[tuple[str, TrainingWindow]] = []
    for one in windows:
        waiting.append(one)
        if len(waiting) == batch_size:
            parts.append(_encoded(waiting, encoder, amp))
            waiting = []
    if waiting:
        parts.append(_encoded(waiting, encoder, amp))
    return {
        name: torch.cat([part[name] for part in parts])
        if isinstance(parts[0][name], Tensor)
        else [text for part in parts for text in part[name]]
        for name in parts[0]
    }


def _encoded(drawn: Sequence[tuple[str, TrainingWindow]], encoder: Encoder, amp: bool) -> Group:
    windows = [window for _, window in drawn]
    image = torch.stack([window.image for window in windows])
    paint = torch.stack([window.paint for window in windows])
    with torch.no_grad(), torch.autocast(device_of(encoder), torch.bfloat16, enabled=amp):
        latent, blanked = encoder.encode(image), encoder.encode(torch.where(paint > 0, 0.0, image))
    return {
        "latent": latent.half().cpu(),
        "blanked": blanked.half().cpu(),
        "label": torch.stack([window.label for window in windows]) > 0,
        "paint": paint > 0,
        "lesions": torch.stack([window.lesions for window in windows]) > 0,
        "scale": torch.tensor([window.scale for window in windows]),
        "prompts": [window.prompt for window in windows],
        "names": [window.name for window in windows],
        "kinds": [kind for kind, _ in drawn],
    }


def device_of(encoder: Any) -> str:
    """Return the type of the device that an encoder's weights are on."""
    weight = next(encoder.autoencoder.parameters(), None) if hasattr(encoder, "autoencoder") else None
    return weight.device.type if weight is not None else "cpu"


def draw_kinds(windows: Any, counts: Mapping[str, int]) -> Iterable[tuple[str, TrainingWindow]]:
    """Yield (kind, window): ``counts`` of ``lesion``, ``cut``, ``normal``, ``frame`` and ``bare``
    windows of a ``TrainingWindows``."""
    total = sum(counts.values())
    with tqdm(total=total, desc="encode windows", disable=None) as bar:
        for kind, count in counts.items():
            for index in range(count):
                yield kind, getattr(windows, kind)(index)
                bar.update()


def build_bank(
    windows: Sequence[Any], counts: Sequence[Mapping[str, int]], encoder: Encoder, *, batch_size: int = 16
) -> list[Group]:
    """Draw and encode a group for each ``TrainingWindows``; ``counts`` says how many of each kind."""
    pairs = zip(windows, counts, strict=True)
    return [encode_windows(draw_kinds(one, wanted), encoder, batch_size=batch_size) for one, wanted in pairs]


def bank_key(
    network: Any,
    facts: Sequence[Any],
    *,
    windows: Sequence[Any] = (),
    counts: Sequence[Mapping[str, int]] = (),
    parts: Sequence[str] = ("autoencoder",),
) -> str:
    """Return a digest of what a bank depends on: networks, the latents' statistics, ``facts`` and the windows.

    Args:
        network: the composite network.
        facts: where the data are, and whatever else the bank depends on, as text or numbers.
        windows: a ``TrainingWindows`` for each group. The first window of every kind stands for all others: it changes
            with the images, and with how windows, masks and words are drawn.
        counts: how many windows of each kind, for each group.
        parts: the composite network's parts that the bank was made with.
    """
    digest = sha256(repr([list(facts), [dict(wanted) for wanted in counts]]).encode())
    states = [getattr(network, part).state_dict() for part in parts]
    statistics = {"mean": network.latent_mean, "std": network.latent_std}
    for weights in (*states, statistics):
        for name in sorted(weights):
            digest.update(weights[name].detach().float().cpu().numpy().tobytes())
    for one, wanted in zip(windows, counts, strict=bool(windows)):
        for kind in wanted:
            drawn = getattr(one, kind)(0)
            digest.update(repr((drawn.name, drawn.prompt, drawn.scale)).encode())
            for part in (drawn.image, drawn.lesions, drawn.label, drawn.paint):
                digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def cached_bank(path: str | Path, key: str, build: Callable[[], list[Group]]) -> list[Group]:
    """Return the bank stored at ``path`` under ``key``; build and store it where there is none or it has another key.

    Args:
        path: file to keep it in.
        key: names all that the bank depends on (``bank_key``).
        build: makes the groups, one for each window grid.
    """
    path = Path(path)
    with idist.one_rank_first():  # the others find what it has stored
        if path.is_file():
            stored = torch.load(path, weights_only=True, mmap=True)
            if stored["key"] == key:
                return stored["groups"]
        groups = build()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save({"key": key, "groups": groups}, partial)
        partial.replace(path)
    return groups


def select(
    groups: Sequence[Group], *, kinds: Collection[str] | None = None, names: Collection[str] | None = None
) -> list[Group]:
    """Return the rows of every group that are of the given kinds and cases; all of them where not given.

    Raises:
        ValueError: when nothing is left of a group.
    """
    chosen = []
    for group in groups:
        rows = [
            row
            for row, (name, kind) in enumerate(zip(group["names"], group["kinds"], strict=True))
            if (names is None or name in names) and (kinds is None or kind in kinds)
        ]
        if not rows:
            raise ValueError("no window of the bank is left: the named cases or kinds are not in it")
        chosen.append(take(group, rows))
    return chosen


def take(group: Group, rows: Sequence[int]) -> Group:
    """Return rows of a group."""
    return {
        key: value[rows] if isinstance(value, Tensor) else [value[row] for row in rows] for key, value in group.items()
    }


def read_names(path: str | Path | None) -> frozenset[str] | None:
    """Return the names in a JSON list; None (all) where there is no such file."""
    return frozenset(json.loads(Path(path).read_text("utf-8"))) if path and Path(path).is_file() else None


class LatentBatches(Dataset):
    """Batches of encoded windows; an index is a whole batch, of windows of one grid.

    Args:
        groups: the bank, one group for each window grid.
        batch_cells: latent cells a batch, so that each grid costs the same.
        shares: how often each group is drawn; equally by default.
        scale_jitter: deviation of what is added to every window's scale, in octaves: small lesions are rare, and a
            large one seen from afar passes for one.
        seed: first half of every draw's seed.

    Raises:
        ValueError: where groups and shares differ in number.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        batch_cells: int = 16 * 32 * 32,
        shares: Sequence[float] = (),
        scale_jitter: float = 0.0,
        seed: int = 0,
    ) -> None:
        weights = np.array(list(shares) or [1.0] * len(groups), dtype=np.float64)
        if not groups or len(weights) != len(groups):
            raise ValueError(f"got {len(groups)} groups and {len(weights)} shares; need one share a group")
        self.groups, self.batch_cells, self.scale_jitter, self.seed = groups, batch_cells, scale_jitter, seed
        self.shares = (weights / weights.sum()).tolist()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a batch for ``InpaintingLoss`` and ``ValidatorLoss``."""
        rng = rng_for(self.seed, index)
        group = self.groups[int(rng.choice(len(self.groups), p=self.shares))]
        grid = group["latent"].shape[2:]
        count = max(1, self.batch_cells // grid.numel())
        rows = rng.integers(len(group["latent"]), size=count).tolist()
        batch = batch_of(group, rows)
        jitter = torch.from_numpy(rng.normal(0, 1, count).astype("float32"))
        return {**batch, "scale": batch["scale"] + self.scale_jitter * jitter}

    @staticmethod
    def collate(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the one batch that a step asks for."""
        (batch,) = batches
        return batch


def batch_of(group: Group, rows: Sequence[int]) -> dict[str, Any]:
    """Return rows of a group in single precision, with the masks on the latent grid."""
    latent = group["latent"][rows].float()
    return {
        "latent": latent,
        "blanked": group["blanked"][rows].float(),
        "area": to_latent_area(group["label"][rows].float(), latent.shape[2:]),
        "hold": to_latent_max(group["paint"][rows].float(), latent.shape[2:]),
        "target": group["lesions"][rows],
        "label": group["label"][rows],
        "paint": group["paint"][rows],
        "scale": group["scale"][rows],
        "prompts": [group["prompts"][row] for row in rows],
        "kinds": [group["kinds"][row] for row in rows],
    }
