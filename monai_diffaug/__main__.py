"""``python -m monai_diffaug`` is ``monai-diffaug``."""

from __future__ import annotations

from monai_diffaug.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
