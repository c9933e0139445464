"""A new folder that is there as a whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_output(output: Path, *inputs: Path) -> None:
    """Make sure that a folder can be written; it is cheap, so that nobody waits for what is refused.

    Args:
        output: new or empty.
        inputs: what is read; it must not lie inside.

    Raises:
        ValueError: when it cannot be used.
    """
    for one in inputs:
        if one.is_dir() and output.resolve().is_relative_to(one.resolve()):
            raise ValueError(f"output {output} lies inside {one}, which is read; give a folder outside of it")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"output {output} is not an empty folder; give a new one")


@contextmanager
def staged(output: Path, *inputs: Path) -> Iterator[Path]:
    """Yield a folder to write into, beside the one that it is renamed to when all went well.

    Args:
        output, inputs: as for ``check_output``.

    Raises:
        ValueError: when the output cannot be used.
    """
    check_output(output, *inputs)
    output = output.resolve()
    part = output.with_name(f".{output.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # what a killed export has left
    try:
        part.mkdir(parents=True)
    except (NotADirectoryError, FileExistsError, PermissionError) as error:
        raise ValueError(f"output {output} cannot be made ({error.strerror}); give another one") from error
    try:
        yield part
        if output.exists():
            output.rmdir()
        part.rename(output)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
