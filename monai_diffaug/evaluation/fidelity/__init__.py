"""Do synthetic lesions look real, are they diverse, are they copies, and what does the gate select.

Every figure stands beside the same figure of held-out real lesions, which is the yardstick:
``lesion_sets`` reads three sets of lesions (synthetic, training, held out) and shows each through ``windows``;
``features`` names the network whose features ``kernel_distance`` compares; ``diversity`` compares windows pair by pair;
``rims`` measures edge and sharpness; ``neighbours`` looks for copies, also by the pixels of ``crops``; ``gate_shift``
tells what was planned from what was accepted. ``resampling`` has the intervals and matches sizes, ``measures`` runs it
all, ``report`` and ``pictures`` write it down.
"""

from __future__ import annotations
