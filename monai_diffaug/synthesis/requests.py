"""What a caller asks for, checked once at the door."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from monai_diffaug.synthesis.images import ImageFormat
from monai_diffaug.synthesis.targets import Target


@dataclass(frozen=True)
class SynthesisRequest:
    """What a caller asks for.

    Args:
        image: stored values, (C, *spatial).
        seed: the sample's whole randomness, an integer from 0.
        label: integer map of what is there already, (*spatial) or (1, *spatial); None = taken as normal.
        spacing: size of a pixel or voxel on each axis in mm; None = unknown, counted in pixels.
        regions: non-zero where an abnormality may lie, (*spatial) or (1, *spatial).
        mask: the abnormality to paint, instead of drawing one, (*spatial) or (1, *spatial).
        prompt: text to paint from, instead of drawing one.
        abnormality: name of the class to paint, where a bundle has several.
        quantise: rounds painted values to what the image's file can hold (scaled integers), so that the gate judges the
            pixels that are delivered; None where the dtype says it all.
        target: size, place, class and words that are wanted, instead of drawing them.
    """

    image: Any
    seed: int
    label: Any = None
    spacing: Sequence[float] | None = None
    regions: Any = None
    mask: Any = None
    prompt: str | None = None
    abnormality: str | None = None
    quantise: Callable[[np.ndarray], np.ndarray] | None = None
    target: Target | None = None


def from_fields(fields: Mapping[str, Any]) -> SynthesisRequest:
    """Return the request of a mapping.

    Raises:
        TypeError: when it is no mapping, lacks the image or the seed, or has a key that no request has.
    """
    known = list(SynthesisRequest.__annotations__)
    if not isinstance(fields, Mapping) or not {"image", "seed"} <= set(fields) <= set(known):
        given = list(fields) if isinstance(fields, Mapping) else type(fields).__name__
        raise TypeError(f"a request must be a mapping with image, seed and any of {', '.join(known[2:])}; got {given}")
    return SynthesisRequest(**fields)


def checked(request: SynthesisRequest, images: ImageFormat) -> SynthesisRequest:
    """Return the request with plain arrays, maps without channel axis and a tuple of spacing.

    Raises:
        ValueError: when a shape, value or number cannot be used.
        TypeError: when a dtype or the seed is not of a usable kind.
    """
    image = _array(request.image)
    images.check(image)
    spatial = image.shape[1:]
    if isinstance(request.seed, bool) or not isinstance(request.seed, numbers.Integral):
        raise TypeError(f"seed must be an integer from 0, got {request.seed!r}")
    if request.seed < 0:
        raise ValueError(f"seed must be an integer from 0, got {request.seed}")
    for name, text in (("prompt", request.prompt), ("abnormality", request.abnormality)):
        if text is not None and not isinstance(text, str):
            raise TypeError(f"{name} must be text, got {text!r}")
    if request.target is not None and len(request.target.centre) != len(spatial):
        raise ValueError(f"the target's place has {len(request.target.centre)} axes, the image {len(spatial)}")
    if request.target is not None and request.mask is not None:
        raise ValueError("a mask and a target were given, but a mask has its size and place already; give one of them")
    return replace(
        request,
        image=image,
        seed=int(request.seed),
        label=_integer_map("label", request.label, spatial),
        spacing=_spacing(request.spacing, len(spatial)),
        regions=_map("regions", request.regions, spatial),
        mask=_map("mask", request.mask, spatial),
    )


def like(array: np.ndarray, example: Any) -> Any:
    """Return ``array`` in the container of ``example``: a tensor on its device, or an array."""
    return torch.from_numpy(array).to(example.device) if isinstance(example, torch.Tensor) else array


def _array(given: Any) -> np.ndarray:
    if isinstance(given, torch.Tensor):
        # A MetaTensor's own numpy() keeps no metadata, but goes through slow dispatch: the plain tensor is asked.
        if given.layout != torch.strided or given.dtype == torch.bfloat16:
            raise TypeError(f"a tensor of {given.layout} and {given.dtype} cannot be used; make it dense and float32")
        plain = given.detach().as_subclass(torch.Tensor)
        return plain.numpy(force=True)
    if isinstance(given, np.ndarray):
        return np.asarray(given)
    raise TypeError(f"an image or map must be a NumPy array or a torch tensor, got {type(given).__name__}")


def _map(name: str, given: Any, spatial: tuple[int, ...]) -> np.ndarray | None:
    """Return a map (*spatial), its channel axis of length 1 removed."""
    if given is None:
        return None
    array = _array(given)
    if array.ndim == len(spatial) + 1 and array.shape[0] > 1 and array.shape[1:] == spatial:
        raise ValueError(
            f"{name} has {array.shape[0]} channels; one integer map is needed: take the argmax, or give one channel"
        )
    if array.shape not in (spatial, (1, *spatial)):
        raise ValueError(f"{name} has shape {array.shape} but the image's is {spatial}; they must be equal")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinite values; replace them first")
    return array.reshape(spatial)


def _integer_map(name: str, given: Any, spatial: tuple[int, ...]) -> np.ndarray | None:
    array = _map(name, given, spatial)
    if array is None or array.dtype.kind in "iub":
        return array if array is None or array.dtype.kind != "b" else array.astype(np.uint8)
    if array.dtype.kind != "f" or (array != np.rint(array)).any():
        raise ValueError(f"{name} of dtype {array.dtype} holds values that are not whole; an integer map is needed")
    return array


def _spacing(spacing: Sequence[float] | None, dims: int) -> tuple[float, ...] | None:
    if spacing is None:
        return None
    try:
        lengths = tuple(float(one) for one in spacing)
    except (TypeError, ValueError) as error:
        raise TypeError(f"spacing must be {dims} positive numbers (mm), got {spacing!r}") from error
    if len(lengths) != dims or min(lengths) <= 0 or not np.isfinite(lengths).all():
        raise ValueError(f"spacing must be {dims} positive numbers (mm), got {list(spacing)}")
    return lengths
