"""Real lesions in words: only true words, any choice of them, measured once."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.engines import words as module
from monai_diffaug.engines.lesions import LabelledCases, measured_cuts
from monai_diffaug.engines.words import LesionWords, attribute_cuts
from tests.tiny_training import CUTS, image_format, toy_cases
from tests.toys import ball, toy_image

SIZES = (0.15, 0.3)


def lesion(spatial_dims: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    image = toy_image(spatial_dims) / 255.0
    return image, ball(spatial_dims, 6), (1.0,) * spatial_dims


def test_all_words_or_none(spatial_dims: int) -> None:
    image, mask, spacing = lesion(spatial_dims)
    rng = np.random.default_rng(0)
    assert LesionWords({"polyp": CUTS}, SIZES, keep=0.0)("polyp", image, mask, spacing, rng) == "polyp"
    said = LesionWords({"polyp": CUTS}, SIZES, keep=1.0)("polyp", image, mask, spacing, rng)
    head, *looks = said.split(", ")
    assert head.split()[1:] == ["round", "polyp"] and head.split()[0] in ("small", "medium", "large")
    assert len(looks) == len(CUTS)


def test_every_word_is_true_whichever_are_said(spatial_dims: int) -> None:
    image, mask, spacing = lesion(spatial_dims)
    everything = set(
        LesionWords({"polyp": CUTS}, SIZES, keep=1.0)("polyp", image, mask, spacing, np.random.default_rng(0)).split()
    )
    words = LesionWords({"polyp": CUTS}, SIZES)
    texts = {words("polyp", image, mask, spacing, np.random.default_rng(seed)) for seed in range(30)}
    assert len(texts) > 5
    for text in texts:
        assert "polyp" in text and {word.strip(",") for word in text.split()} <= {w.strip(",") for w in everything}


def test_a_lesion_with_a_key_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask, spacing = lesion(2)
    measured: list[int] = []
    real = module.measure
    monkeypatch.setattr(module, "measure", lambda *arguments: measured.append(1) or real(*arguments))
    words = LesionWords({"polyp": CUTS}, SIZES)
    for seed in range(3):
        words("polyp", image, mask, spacing, np.random.default_rng(seed), key="a")
    assert len(measured) == 1
    words("polyp", image, mask, spacing, np.random.default_rng(0))
    assert len(measured) == 2


def test_cuts_leave_a_third_on_each_side() -> None:
    measured = [{"colour": value / 30} for value in range(31)]
    low, high = attribute_cuts(measured)["colour"]
    assert low == pytest.approx(1 / 3, abs=1e-3) and high == pytest.approx(2 / 3, abs=1e-3)


def test_lesions_of_a_data_set(spatial_dims: int) -> None:
    labelled = LabelledCases(toy_cases(spatial_dims, 3))
    found = list(labelled.masks())
    assert [case["name"] for case, _ in found] == ["case0", "case1", "case2"]
    assert all((mask == (case["label"] > 0)).all() for case, mask in found)
    cuts = measured_cuts(labelled, image_format(spatial_dims))["lesion"]
    assert set(cuts) == {"colour", "brightness", "border", "texture", "shine"}
    assert all(low <= high for low, high in cuts.values())
