"""Several classes: each has its sizes and is judged by the validator's channel of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import (
    Abnormality,
    ChangeValidator,
    FormulaShapes,
    MasksByClass,
    RandomMask,
    RelativeSize,
    SynthesisRequest,
)
from monai_diffaug.synthesis.gate import LESION_BEFORE, LOW_IOU
from tests.synthesis.fakes import Recorder
from tests.toys import toy_image, toy_planner, toy_synthesizer

CYST, TUMOUR = Abnormality("cyst", 1), Abnormality("tumour", 2)


class Sees:
    """Segment every change as a lesion of one class; ``already``: be sure of lesions of the other one everywhere."""

    def __init__(self, channel: int, *, already: bool = False) -> None:
        self.channel, self.already, self.change = channel, already, ChangeValidator()

    def __call__(self, latent, source, size):
        seen = torch.zeros(len(latent), 2, *size)
        seen[:, self.channel] = self.change(latent, source, size)[:, 0]
        if self.already:
            seen[:, 1 - self.channel] = 1.0
        return seen


def synthesizer(spatial_dims: int, validator: Sees):
    planner = toy_planner(spatial_dims, abnormalities=(CYST, TUMOUR))
    made = toy_synthesizer(spatial_dims, planner=planner, inpainter=Recorder(), validator=validator)
    made.renderer.classes = ("cyst", "tumour")
    return made


@pytest.mark.parametrize("seen", [0, 1])
@pytest.mark.parametrize("asked", [CYST, TUMOUR])
def test_a_class_must_be_seen_as_itself(spatial_dims, asked, seen):
    result = synthesizer(spatial_dims, Sees(seen))(toy_image(spatial_dims), seed=1, abnormality=asked.name)
    right = (CYST, TUMOUR)[seen] is asked
    assert result.record.accepted == right
    if right:
        assert set(np.unique(result.label)) == {0, asked.value}
    else:
        assert all(LOW_IOU in attempt.reasons for attempt in result.record.attempts)


def test_a_lesion_of_any_class_before_painting_is_a_reason_against(spatial_dims):
    result = synthesizer(spatial_dims, Sees(0, already=True))(toy_image(spatial_dims), seed=1, abnormality="cyst")
    assert not result.record.accepted and LESION_BEFORE in result.record.attempts[0].reasons


def test_each_class_has_its_own_sizes(spatial_dims):
    planner = toy_planner(spatial_dims, abnormalities=(CYST, TUMOUR))
    shape = FormulaShapes()
    planner.masks = MasksByClass(
        {
            "cyst": RandomMask(shape, RelativeSize(0.2, 0.25)),
            "tumour": RandomMask(shape, RelativeSize(0.45, 0.5)),
        }
    )
    image = toy_image(spatial_dims)
    areas = {
        name: [
            planner(SynthesisRequest(image, seed, abnormality=name), image / np.float32(255))[0].mask.sum()
            for seed in range(5)
        ]
        for name in ("cyst", "tumour")
    }
    assert max(areas["cyst"]) < min(areas["tumour"])


def test_sizes_of_an_unknown_class_are_an_error():
    with pytest.raises(ValueError, match="no sizes are known of 'wart'; known are cyst"):
        MasksByClass.from_extents({"cyst": (0.1, 0.2)}).of("wart")
    with pytest.raises(ValueError, match="at least one class"):
        MasksByClass({})
