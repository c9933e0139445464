"""Text that fits the drawn mask, from a bank with three levels; and the check of a user's own text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monai_diffaug.synthesis.attributes import outline_word, size_word

SIZE_WORDS = ("small", "medium", "large")
NORMAL_TEXT = "normal tissue"
"""The text of windows without a lesion: it paints none, and removes one."""


@dataclass(frozen=True)
class Abnormality:
    """One class of abnormality.

    Args:
        name: the word for it in prompts, e.g. ``polyp``.
        value: its value in the label map, above 0.
        weight: how often it is drawn, relative to the others.
    """

    name: str
    value: int = 1
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.value < 1 or self.weight < 0 or not self.name.strip():
            raise ValueError(f"an abnormality needs a name, a value above 0 and a weight from 0, got {self}")

    def goes_by(self, text: str) -> bool:
        """Whether a text is its name, or its value in the label map."""
        return text in (self.name, str(self.value))


class PromptBank:
    """Draw prompts that describe the mask truly, and judge prompts that a user wrote.

    A template is text with slots: ``{name}``, ``{size}`` and ``{outline}`` come from the class and the mask, every
    other slot from ``attributes``. The attributes' order in the text is shuffled by the comma.

    Args:
        templates: one of them is drawn per prompt; ``minimal`` is usually ``["{name}"]``.
        attributes: slot -> words to draw from, e.g. ``{"colour": ["paler", "redder"]}``.
        size_cuts: extents over the image's shortest side between small and medium, medium and large.
        filler: further words that carry no meaning (articles and the like), known but not content.

    Example:
        >>> import numpy as np
        >>> bank = PromptBank(["{size} {name}, {colour}"], {"colour": ["redder"]})
        >>> mask = np.zeros((100, 100), bool)
        >>> mask[10:15, 10:15] = True
        >>> sorted(bank.draw(Abnormality("polyp"), mask, (1, 1), np.random.default_rng(0)).split(", "))
        ['redder', 'small polyp']
    """

    def __init__(
        self,
        templates: Sequence[str],
        attributes: Mapping[str, Sequence[str]] | None = None,
        *,
        size_cuts: tuple[float, float] = (0.1, 0.25),
        filler: Sequence[str] = ("a", "an", "the", "with", "of", "and", "in", "on", "at"),
    ) -> None:
        self.templates = tuple(templates)
        self.attributes = {slot: tuple(words) for slot, words in (attributes or {}).items()}
        self.size_cuts = (float(size_cuts[0]), float(size_cuts[1]))
        self.filler = frozenset(filler)
        if not 0 < self.size_cuts[0] < self.size_cuts[1]:
            raise ValueError(f"size_cuts must rise from above 0, got {self.size_cuts}")
        if not self.templates:
            raise ValueError("a prompt bank needs at least one template, got none")
        slots = {slot for text in self.templates for slot in re.findall(r"{(\w+)}", text)}
        unknown = slots - set(self.attributes) - {"name", "size", "outline"}
        if unknown:
            raise ValueError(f"templates name the slots {sorted(unknown)}, which no attribute fills")

    def draw(
        self,
        abnormality: Abnormality,
        mask: np.ndarray,
        spacing: Sequence[float],
        rng: np.random.Generator,
        wanted: Mapping[str, str] | None = None,
    ) -> str:
        """Return a prompt for one abnormality and its bool mask (*spatial).

        Words that are ``wanted`` take the place of drawn ones, where the bank has them for their attribute.
        """
        words = {slot: str(rng.choice(choices)) for slot, choices in sorted(self.attributes.items())}
        words |= {slot: word for slot, word in (wanted or {}).items() if word in self.attributes.get(slot, ())}
        words["name"] = abnormality.name
        words["size"] = size_word(mask, spacing, self.size_cuts)
        words["outline"] = outline_word(mask, spacing)
        head, *rest = str(rng.choice(self.templates)).format_map(words).split(", ")
        return ", ".join([head, *rng.permutation(rest).tolist()])

    def check_words(self, prompt: str, names: Sequence[str]) -> None:
        """Judge the words of a user's own prompt.

        Args:
            prompt: the user's text.
            names: names of the bundle's abnormality classes.

        Raises:
            ValueError: when no content word is known, or two sizes are named.

        Warns:
            UserWarning: naming the words that the bank does not know; they have no effect.
        """
        words = split_words(prompt)
        content = self.content_words(names)
        if not content.intersection(words):
            raise ValueError(
                f"prompt {prompt!r} has no word that this bundle knows; use some of: {', '.join(sorted(content))}"
            )
        sizes = [word for word in SIZE_WORDS if word in words]
        if len(sizes) > 1:
            raise ValueError(f"prompt {prompt!r} names the sizes {' and '.join(sizes)}; keep one of them")
        unknown = sorted(set(words) - content - self.filler)
        if unknown:
            warnings.warn(f"prompt {prompt!r}: unknown words without effect: {', '.join(unknown)}", stacklevel=2)

    def check_wanted(self, wanted: Iterable[Mapping[str, str]]) -> None:
        """Warn of wanted words (attribute -> word) that the bank does not have: others are drawn in their place."""
        pairs = {(slot, word) for words in wanted for slot, word in words.items()}
        unknown = sorted(f"{slot} {word!r}" for slot, word in pairs if word not in self.attributes.get(slot, ()))
        if unknown:
            warnings.warn(f"wanted words that the prompt bank does not have: {', '.join(unknown)}", stacklevel=2)

    def check_size(self, prompt: str, mask: np.ndarray, spacing: Sequence[float]) -> None:
        """Raise ValueError when a size word of ``prompt`` contradicts the mask, bool (*spatial)."""
        true = size_word(mask, spacing, self.size_cuts)
        wrong = [word for word in split_words(prompt) if word in SIZE_WORDS and word != true]
        if wrong:
            raise ValueError(
                f"prompt {prompt!r} says {wrong[0]!r} but the mask is {true}; "
                f"write {true!r}, leave the size out, or give a mask of that size"
            )

    def content_words(self, names: Sequence[str]) -> set[str]:
        """Return every word that carries meaning here."""
        texts = [*names, *SIZE_WORDS, "round", "oval", "lobed", "irregular"]
        texts += [word for words in self.attributes.values() for word in words]
        texts += [re.sub(r"{\w+}", "", template) for template in self.templates]
        return {word for text in texts for word in split_words(text)} - self.filler


def split_words(text: str) -> list[str]:
    """Return lower-case words without punctuation; a hyphen separates. Everyone who reads a prompt reads it so."""
    return re.findall(r"[^\W_]+", text.lower())
