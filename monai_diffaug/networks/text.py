"""Encode prompts for cross-attention with a small CLIP text transformer over a vocabulary of whole words."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_diffaug.synthesis.prompts import split_words

_BOS, _EOS, _PAD, _FIRST_WORD = 0, 1, 2, 3


class WordTextEncoder(nn.Module):
    """Turn prompts and window scales into context tokens: ``max_length`` text tokens and one scale token.

    Words outside the vocabulary are dropped here; whoever makes prompts warns about them. A prompt without any known
    word, "" above all, becomes the learned null context. The scale token stays in both cases.

    Args:
        words: vocabulary; case and punctuation do not matter, order does (it numbers the embeddings).
        hidden_size: channels of a token, a multiple of ``heads`` and even.
        layers: number of transformer layers.
        heads: number of attention heads.
        max_length: text tokens, begin and end included; longer prompts are an error.

    Raises:
        ValueError: for an empty vocabulary or an odd ``hidden_size``.
        ImportError: where transformers is missing.

    Example:
        >>> encoder = WordTextEncoder(["red", "polyp"], hidden_size=8, layers=1, heads=2)
        >>> tuple(encoder(["a red polyp", ""], torch.zeros(2)).shape)
        (2, 17, 8)
    """

    def __init__(
        self, words: Sequence[str], *, hidden_size: int = 128, layers: int = 2, heads: int = 4, max_length: int = 16
    ) -> None:
        super().__init__()
        vocabulary = dict.fromkeys(word for entry in words for word in split_words(entry))
        if not vocabulary or hidden_size % 2:
            raise ValueError(
                f"need one word or more and an even hidden_size, got {len(vocabulary)} words and {hidden_size}"
            )
        self.index = {word: _FIRST_WORD + k for k, word in enumerate(vocabulary)}
        self.max_length = max_length
        self.transformer = _clip_text_model(_FIRST_WORD + len(vocabulary), hidden_size, layers, heads, max_length)
        self.scale_token = nn.Linear(hidden_size, hidden_size)
        self.null_context = nn.Parameter(0.02 * torch.randn(max_length, hidden_size))

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Number the known words of each prompt, (N, max_length) int64: begin, words, end, padding.

        Raises:
            ValueError: for a prompt with more than ``max_length - 2`` known words.
        """
        rows = []
        for prompt in prompts:
            known = [self.index[word] for word in split_words(prompt) if word in self.index]
            if len(known) > self.max_length - 2:
                raise ValueError(
                    f"prompt {prompt!r} has {len(known)} known words, at most {self.max_length - 2} fit; shorten it"
                )
            rows.append([_BOS, *known, _EOS] + [_PAD] * (self.max_length - 2 - len(known)))
        return torch.tensor(rows, dtype=torch.int64)

    def forward(self, prompts: Sequence[str], scale: Tensor) -> Tensor:
        """Encode prompts.

        Args:
            prompts: N texts.
            scale: (N,), log2 of image pixels per window cell.

        Returns:
            context (N, max_length + 1, hidden_size).

        Raises:
            ValueError: where prompts and scales differ in number, or a prompt is too long.
        """
        if scale.shape != (len(prompts),):
            raise ValueError(f"got {len(prompts)} prompts and scales of shape {tuple(scale.shape)}; need one each")
        weight = self.null_context
        tokens = self.tokenize(prompts).to(weight.device)
        text = self.transformer(input_ids=tokens).last_hidden_state
        empty = (tokens[:, 1] == _EOS)[:, None, None]
        text = torch.where(empty, weight.to(text.dtype), text)
        waves = _waves(scale.to(weight.device), weight.shape[-1]).to(weight.dtype)
        return torch.cat([text, self.scale_token(waves)[:, None].to(text.dtype)], dim=1)


def _waves(scale: Tensor, channels: int) -> Tensor:
    """Embed scales of a few octaves by sines and cosines of 0.25 to 8 radians an octave, (N, channels) float32."""
    frequencies = torch.logspace(-2, 3, channels // 2, base=2, device=scale.device)
    angles = scale.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _clip_text_model(vocabulary: int, hidden_size: int, layers: int, heads: int, max_length: int) -> nn.Module:
    try:
        # Imported here: it takes seconds, and only who encodes text needs it.
        from transformers import CLIPTextConfig, CLIPTextModel
    except ImportError as error:
        raise ImportError("WordTextEncoder needs transformers; install it with: pip install transformers") from error
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=max_length,
        bos_token_id=_BOS,
        eos_token_id=_EOS,
        pad_token_id=_PAD,
    )
    return CLIPTextModel(config)
