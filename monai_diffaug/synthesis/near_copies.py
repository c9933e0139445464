"""Refuse samples whose painted lesion repeats a training lesion."""

from __future__ import annotations

import functools
from itertools import permutations, product

import torch
from torch import Tensor
from torch.nn.functional import normalize

from monai_diffaug.synthesis.latent_diffusion import to_latent_area

WIDEN = 0.05
"""Growth of a mask's bounding box on each side, over its extent: outlines do not follow latent cells."""


class NearCopies:
    """Compare painted lesions with descriptors of the training lesions.

    Samples are painted into images of the user's own, so a copy shows in the lesion and not in the window around it.
    A descriptor is the latent inside the label mask's bounding box, a little widened, averaged on a coarse grid,
    centred channel by channel, faded out where the mask ends (else the user's own background in the corners of the box
    hides a copy), normalised, and projected at random, always by the same matrix, to some 100 numbers, which keeps
    cosines. So what a bundle ships of its training images is no thumbnail: between one and two numbers a cell of a
    coarse grid, without colour, brightness, contrast or proportions, and of the lesion alone. A copy stays one when it
    is flipped or turned by right angles.

    Args:
        descriptors: of the training lesions, (M, D), each of unit length.
        threshold: a cosine above this is a near copy.
        cells: coarse grid on each axis.

    Raises:
        ValueError: where the descriptors are none, or the threshold is no cosine.

    Example:
        >>> import torch
        >>> latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> masks = torch.zeros(3, 1, 64, 64)
        >>> masks[..., 20:44, 12:50] = 1
        >>> copies = NearCopies(NearCopies.describe(latents[:2], masks[:2]))
        >>> copies(latents.flip(-1), masks.flip(-1)).tolist()
        [True, True, False]
    """

    def __init__(self, descriptors: Tensor, *, threshold: float = 0.95, cells: int = 8) -> None:
        if descriptors.ndim != 2 or len(descriptors) == 0:
            raise ValueError(f"descriptors must be (M, D) with M above 0, got shape {tuple(descriptors.shape)}")
        if not -1 <= threshold <= 1 or cells < 1:
            raise ValueError(f"threshold must lie in [-1, 1] and cells be 1 or more, got {threshold} and {cells}")
        self.descriptors = descriptors.float().cpu()
        self.threshold = threshold
        self.cells = cells

    @staticmethod
    def describe(latents: Tensor, masks: Tensor, *, cells: int = 8, numbers: int = 96) -> Tensor:
        """Return descriptors (N, numbers), on the CPU.

        Args:
            latents: (N, c, *latent).
            masks: the lesions on the window grid, 0 or 1, (N, 1, *size), none of them empty.
            cells: coarse grid on each axis.
            numbers: length of a descriptor.
        """
        with torch.autocast("cpu", enabled=False):  # the networks' arithmetic must not reach the verdict's
            grids = [_looks(latent, mask, cells) for latent, mask in zip(latents, masks, strict=True)]
            return torch.cat([_project(grid[None], numbers) for grid in grids])

    def cosines(self, latents: Tensor, masks: Tensor) -> Tensor:
        """Return for each lesion the greatest cosine with a training lesion, over all flips and turns, (N,).

        Args:
            latents: (N, c, *latent).
            masks: the lesions on the window grid, 0 or 1, (N, 1, *size), none of them empty.
        """
        # One lesion at a time and on the CPU: neither its batch-mates nor the device can sway a verdict.
        with torch.autocast("cpu", enabled=False):
            nearest = [self._nearest(latent, mask) for latent, mask in zip(latents, masks, strict=True)]
        return torch.stack(nearest).clamp(-1, 1)

    def __call__(self, latents: Tensor, masks: Tensor) -> Tensor:
        """Return bool (N,): True where a training lesion is repeated; arguments as for ``cosines``."""
        return self.cosines(latents, masks) > self.threshold

    def _nearest(self, latent: Tensor, mask: Tensor) -> Tensor:
        turned = _project(_turns(_looks(latent, mask, self.cells)), self.descriptors.shape[1])
        return (turned @ self.descriptors.T).max()


def _looks(latent: Tensor, mask: Tensor, cells: int) -> Tensor:
    """Return what a lesion looks like on a coarse grid, (c, *cells): centred, and 0 where its mask (1, *size) ends."""
    latent, mask = latent.float().cpu(), mask.float().cpu()
    points, size = torch.nonzero(mask[0]), torch.tensor(mask.shape[1:])
    low, high = points.amin(0), points.amax(0) + 1
    wide = WIDEN * (high - low)
    box = torch.stack([(low - wide) / size, (high + wide) / size], dim=1).clamp(0, 1).tolist()
    area, axes = to_latent_area(mask[None], latent.shape[1:])[0], tuple(range(1, latent.ndim))
    mean = (latent * area).sum(axes, keepdim=True) / area.sum()
    return _average((latent - mean) * area, box, cells)


def _average(values: Tensor, box: list[list[float]], cells: int) -> Tensor:
    """Average (c, *grid) over ``cells`` equal parts, on each axis, of a box in fractions of the grid."""
    for axis, (low, high) in enumerate(box, start=1):
        count = values.shape[axis]
        bounds = torch.linspace(low * count, high * count, cells + 1)
        # Shares of each grid cell in each part: parts begin and end within cells.
        first = torch.arange(count)
        shares = torch.minimum(bounds[1:, None], first + 1) - torch.maximum(bounds[:-1, None], first)
        shares = normalize(shares.clamp_min(0), p=1.0, dim=1)
        values = torch.tensordot(values, shares, dims=([axis], [1])).movedim(-1, axis)
    return values


def _turns(grid: Tensor) -> Tensor:
    """Return all flips and turns by right angles of a grid (c, *cells), (K, c, *cells)."""
    axes = range(1, grid.ndim)
    flips = [
        [axis for axis, flip in zip(axes, choice, strict=True) if flip] for choice in product((0, 1), repeat=len(axes))
    ]
    return torch.stack([grid.permute(0, *order).flip(flip) for order in permutations(axes) for flip in flips])


def _project(grids: Tensor, numbers: int) -> Tensor:
    """Return coarse grids (K, c, *cells) projected, (K, numbers), each of unit length; what is flat stays near 0."""
    values = normalize(grids.flatten(1), dim=1, eps=1e-3)
    # The projection keeps lengths but for a tenth or so: what is shorter than half was flat, and must not be blown up.
    return normalize(values @ _projection(values.shape[1], numbers), dim=1, eps=0.5)


@functools.cache
def _projection(values: int, numbers: int) -> Tensor:
    """Return the one random projection of its size, (values, numbers)."""
    return torch.randn((values, numbers), generator=torch.Generator().manual_seed(0)) / numbers**0.5
