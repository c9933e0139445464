"""The page that goes with every set: that it is synthetic, what made it, and on what terms."""

from __future__ import annotations

from pathlib import Path

from monai_diffaug.generation.handover.generated import GeneratedSet

NAME = "SYNTHETIC.txt"


def write_notice(folder: Path, generated: GeneratedSet, *, synthetic: int, real: int = 0) -> None:
    """Write the page.

    Args:
        folder: where to.
        generated: what the synthetic cases are of.
        synthetic, real: number of cases of each kind in the folder.
    """
    weights = [f"  {name}  {digest}" for name, digest in generated.run["weights"].items()]
    lines = [
        f"{synthetic} of the {synthetic + real} cases here are SYNTHETIC: abnormalities were painted into images.",
        "The file beside this page names each. For research and training only, not for diagnosis.",
        "",
        f"Made by {generated.made_by}.",
        "Weights (sha256):" if weights else "Made without weights.",
        *weights,
        "",
        "Data terms of the bundle:",
        generated.data_terms or "none stated",
        "",
        "Real cases stay under their own terms, and so do the images that were painted into.",
    ]
    (folder / NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")
