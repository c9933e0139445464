"""Figures of images, masks and records: reconstruction, overlap, the best constant shape, acceptance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any

import torch
from monai.metrics import SSIMMetric
from torch import Tensor

from monai_diffaug.synthesis import SynthesisRecord
from monai_diffaug.synthesis.gate import LESION_BEFORE


def psnr(image: Tensor, reference: Tensor, *, data_range: float = 2.0) -> Tensor:
    """Return the peak signal-to-noise ratio of each sample in dB, (N,).

    Args:
        image: (N, C, *size).
        reference: (N, C, *size).
        data_range: largest minus smallest possible value; 2 for the networks' [-1, 1].
    """
    error = (image.float() - reference.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(data_range**2 / error.clamp_min(1e-12))


def ssim(image: Tensor, reference: Tensor, *, data_range: float = 2.0) -> Tensor:
    """Return the structural similarity of each sample by MONAI's metric, (N,); arguments as for ``psnr``."""
    metric = SSIMMetric(spatial_dims=image.ndim - 2, data_range=data_range)
    return torch.as_tensor(metric(image.float(), reference.float())).reshape(len(image))


def overlaps(pred: Tensor, mask: Tensor) -> Tensor:
    """Return intersection over union of each sample, (N,); 1 where both are empty.

    Args:
        pred: 0 or 1, (N, 1, *size).
        mask: 0 or 1, (N, 1, *size).
    """
    pred, mask = pred.flatten(1) > 0, mask.flatten(1) > 0
    union = (pred | mask).sum(1)
    return torch.where(union > 0, (pred & mask).sum(1) / union.clamp_min(1), 1.0)


def best_constant_overlap(masks: Tensor, *, semi_axes: Sequence[float] = ()) -> tuple[float, Tensor]:
    """Return the best mean overlap that one shape has with all masks, and that shape.

    The family is the mean mask cut at every level, and centred ellipsoids of any proportions. The shape is chosen on
    the very masks that it is judged on: a network that ignores its input would hardly get more.

    Args:
        masks: not empty ones, 0 or 1, (N, 1, *size).
        semi_axes: of the ellipsoids, as fractions of the window's side; 0.1 to 0.7 in steps of 0.05 by default.

    Returns:
        Mean intersection over union, and the shape, bool (1, *size).

    Raises:
        ValueError: where there is no mask, or one of them is empty.

    Example:
        >>> masks = torch.zeros(2, 1, 8, 8)
        >>> masks[..., 2:6, 2:6] = 1
        >>> best_constant_overlap(masks)[0]
        1.0
    """
    flat = masks.flatten(1).float()
    areas = flat.sum(1)
    if not len(masks) or not bool((areas > 0).all()):
        raise ValueError(f"got {len(masks)} masks, {int((areas == 0).sum())} of them empty; leave out the empty ones")
    best, chosen = -1.0, masks[0] > 0
    for shape in _constant_shapes(masks, semi_axes or [0.05 * k for k in range(2, 15)]):
        both = flat @ shape.flatten().float()
        mean = float((both / (areas + shape.sum() - both)).mean())
        if mean > best:
            best, chosen = mean, shape
    return best, chosen


def _constant_shapes(masks: Tensor, semi_axes: Sequence[float]) -> Iterator[Tensor]:
    """Yield the family of ``best_constant_overlap``, bool (1, *size) each."""
    mean = masks.float().mean(0)
    yield from (mean >= level for level in torch.linspace(0.02, 1, 50) * mean.max())
    places = [(torch.arange(n) + 0.5) / n - 0.5 for n in mean.shape[1:]]
    grid = torch.stack(torch.meshgrid(*places, indexing="ij"))
    for axes in product(semi_axes, repeat=len(grid)):
        scaled = grid / torch.tensor(axes).reshape(-1, *[1] * len(grid))
        yield (scaled.square().sum(0) <= 1)[None]


def acceptance(records: Iterable[SynthesisRecord]) -> dict[str, Any]:
    """Count what the gate accepted.

    Args:
        records: of samples with one abnormality each, or several, which then count on their own.

    Returns:
        ``samples``: planned abnormalities; ``seen_before``: the share refused before anything was painted, as the
        window seemed to hold a lesion; ``attempts``: how often something was painted; ``per_attempt`` and
        ``first_attempt``: the share of these, or of first ones, that was accepted; ``per_sample``: the share of all
        planned abnormalities that came to be; ``reasons``: how many of the painted attempts each check refused.
    """
    planned = [one for record in records for one in record.abnormalities]
    painted = [one for one in planned if not _seen_before(one.attempts)]
    attempts = [attempt for one in painted for attempt in one.attempts]
    reasons = Counter(reason for attempt in attempts if not attempt.accepted for reason in attempt.reasons)
    return {
        "samples": len(planned),
        "seen_before": _share([_seen_before(one.attempts) for one in planned]),
        "attempts": len(attempts),
        "per_attempt": _share([attempt.accepted for attempt in attempts]),
        "first_attempt": _share([one.attempts[0].accepted for one in painted]),
        "per_sample": _share([one.accepted for one in planned]),
        "reasons": dict(reasons.most_common()),
    }


def _seen_before(attempts: Sequence[Any]) -> bool:
    """Whether the only entry tells of a window that was left alone."""
    first = attempts[0]
    return len(attempts) == 1 and first.stopped_early and first.reasons == (LESION_BEFORE,)


def _share(answers: Sequence[bool]) -> float | None:
    return sum(answers) / len(answers) if answers else None
