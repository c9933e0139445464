"""The arms of the experiment: what a segmenter is trained on, all else being equal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Synthetic:
    """A set of synthetic images made for one cohort.

    Args:
        gate: False delivers the first attempt whatever the gate says (``OpenGate``).
        least_iou: of an ungated set, only samples with an overlap above this are taken; 0 takes all.
        targeted: sizes, places and looks are drawn where a segmenter misses lesions of the cohort.
        cleaned: painted into frames without their lesions, and into the user's normal images where there are some,
            instead of beside the cohort's own lesions.
        both: half of the samples beside the cohort's lesions, half on the backgrounds of ``cleaned``.
        own_shapes: outlines and sizes are those of the cohort's lesions, else the bundle's.
        prompts: bank of texts.
        ratio: planned samples for each real image.
    """

    gate: bool = True
    least_iou: float = 0.0
    targeted: bool = False
    cleaned: bool = False
    both: bool = False
    own_shapes: bool = True
    prompts: str = "standard"
    ratio: float = 3.0

    def key(self) -> str:
        """Return a folder's name that tells what the files of the set depend on; ``least_iou`` only chooses."""
        words = [
            "gated" if self.gate else "ungated",
            *(["targeted"] if self.targeted else []),
            *(["cleaned"] if self.cleaned else []),
            *([] if self.own_shapes else ["bundle_shapes"]),
            *([self.prompts] if self.prompts != "standard" else []),
            f"x{self.ratio:g}",
        ]
        return "_".join(words)

    def parts(self) -> tuple[Synthetic, ...]:
        """Return the sets that it is put together from: itself, or half beside lesions and half on new backgrounds."""
        if not self.both:
            return (self,)
        half = replace(self, both=False, ratio=self.ratio / 2)
        return half, replace(half, cleaned=True)


@dataclass(frozen=True)
class Arm:
    """What is put into the place of real images, and what is done to all of them before the standard augmentation.

    Args:
        name: what the command line and tables call it.
        synthetic: the set that is mixed in by its share of all images, None = real images alone.
        copy_paste: real lesions of the cohort are pasted into half of the items.
        carve_mix: regions around real lesions are put into half of the items.
        first: synthetic images alone in the first half of the steps, real ones alone in the second.
        rolling: samples come from a rolling pool that is renewed while training, instead of a fixed set.
    """

    name: str
    synthetic: Synthetic | None = None
    copy_paste: bool = False
    carve_mix: bool = False
    first: bool = False
    rolling: bool = False

    def at(self, ratio: float) -> Arm:
        """Return the arm with another ratio of synthetic to real images."""
        return self if self.synthetic is None else replace(self, synthetic=replace(self.synthetic, ratio=ratio))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


ARMS = (
    Arm("standard"),
    Arm("copy_paste", copy_paste=True),
    Arm("carve_mix", carve_mix=True),
    Arm("ungated", Synthetic(gate=False)),
    Arm("gated", Synthetic()),
    Arm("targeted", Synthetic(targeted=True)),
    Arm("gated_copy_paste", Synthetic(), copy_paste=True),
    Arm("pretrained", Synthetic(), first=True),
    Arm("backgrounds", Synthetic(cleaned=True)),
    Arm("backgrounds_copy_paste", Synthetic(both=True), copy_paste=True),
    Arm("rolling", Synthetic(), rolling=True),
    Arm("bundle_shapes", Synthetic(own_shapes=False)),
    Arm("prompts_minimal", Synthetic(prompts="minimal")),
    Arm("prompts_extended", Synthetic(prompts="extended")),
    *(Arm(f"theta_{level:.1f}", Synthetic(gate=False, least_iou=level)) for level in (0.5, 0.6, 0.7, 0.8, 0.9)),
)
"""Every arm, in the order in which the tables show them."""


def find_arms(names: list[str]) -> tuple[Arm, ...]:
    """Return arms by name, in the order asked for.

    Raises:
        ValueError: when there is no such arm, or one is named twice.
    """
    known = {arm.name: arm for arm in ARMS}
    strange = [name for name in names if name not in known]
    if strange or len(set(names)) < len(names):
        wrong = f"there is no arm {strange[0]!r}" if strange else "an arm is named twice"
        raise ValueError(f"{wrong}; arms are {', '.join(known)}")
    return tuple(known[name] for name in names)
