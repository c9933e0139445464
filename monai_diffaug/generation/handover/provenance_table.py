"""A table of where every lesion came from, for a spreadsheet or an audit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from monai_diffaug.generation.handover.generated import GeneratedSet
from monai_diffaug.generation.handover.notice import write_notice
from monai_diffaug.generation.handover.staging import staged
from monai_diffaug.synthesis.provenance import file_digest

NAME = "provenance.csv"
OF_SAMPLE = ("sample", "source", "source_sha256", "seed", "sample_accepted")
OF_LESION = ("lesion", "class", "value", "prompt", "extent", "unit", "bbox", "iou", "attempts", "accepted", "reasons")
OF_FILES = ("image", "mask", "label", "image_sha256", "label_sha256")
OF_RUN = ("weights_sha256", "bundle", "bundle_version", "monai_diffaug_version", "data_terms")
COLUMNS = (*OF_SAMPLE, *OF_LESION, *OF_FILES, *OF_RUN)


def write_table(generated: GeneratedSet, output: Path) -> str:
    """Write ``provenance.csv`` (RFC 4180, UTF-8), one row a lesion, refused ones too, and return what is to be said.

    A sample for which there was no room has one row, whose ``lesion`` is empty.

    Args:
        generated: the set.
        output: new or empty folder.

    Raises:
        ValueError: when the output cannot be used; then nothing is written.
    """
    rows = [row for line in generated.lines for row in _rows(line, generated)]
    with staged(output, generated.folder) as folder:
        with (folder / NAME).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(rows)
        write_notice(folder, generated, synthetic=len(generated.accepted))
    accepted = sum(row["accepted"] == "true" for row in rows)
    return f"wrote {output / NAME}: {len(rows)} rows of {len(generated.lines)} samples, {accepted} lesions accepted"


def _rows(line: Mapping[str, Any], generated: GeneratedSet) -> Iterator[dict[str, Any]]:
    shared = {
        "sample": line["id"],
        **{key: line[key] for key in ("source", "source_sha256", "seed")},
        "sample_accepted": _word(line["accepted"]),
        **_files(line, generated.folder),
        **_run(generated),
    }
    for number, one in enumerate(line["abnormalities"], start=1):
        tried, last = one["attempts"], one["attempts"][-1]
        yield {
            **shared,
            "lesion": number,
            **{key: one[key] for key in ("class", "value", "prompt", "extent", "iou")},
            "unit": line.get("unit", ""),
            "bbox": json.dumps(one["bbox"]),
            "attempts": len(tried),
            "accepted": _word(last["accepted"]),
            "reasons": _reasons(tried),
        }
    if not line["abnormalities"]:
        yield {**shared, "attempts": 0, "accepted": _word(False), "reasons": _reasons(line["attempts"])}


def _files(line: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return names and digests of what was written; a refused sample has none."""
    if not line["accepted"]:
        return {}
    named = {kind: line[kind] for kind in ("image", "mask", "label")}
    return {**named, **{f"{kind}_sha256": file_digest(folder / line[kind]) for kind in ("image", "label")}}


def _run(generated: GeneratedSet) -> dict[str, str]:
    run = generated.run
    return {
        "weights_sha256": "; ".join(f"{name}={digest}" for name, digest in run["weights"].items()),
        "bundle": run["bundle"],
        "bundle_version": run.get("bundle_version", ""),
        "monai_diffaug_version": run["versions"].get("monai_diffaug", ""),
        "data_terms": " ".join(generated.data_terms.split()),  # one line, for readers that know no other
    }


def _reasons(attempts: Any) -> str:
    """Return why attempts were refused, each reason once, in the order of the attempts."""
    return "; ".join(dict.fromkeys(reason for attempt in attempts for reason in attempt["reasons"]))


def _word(value: bool) -> str:
    return "true" if value else "false"
