"""The figures of the bundle `polyp_endoscopy`, one script for each group; see README.md."""

from __future__ import annotations
