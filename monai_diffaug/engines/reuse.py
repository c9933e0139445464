"""Begin a bundle with another bundle's weights: its autoencoder as it is, the other networks as a start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monai_diffaug.engines.weights import write_weights

AUTOENCODER = ("autoencoder.", "latent_")
TOKENS = ".embeddings.token_embedding.weight"


def reuse_weights(
    root: Path, network: nn.Module, source: Path, known: Mapping[str, int], *, others: bool = True
) -> None:
    """Write ``models/model.pt`` of a new bundle from another one's; the autoencoder counts as trained.

    What does not fit, such as words that the other bundle does not know, keeps the weights that it was drawn with.

    Args:
        root: the new bundle.
        network: the new bundle's composite network.
        source: the other bundle, with weights.
        known: word -> row of the other bundle's text encoder.
        others: whether the other networks start from its weights too, instead of those they were drawn with.

    Raises:
        FileNotFoundError: when the other bundle has no weights.
        ValueError: when its autoencoder does not fit.
    """
    path = source / "models" / "model.pt"
    if not path.is_file():
        raise FileNotFoundError(f"bundle {source.name} has no weights to begin with: {path} is missing")
    there: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    state = network.state_dict()
    fitting = {name: one.to(state[name].dtype) for name, one in there.items() if _fits(state, name, one)}
    lacking = [name for name in state if name.startswith(AUTOENCODER) and name not in fitting]
    if lacking:
        raise ValueError(f"the autoencoder of bundle {source.name} does not fit: {lacking[0]} differs")
    if not others:
        fitting = {name: one for name, one in fitting.items() if name.startswith(AUTOENCODER)}
    made = {**state, **fitting}
    for name in (name for name in state if others and name.endswith(TOKENS)):
        made[name] = _rows(state[name], there[name], network.get_submodule("text_encoder"), known)
    write_weights(root, made, stage="autoencoder")


def _fits(state: Mapping[str, Tensor], name: str, one: Tensor) -> bool:
    return name in state and state[name].shape == one.shape and not name.endswith(TOKENS)


def _rows(drawn: Tensor, there: Tensor, encoder: Any, known: Mapping[str, int]) -> Tensor:
    """Return word embeddings: those of words that both bundles know, of begin, end and padding, come from the other."""
    rows = drawn.clone()
    rows[:3] = there[:3].to(rows)
    for word, row in encoder.index.items():
        if word in known:
            rows[row] = there[known[word]].to(rows)
    return rows
