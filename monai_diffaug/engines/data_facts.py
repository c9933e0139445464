"""What a bundle keeps of the data that it is trained on: ``configs/data.json``, written once by the data report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_diffaug.configs import write_json

NEEDED = ("attribute_cuts", "size_cuts", "extents")


def read_facts(root: str | Path) -> dict[str, Any]:
    """Return the facts in a bundle's ``configs/data.json``.

    Raises:
        FileNotFoundError: where there are none yet.
        ValueError: where they are broken.
    """
    path = facts_file(Path(root))
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the bundle has seen no data yet; run monai-diffaug check --bundle {root} --data DATA, "
            "or monai-diffaug train, which does it first"
        )
    body = json.loads(path.read_text("utf-8"))
    if lacking := [name for name in NEEDED if name not in body]:
        raise ValueError(f"{path} lacks {', '.join(lacking)}; run monai-diffaug check again")
    return body


def keep_facts(root: str | Path, facts: Mapping[str, Any]) -> str:
    """Write ``configs/data.json`` while the inpainter is not trained, and return what was done.

    Later the file stays: the words that the inpainter was taught are cut where it says.
    """
    path = facts_file(Path(root))
    metadata = json.loads((path.parent / "metadata.json").read_text("utf-8"))
    if path.is_file() and "inpainter" in metadata.get("trained", []):
        return f"{path} stays as it is: the inpainter was trained with it"
    write_json(path, facts)
    return f"wrote {path}"


def facts_file(root: Path) -> Path:
    """Return where a bundle keeps its facts."""
    return root / "configs" / "data.json"
