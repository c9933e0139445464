"""Bad input is refused in one clear sentence, before anything is painted."""

from __future__ import annotations

import numpy as np
import pytest

from tests.toys import SHAPES, ball, toy_image


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"image": lambda d: toy_image(d)[:, :15]}, ValueError, "16 pixels"),
        ({"image": lambda d: toy_image(d, channels=3)}, ValueError, "3 channels"),
        ({"image": lambda d: np.full((1, *SHAPES[d]), np.nan)}, ValueError, "NaN"),
        ({"image": lambda d: toy_image(d, dtype=np.int16) + 300}, ValueError, "intensity range"),
        ({"image": lambda d: toy_image(d)[0]}, ValueError, "D images"),
        ({"label": lambda d: np.ones(SHAPES[d], np.uint8)}, ValueError, "covers the whole image"),
        ({"label": lambda d: np.zeros((2, *SHAPES[d]), np.uint8)}, ValueError, "2 channels"),
        ({"regions": lambda d: np.zeros(SHAPES[d], np.uint8)}, ValueError, "regions are empty"),
        ({"mask": lambda d: np.zeros(SHAPES[d], np.uint8)}, ValueError, "mask is empty"),
        ({"mask": lambda d: np.pad(ball(d, 3), 1)}, ValueError, "mask has shape"),
        ({"mask": lambda d: ball(d, 3), "label": lambda d: ball(d, 3).astype(np.uint8)}, ValueError, "move the mask"),
        ({"prompt": lambda d: "xyzzy"}, ValueError, "no word that this bundle knows"),
        ({"abnormality": lambda d: "xyzzy"}, ValueError, "unknown to this bundle"),
        ({"spacing": lambda d: (1.0,) * (d + 1)}, ValueError, "spacing must be"),
        ({"seed": lambda d: True}, TypeError, "seed"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(spatial_dims, synthesizer, fields, error, message):
    given = {"image": toy_image(spatial_dims), "seed": 0}
    given |= {name: make(spatial_dims) for name, make in fields.items()}
    with pytest.raises(error, match=message) as raised:
        synthesizer(**given)
    assert "\n" not in str(raised.value)
