"""What normal tissue is begun from."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis.erasing import continued, mirrored


def box(spatial_dims, low=8, high=16, size=24):
    hidden = np.zeros((size,) * spatial_dims, bool)
    hidden[(slice(low, high),) * spatial_dims] = True
    return hidden


def test_colours_are_continued_from_tissue_alone(spatial_dims):
    hidden = box(spatial_dims)
    values = np.full((1, *hidden.shape), 0.25)
    values[:, hidden] = 9.0
    border = np.zeros_like(hidden)
    border[:3] = True
    values[:, border] = -1.0
    filled = continued(values, hidden, ~border)
    np.testing.assert_allclose(filled[:, hidden], 0.25)
    assert (filled[:, ~hidden] == values[:, ~hidden]).all()


def test_the_nearest_colours_count_most():
    hidden = np.zeros((8, 40), bool)
    hidden[:, 10:30] = True
    values = np.where(np.arange(40) < 20, -1.0, 1.0)[None, None].repeat(8, 1)
    filled = continued(values, hidden, ~hidden)[0, 4]
    assert filled[10] < -0.5 and filled[29] > 0.5 and (np.diff(filled[10:30]) > 0).all()


def test_without_tissue_whatever_is_not_hidden_serves():
    hidden = box(2)
    values = np.where(hidden, 9.0, 0.5)[None]
    assert continued(values, hidden, np.zeros_like(hidden)).max() == pytest.approx(0.5)


def test_grain_is_mirrored_at_the_edge_and_never_shown_from_inside(spatial_dims):
    hidden = box(spatial_dims)
    index = np.indices(hidden.shape)[-1].astype(float)[None]
    shown = mirrored(np.where(hidden, 1e6, index), hidden)
    middle = (0, *(12,) * (spatial_dims - 1))
    assert shown[(*middle, 8)] == 6 and shown[(*middle, 15)] == 17
    assert shown.max() < 24 and (shown[0][~hidden] == index[0][~hidden]).all()


def test_all_hidden_shows_nothing():
    assert not mirrored(np.ones((1, 4, 4)), np.ones((4, 4), bool)).any()
