"""Fixtures that every test may ask for; none of them touches global random state."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toys import toy_image as make_image
from tests.toys import toy_synthesizer

# Tensors here are tiny: on a busy machine threads that wait for each other cost ten times what they save.
torch.set_num_threads(1)


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def spatial_dims(request) -> int:
    """Number of spatial dimensions: every test that asks for it runs on frames and on volumes."""
    return request.param


@pytest.fixture
def toy_image(spatial_dims) -> np.ndarray:
    """One smooth uint8 image, (1, *spatial), of the size that ``toy_synthesizer`` expects."""
    return make_image(spatial_dims)


@pytest.fixture
def synthesizer(spatial_dims):
    """A small weight-free synthesizer for ``toy_image``."""
    return toy_synthesizer(spatial_dims)
