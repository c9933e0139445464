"""Small cases and a small weight-free synthesizer, in 2D and 3D; everything is drawn from seeds of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from monai_diffaug.synthesis import (
    Abnormality,
    AbnormalitySynthesizer,
    ChangeValidator,
    FormulaShapes,
    ImageFormat,
    Inpainter,
    LatentValidator,
    LesionPlan,
    Planner,
    PromptBank,
    QualityGate,
    RandomMask,
    Regions,
    RelativeSize,
    Renderer,
    SynthesisResult,
    TextureInpainter,
    WindowSampler,
)

SHAPES = {2: (80, 96), 3: (32, 28, 36)}
GRIDS = {2: (64,), 3: (24,)}
SIZES = {2: (0.15, 0.4), 3: (0.3, 0.5)}
THRESHOLDS = {2: 0.7, 3: 0.55}  # one cell of a small volume's surface is a large part of its overlap


def toy_image(spatial_dims: int, *, channels: int = 1, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    """Return a smooth image (channels, *spatial) whose values fill about 40 to 210, of any dtype."""
    noise = np.random.default_rng(seed).standard_normal((channels, *SHAPES[spatial_dims]))
    smooth = ndimage.gaussian_filter(noise, (0, *[4] * spatial_dims))
    smooth = 125 + 85 * smooth / np.abs(smooth).max()
    return (np.rint(smooth) if np.issubdtype(dtype, np.integer) else smooth).astype(dtype)


def ball(
    spatial_dims: int, radius: float, *, centre: Sequence[float] | None = None, shape: Sequence[int] | None = None
) -> np.ndarray:
    """Return a bool mask of a ball, in the middle of a toy image unless told otherwise; its extent is 2 radius + 1."""
    shape = SHAPES[spatial_dims] if shape is None else shape
    centre = [n // 2 for n in shape] if centre is None else centre
    grid = np.meshgrid(*(np.arange(n) - c for n, c in zip(shape, centre, strict=True)), indexing="ij")
    return np.sqrt(sum(axis**2.0 for axis in grid)) <= radius


def toy_planner(
    spatial_dims: int,
    *,
    regions: Regions | None = None,
    abnormalities: Sequence[Abnormality] = (Abnormality("polyp"),),
    counts: Sequence[float] = (1.0,),
    size: tuple[float, float] | None = None,
    max_attempts: int = 4,
    margin: float = 0.1,
) -> Planner:
    """Return a planner for ``toy_image``."""
    return Planner(
        regions or Regions(),
        RandomMask(FormulaShapes(), RelativeSize(*(size or SIZES[spatial_dims]))),
        PromptBank(
            ["{size} {name}, {colour}", "{outline} {name}, {colour}", "{name}"],
            {"colour": ["redder", "paler", "darker", "brighter"]},
        ),
        WindowSampler(GRIDS[spatial_dims]),
        abnormalities=abnormalities,
        counts=counts,
        max_attempts=max_attempts,
        margin=margin,
    )


def toy_synthesizer(
    spatial_dims: int,
    *,
    planner: Planner | None = None,
    inpainter: Inpainter | None = None,
    validator: LatentValidator | None = None,
    gate: QualityGate | None = None,
    batch_size: int = 1,
    channels: int = 1,
    intensity_range: tuple[float, float] = (0.0, 255.0),
) -> AbnormalitySynthesizer:
    """Return a synthesizer for ``toy_image``: every part that is not given is the weight-free one, at small size."""
    return AbnormalitySynthesizer(
        ImageFormat(spatial_dims, channels, intensity_range),
        planner or toy_planner(spatial_dims),
        Renderer(
            inpainter or TextureInpainter(),
            validator or ChangeValidator(),
            gate or QualityGate(iou=THRESHOLDS[spatial_dims]),
            batch_size=batch_size,
        ),
    )


def assert_untouched_outside(result: SynthesisResult, plans: Sequence[LesionPlan], image: np.ndarray) -> None:
    """Assert that only accepted paint masks differ from the image, and that inside of them most pixels do."""
    paint = np.zeros(image.shape[1:], bool)
    for plan, one in zip(plans, result.record.abnormalities, strict=True):
        paint |= plan.paint & one.accepted
    assert result.image.dtype == image.dtype and result.image.shape == image.shape
    assert result.image[:, ~paint].tobytes() == image[:, ~paint].tobytes()
    if result.record.accepted:
        assert (result.image != image)[:, result.mask[0] > 0].mean() > 0.5
