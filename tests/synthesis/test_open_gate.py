"""A gate that lets everything through says so, and keeps what the real one would have said."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis import OpenGate, QualityGate
from tests.synthesis.fakes import Always
from tests.toys import toy_image, toy_synthesizer


def test_what_the_gate_refuses_is_delivered_at_the_first_attempt(spatial_dims):
    refusing = toy_synthesizer(spatial_dims, validator=Always(0.0))
    image = toy_image(spatial_dims)
    refused = refusing(image, seed=3)
    delivered = refusing.ungated()(image, seed=3)
    assert not refused.record.accepted
    assert np.array_equal(refused.image, image)
    assert delivered.record.accepted
    assert len(delivered.record.attempts) == 1
    assert delivered.record.attempts[0].reasons == ("overlap too low",)
    assert delivered.record.iou == 0
    outside = delivered.mask[0] == 0
    assert not np.array_equal(delivered.image, image)
    assert (delivered.image[:, outside] == image[:, outside]).mean() > 0.5


def test_the_first_attempt_is_the_same_as_under_the_gate(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims)
    image = toy_image(spatial_dims)
    seed = next(one for one in range(20) if len((found := synthesizer(image, seed=one)).record.attempts) == 1)
    gated, opened = synthesizer(image, seed=seed), synthesizer.ungated()(image, seed=seed)
    assert found.record.accepted
    assert np.array_equal(gated.image, opened.image)


def test_it_says_that_everything_is_accepted_and_is_opened_once():
    opened = toy_synthesizer(2).ungated()
    assert opened.renderer.gate.thresholds()["accepts_all"] is True
    assert "iou" in OpenGate(QualityGate()).thresholds()
    with pytest.raises(TypeError, match="only a QualityGate can be opened"):
        opened.ungated()
