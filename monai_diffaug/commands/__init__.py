"""The commands of ``monai-diffaug``, one a module, in one form.

``add(commands)`` adds the command's parser and imports nothing heavy; it sets ``run``, called with the parsed arguments
for an exit code, and where a stopped run can go on ``after``, called with them for what to say of that.
"""

from __future__ import annotations

DISCLAIMER = "Synthetic images are for research and training only, not for diagnosis."
