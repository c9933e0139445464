"""Inpainters and validators that do what a test tells them."""

from __future__ import annotations

import torch

from monai_diffaug.synthesis import SynthesisRequest, TextureInpainter
from tests.toys import toy_image


class Recorder:
    """Pass everything on to a ``TextureInpainter`` and remember what was asked."""

    def __init__(self, fail_first=0):
        self.inner = TextureInpainter(contrast=0.6)
        self.fail_first = fail_first
        self.canvases, self.prompts, self.seeds, self.encoded, self.decoded = [], [], [], [], []

    def encode(self, image):
        self.encoded.append(image)
        return self.inner.encode(image)

    def decode(self, latent):
        self.decoded.append(latent)
        return self.inner.decode(latent)

    def inpaint(self, canvas, prompts, seeds, keep=None):
        self.canvases.append(canvas)
        self.prompts.append(list(prompts))
        self.seeds.append(list(seeds))
        painted = canvas.source + 0.6 * canvas.label_mask
        if len(self.seeds) <= self.fail_first:
            painted = canvas.source
        if keep is not None:
            self.kept = keep(0.0, painted)
        return painted


class Always:
    """Predict what it is told, whatever the latent."""

    def __init__(self, value):
        self.value = value

    def __call__(self, latent, source, size):
        return torch.full((len(latent), 1, *size), self.value)


def requests(spatial_dims, count, **fields):
    """Return requests for different images with the seeds 0, 1, 2 ..."""
    return [SynthesisRequest(toy_image(spatial_dims, seed=k), k, **fields) for k in range(count)]
