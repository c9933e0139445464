"""Write the page a person looks at: every sample before and after, asked for and found, with the reasons.

`manifest.jsonl` is read twice, line by line: once to count (`gallery_head`), once to draw (`gallery_card`). Each card
goes to the file as soon as it is drawn, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from monai_diffaug.generation.gallery_card import render_card
from monai_diffaug.generation.gallery_head import describe_run, summarise
from monai_diffaug.generation.manifest import astray

CARDS = "<!-- cards -->"


def write_gallery(output: Path) -> Path:
    """Write OUT/gallery.html from OUT/manifest.jsonl and the pictures that it names; return its path.

    The page is one file that asks for nothing else: pictures, style and script are inside. The same folder gives the
    same bytes. The page appears under its name only when complete.

    Args:
        output: the output folder of `monai-diffaug generate`.

    Raises:
        FileNotFoundError: if the folder holds no manifest.
        ValueError: if a line of the manifest, or run.json, is not what it should be.
    """
    output = Path(output)
    manifest, page = output / "manifest.jsonl", output / "gallery.html"
    if not manifest.is_file():
        raise FileNotFoundError(
            f"no manifest.jsonl in {output}: give the output folder of a finished or running `monai-diffaug generate`"
        )
    run = _read_run(output / "run.json")
    partial = output / f".gallery.html.{os.getpid()}.part"
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(_draw(output, manifest, run))
        os.replace(partial, page)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        raise
    return page


def _draw(output: Path, manifest: Path, run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the page piece by piece: the head, one card after the other, the end."""
    template = files("monai_diffaug.generation").joinpath("gallery_template.html").read_text(encoding="utf-8")
    head, _, tail = template.partition(CARDS)
    summary = summarise(_read_lines(manifest))
    yield Template(head).substitute(describe_run(run, summary))
    root = output / run["images_root"] if isinstance(run.get("images_root"), str) else None
    kinds, cuts = {kind: index for index, kind in enumerate(summary.kinds)}, summary.cuts
    for number, line in enumerate(_read_lines(manifest)):
        yield render_card(number, line, output, root, kinds, cuts)
    yield tail


def _read_lines(manifest: Path) -> Iterator[dict[str, Any]]:
    with manifest.open(encoding="utf-8", errors="replace") as stream:
        for number, text in enumerate(stream, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"{manifest}, line {number} is not JSON ({error.msg}): "
                    "run `monai-diffaug generate --resume` to repair the manifest, or remove that line"
                ) from error
            if not _is_sample(line):
                raise ValueError(
                    f"{manifest}, line {number} is not a sample: it needs `id` (text) and `accepted`, "
                    "and `attempts` and `abnormalities`, where given, are lists of objects"
                )
            if wrong := astray(line):
                raise ValueError(f"{manifest}, line {number} names no file of the run: {wrong}; remove that line")
            yield line


def _is_sample(line: Any) -> bool:
    if not isinstance(line, dict) or not isinstance(line.get("id"), str) or "accepted" not in line:
        return False
    lists = [line.get(key) or [] for key in ("attempts", "abnormalities")]
    return all(isinstance(each, list) and all(isinstance(item, dict) for item in each) for each in lists)


def _read_run(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): remove it, the gallery can do without") from error
    return run if isinstance(run, dict) else {}
