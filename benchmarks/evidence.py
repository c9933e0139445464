"""Make the report and the pictures of `docs/evidence.md` from the raw results that lie beside it.

python -m benchmarks.evidence docs/evidence/transfer.json --output docs/evidence
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from monai_diffaug.evaluation.diagnoses import diagnoses
from monai_diffaug.evaluation.figures import draw_figures
from monai_diffaug.evaluation.report import write_tables


def main(arguments: list[str] | None = None) -> None:
    """Write `NAME.md` and `NAME_arms_nN.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a results.json of monai-diffaug evaluate")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    results = json.loads(args.results.read_text("utf-8"))
    args.output.mkdir(parents=True, exist_ok=True)
    name = args.results.stem
    (args.output / f"{name}.md").write_text(write_tables(results) + diagnoses(results), "utf-8")
    for picture, content in draw_figures(results).items():
        (args.output / f"{name}_{picture}").write_bytes(content)
    print(f"wrote {args.output / name}.md and its pictures")


if __name__ == "__main__":
    main()
