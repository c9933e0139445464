"""Evidence: does synthesis help a segmenter, do samples look right, are they copies."""

from __future__ import annotations
