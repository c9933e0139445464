"""The word-level text encoder."""

from __future__ import annotations

import copy
import pickle
import sys

import pytest
import torch

from monai_diffaug.networks.text import WordTextEncoder
from monai_diffaug.synthesis.prompts import split_words
from tests.tiny_networks import WORDS, tiny_text_encoder


@torch.no_grad()
def encode(encoder, prompts, scale=0.0):
    return encoder(prompts, torch.full((len(prompts),), scale))


def test_words_lose_case_and_punctuation():
    assert split_words("A red, well-defined Polyp (Paris 1s)!") == [
        "a",
        "red",
        "well",
        "defined",
        "polyp",
        "paris",
        "1s",
    ]
    encoder = tiny_text_encoder()
    assert torch.equal(encoder.tokenize(["Red, POLYP."]), encoder.tokenize(["red polyp"]))


def test_tokens_are_begin_words_end_padding():
    encoder = tiny_text_encoder()
    tokens = encoder.tokenize(["red polyp", ""])
    index = encoder.index
    assert tokens.tolist() == [[0, index["red"], index["polyp"], 1, 2, 2, 2, 2], [0, 1, 2, 2, 2, 2, 2, 2]]
    assert sorted(index.values()) == list(range(3, 3 + len(WORDS)))


def test_context_has_fixed_length_and_one_scale_token():
    context = encode(tiny_text_encoder(), ["red polyp", "a lesion", ""])
    assert context.shape == (3, 9, 16)
    assert context.isfinite().all()


def test_words_and_their_order_matter_and_unknown_words_do_not():
    context = encode(tiny_text_encoder(), ["red polyp", "pale polyp", "polyp red", "red xyzzy polyp"])
    assert not torch.allclose(context[0], context[1])
    assert not torch.allclose(context[0], context[2])
    assert torch.equal(context[0], context[3])


@pytest.mark.parametrize("prompt", ["", "  ", "xyzzy", "..."])
def test_text_without_known_words_is_the_null_context(prompt):
    encoder = tiny_text_encoder()
    context = encode(encoder, [prompt, "red"])
    assert torch.equal(context[0, :-1], encoder.null_context)
    assert not torch.allclose(context[1, :-1], encoder.null_context)


def test_scale_changes_its_own_token_alone():
    encoder = tiny_text_encoder()
    one, two = encode(encoder, ["red", ""], 0.0), encode(encoder, ["red", ""], 1.5)
    assert torch.equal(one[:, :-1], two[:, :-1])
    assert not torch.allclose(one[:, -1], two[:, -1])
    assert torch.equal(one[0, -1], one[1, -1])


def test_batch_mates_do_not_matter():
    encoder = tiny_text_encoder()
    one = encode(encoder, ["red polyp", "pale", ""])
    two = encode(encoder, ["", "red polyp", "rough lesion"])
    assert torch.equal(one[0], two[1])


def test_gradients_reach_every_weight_that_is_used():
    encoder = tiny_text_encoder()
    encoder(["red polyp", ""], torch.zeros(2)).square().sum().backward()
    assert encoder.null_context.grad.abs().sum() > 0
    assert encoder.scale_token.weight.grad.abs().sum() > 0
    assert encoder.transformer.embeddings.token_embedding.weight.grad.abs().sum() > 0


def test_copies_and_weights_round_trip():
    encoder = tiny_text_encoder()
    expected = encode(encoder, ["red polyp", ""])
    assert torch.equal(expected, encode(copy.deepcopy(encoder), ["red polyp", ""]))
    assert torch.equal(expected, encode(pickle.loads(pickle.dumps(encoder)), ["red polyp", ""]))
    with torch.random.fork_rng(devices=[]):
        other = WordTextEncoder(WORDS, hidden_size=16, layers=1, heads=2, max_length=8)
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(expected, encode(other, ["red polyp", ""]))


def test_half_precision():
    encoder = tiny_text_encoder()
    half = encode(copy.deepcopy(encoder).bfloat16(), ["red polyp", ""], 0.7)
    assert half.dtype == torch.bfloat16
    assert torch.allclose(half.float(), encode(encoder, ["red polyp", ""], 0.7), atol=0.1)


def test_long_prompts_are_refused_rather_than_cut():
    with pytest.raises(ValueError, match="7 known words, at most 6"):
        tiny_text_encoder().tokenize(["red red red red red red polyp"])


def test_prompts_and_scales_must_match():
    with pytest.raises(ValueError, match="2 prompts"):
        tiny_text_encoder()(["red", "pale"], torch.zeros(3))


@pytest.mark.parametrize(("words", "hidden_size"), [([], 8), (["..."], 8), (["red"], 7)])
def test_unusable_constructions_are_refused(words, hidden_size):
    with pytest.raises(ValueError, match="one word or more"):
        WordTextEncoder(words, hidden_size=hidden_size, layers=1, heads=1)


def test_missing_transformers_names_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match="pip install transformers"):
        WordTextEncoder(["red"], hidden_size=8, layers=1, heads=1)
