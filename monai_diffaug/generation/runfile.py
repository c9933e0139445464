"""``run.json``: what a run is, so that it can be resumed, replayed and judged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_diffaug.generation.cases import CaseList
from monai_diffaug.generation.files import atomic_write
from monai_diffaug.generation.inputs import CheckedCases
from monai_diffaug.generation.order import Order
from monai_diffaug.synthesis import AbnormalitySynthesizer, MasksByClass
from monai_diffaug.synthesis.provenance import environment, versions

NAME = "run.json"
_MACHINE = ("environment", "versions")
_PLACES = ("bundle_root", "images_root")  # the output folder may move between a run and its resumption
_NEEDED = (
    *("bundle", "bundle_root", "preset", "variant", "prompts", "intensity_range", "batch_size"),
    *("images_root", "weights", "environment", "versions"),
)


def describe_run(
    synthesizer: AbnormalitySynthesizer,
    order: Order,
    about: Mapping[str, Any],
    found: CaseList,
    cases: CheckedCases,
    output: Path,
    *,
    count: int,
    audit: bool,
) -> dict[str, Any]:
    """Return the content of ``run.json``; paths are relative to ``output``."""
    about, masks = dict(about), synthesizer.planner.masks
    if "bundle_root" in about:
        about["bundle_root"] = relative(Path(about["bundle_root"]), output)
    return {
        **about,
        "weights": dict(synthesizer.weights),
        "thresholds": synthesizer.renderer.gate.thresholds(),
        "max_attempts": synthesizer.planner.max_attempts,
        "counts": [round(float(weight), 6) for weight in synthesizer.planner.counts],
        **({} if synthesizer.targets is None else {"targets": synthesizer.targets.summary()}),
        **({"shapes": masks.about} if isinstance(masks, MasksByClass) and masks.about else {}),
        "classes": {one.name: one.value for one in synthesizer.planner.abnormalities},
        "intensity_range": list(synthesizer.images.intensity_range),
        "dtype": "float32",
        "batch_size": synthesizer.renderer.batch_size,
        "audit": audit,
        "order": order.to_json(),
        "count": count,
        "images_root": relative(found.root, output),
        "inputs_sha256": cases.fingerprint,
        "bad_inputs": [list(one) for one in cases.bad],
        "notes": [list(one) for one in cases.notes],
        "environment": environment(synthesizer.renderer.device, autocast=synthesizer.renderer.autocast),
        "versions": versions(),
    }


def claim_output(output: Path, run: Mapping[str, Any], *, resume: bool) -> None:
    """Write ``run.json`` into a new folder, or make sure that a folder to resume is of the same run.

    Raises:
        ValueError: when the folder is not empty, was made by another run, or on a machine whose bytes could differ.
    """
    begun, now = check_output(output, resume=resume), json.loads(json.dumps(run))
    if begun:
        _compare(before := read_run(output), now, output)
    for left in output.rglob(".*.part"):
        left.unlink()
    if not begun or before != now:  # the places may have changed
        _make_folder(output)
        atomic_write(output / NAME, json.dumps(run, indent=2, ensure_ascii=False).encode())


def refuse_nesting(images: Path, output: Path) -> None:
    """Raise ValueError when the output folder lies inside the images: a later run would draw from its own results."""
    if images.is_dir() and output.resolve().is_relative_to(images.resolve()):
        raise ValueError(f"output {output} lies inside the images {images}; give a folder outside of them")


def check_output(output: Path, *, resume: bool) -> bool:
    """Return whether a run was begun in a folder; it is cheap, so that nobody waits for what is refused.

    Raises:
        ValueError: when the folder is a file, is not empty and not to be resumed, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file; give a folder")
    # A process killed while it wrote the very first file leaves that file's part alone: still a new folder.
    there = sorted({path.name for path in output.iterdir()} - {f".{NAME}.part"}) if output.is_dir() else []
    if there and not resume:
        raise ValueError(f"output folder {output} is not empty ({there[0]} ...); give a new one, or --resume its run")
    if there and NAME not in there:
        raise ValueError(f"output folder {output} has no {NAME}, so it was not made by this tool; give a new folder")
    return bool(there)


def read_run(output: Path) -> dict[str, Any]:
    """Return the content of ``run.json``.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when it is broken.
    """
    path = output / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; give a folder that generate has written")
    try:
        run = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}); the file was changed, make the run anew") from error
    missing = [key for key in _NEEDED if not isinstance(run, dict) or key not in run]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; the file was changed, make the run anew")
    for key in ("preset", "variant", "prompts"):  # they name files and entries of a bundle
        if run[key] is not None and not re.fullmatch(r"[\w-]+", str(run[key])):
            raise ValueError(f"{path} has the {key} {run[key]!r}, which is no name; the file was changed")
    return run


def relative(path: Path, start: Path) -> str:
    """Return ``path`` as seen from ``start``, with forward slashes."""
    return Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise ValueError(f"output folder {output} cannot be made ({error.strerror}); give another one") from error


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], output: Path) -> None:
    apart = (*_MACHINE, *_PLACES)
    differing = [key for key in {**before, **now} if key not in apart and before.get(key) != now.get(key)]
    if differing:
        key = differing[0]
        raise ValueError(
            f"output folder {output} was made by another run: {', '.join(differing)} differ "
            f"({key} was {before.get(key)!r}, now {now.get(key)!r}); "
            "resume with the same arguments or give a new folder"
        )
    then, here = ({name: one for key in _MACHINE for name, one in run[key].items()} for run in (before, now))
    if moved := [name for name in {**then, **here} if then.get(name) != here.get(name)]:
        what = ", ".join(f"{name} was {then.get(name)!r}, now {here.get(name)!r}" for name in moved)
        threads = f" (threads: OMP_NUM_THREADS={then.get('threads')})" if "threads" in moved else ""
        raise ValueError(
            f"output folder {output} was begun under other conditions, so the bytes could differ: {what}; "
            f"resume under the same ones{threads} or give a new folder"
        )
