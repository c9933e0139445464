"""A blinded reader study: can people tell synthetic lesions from real ones, and do they find them of use.

``selection`` (pairs of equal size) -> ``framing`` (every picture cut and encoded alike) -> ``study`` (a folder for the
readers, a key for the one who asks) -> the page -> ``answers`` -> ``scores`` (``agreement``, ``resampling``) ->
``tables``.
"""

from __future__ import annotations
