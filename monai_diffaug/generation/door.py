"""What a bundle's ``inference.json`` calls, so that ``python -m monai.bundle run`` ends as the command line does."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

from monai_diffaug.generation.cases import CaseList
from monai_diffaug.generation.offline import OfflineGenerator


def run(generator: OfflineGenerator, found: CaseList, output: Path) -> None:
    """Make the samples and print how it went.

    Raises:
        SystemExit: with the exit code of ``monai-diffaug generate``, where that is not 0.
    """
    summary = generator(found, output)
    print(summary.text)
    if summary.exit_code:
        raise SystemExit(summary.exit_code)


def end_with_one_sentence() -> None:
    """Let an uncaught error that a person can put right end the process with its sentence.

    MONAI wraps what a component raises in errors of its own, which name the component and hide the sentence.
    """
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        cause = error
        while type(cause) is RuntimeError and cause.__cause__ is not None:
            cause = cause.__cause__
        if cause is error or not isinstance(cause, ValueError | TypeError | OSError | ImportError):
            before(kind, error, traceback)
        else:
            print(f"monai_diffaug: {cause}", file=sys.stderr)

    sys.excepthook = hook
