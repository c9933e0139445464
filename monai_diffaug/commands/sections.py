"""Run a bundle's config as MONAI's own command would, with its errors in one sentence."""

from __future__ import annotations

import sys
from typing import Any


def run_sections(parser: Any) -> None:
    """Evaluate the sections ``initialize``, ``run`` and ``finalize`` of a config.

    Args:
        parser: MONAI's ``ConfigParser`` with all overrides in it.

    Raises:
        Exception: what a component raised, out of the RuntimeErrors that MONAI wraps it in.
    """
    from monai_diffaug.configs import cause_of

    hook = sys.excepthook
    try:
        for section in ("initialize", "run", "finalize"):
            parser.get_parsed_content(section)
    except Exception as error:
        raise cause_of(error) from error
    finally:
        sys.excepthook = hook
