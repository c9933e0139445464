"""Prompts are true of the mask they are drawn for, and a user's own are judged against it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from monai_diffaug.synthesis import Abnormality, PromptBank
from monai_diffaug.synthesis.attributes import outline_word, size_word
from tests.toys import ball

POLYP = Abnormality("polyp")
SIDE = 60


def bank(**kwargs):
    templates = ["{size} {name}, {outline}, {colour}, {texture}"]
    return PromptBank(templates, {"colour": ["redder", "paler"], "texture": ["smooth", "rough"]}, **kwargs)


def sized(spatial_dims, radius):
    return ball(spatial_dims, radius, shape=[SIDE] * spatial_dims)


def ones(spatial_dims):
    return (1.0,) * spatial_dims


@pytest.mark.parametrize(("radius", "size"), [(2, "small"), (5, "medium"), (12, "large")])
def test_size_and_outline_words_are_true(spatial_dims, radius, size):
    mask = sized(spatial_dims, radius)
    for seed in range(5):
        words = bank().draw(POLYP, mask, ones(spatial_dims), np.random.default_rng(seed)).split(", ")
        assert words[0] == f"{size} polyp"
        assert size_word(mask, ones(spatial_dims), (0.1, 0.25)) == size
        assert outline_word(mask, ones(spatial_dims)) in words


def test_every_word_is_drawn_and_the_order_is_shuffled_behind_the_head(spatial_dims):
    drawn = [
        bank().draw(POLYP, sized(spatial_dims, 6), ones(spatial_dims), np.random.default_rng(seed)).split(", ")
        for seed in range(60)
    ]
    assert {words[0] for words in drawn} == {"medium polyp"}
    assert {word for words in drawn for word in words[1:]} == {"round", "redder", "paler", "smooth", "rough"}
    assert len({tuple(words[1:].index(w) for w in words[1:] if w == "round") for words in drawn}) == 3


def test_words_are_balanced():
    drawn = [bank().draw(POLYP, sized(2, 5), (1, 1), np.random.default_rng(seed)) for seed in range(200)]
    assert np.mean(["redder" in prompt for prompt in drawn]) == pytest.approx(0.5, abs=0.12)


def test_same_rng_same_prompt(spatial_dims):
    mask = sized(spatial_dims, 5)
    one, other = (bank().draw(POLYP, mask, ones(spatial_dims), np.random.default_rng(3)) for _ in range(2))
    assert one == other


def test_a_minimal_bank_is_the_name():
    assert PromptBank(["{name}"]).draw(POLYP, sized(2, 5), (1, 1), np.random.default_rng(0)) == "polyp"


def test_drawn_prompts_pass_the_check(spatial_dims):
    mask = sized(spatial_dims, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(10):
            prompt = bank().draw(POLYP, mask, ones(spatial_dims), np.random.default_rng(seed))
            bank().check_words(prompt, ["polyp"])
            bank().check_size(prompt, mask, ones(spatial_dims))


@pytest.mark.parametrize("prompt", ["a polyp", "Medium POLYP", "polyp, redder", "the medium and rough polyp", "round"])
def test_known_text_passes_silently(spatial_dims, prompt):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bank().check_words(prompt, ["polyp"])
        bank().check_size(prompt, sized(spatial_dims, 5), ones(spatial_dims))


@pytest.mark.parametrize("word", ["small", "large", "Large"])
def test_a_contradicted_size_word_is_refused(spatial_dims, word):
    with pytest.raises(ValueError, match=f"says '{word.lower()}' but the mask is medium"):
        bank().check_size(f"{word} polyp", sized(spatial_dims, 5), ones(spatial_dims))


def test_size_words_are_judged_in_mm(spatial_dims):
    """A fifth of the shortest side in pixels is a twentieth of it in mm, once another axis is the shortest."""
    mask = np.zeros((20, 80, 80)[:spatial_dims], bool)
    mask[(slice(0, 1), slice(5, 9), slice(5, 6))[:spatial_dims]] = True
    bank().check_size("medium polyp", mask, ones(spatial_dims))
    spacing = (4.0, 1.0, 1.0)[:spatial_dims]
    bank().check_size("small polyp", mask, spacing)
    with pytest.raises(ValueError, match="the mask is small"):
        bank().check_size("medium polyp", mask, spacing)


def test_unknown_words_are_named():
    with pytest.warns(UserWarning, match="without effect: purple, tentacled$"):
        bank().check_words("a purple tentacled polyp", ["polyp"])


@pytest.mark.parametrize("prompt", ["", "a the of", "purple thing", "nodule"])
def test_no_content_word_is_refused_and_the_known_ones_named(prompt):
    with pytest.raises(ValueError, match="no word that this bundle knows.*polyp.*redder"):
        bank().check_words(prompt, ["polyp"])


def test_a_size_word_behind_a_hyphen_is_a_size_word_too(spatial_dims):
    """Text encoders separate at the hyphen, so the network reads ``large``."""
    with pytest.raises(ValueError, match="large"):
        bank().check_size("large-looking polyp", sized(spatial_dims, 5), ones(spatial_dims))


def test_words_of_templates_and_names_are_content():
    words = PromptBank(["an ulcerated {name}", "{name}, {border}"], {"border": ["sharp border"]}).content_words(
        ["adenoma", "signet-ring polyp"]
    )
    assert {"ulcerated", "adenoma", "polyp", "sharp", "border", "small", "irregular"} <= words
    assert not {"an", "name", "border}"} & words


@pytest.mark.parametrize(
    ("templates", "attributes", "message"),
    [
        ([], {}, "at least one template"),
        (["{name} {hue}"], {}, "hue"),
        (["{name}, {colour}"], {"color": ["red"]}, "colour"),
    ],
)
def test_a_wrong_bank_is_refused(templates, attributes, message):
    with pytest.raises(ValueError, match=message):
        PromptBank(templates, attributes)


@pytest.mark.parametrize("wrong", [{"name": " "}, {"name": "polyp", "value": 0}, {"name": "polyp", "weight": -1.0}])
def test_a_wrong_class_is_refused(wrong):
    with pytest.raises(ValueError, match="abnormality needs"):
        Abnormality(**wrong)
