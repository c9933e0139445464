"""Paint lesions with the outlines and sizes of those in a user's own labels."""

from __future__ import annotations

from monai_diffaug.bundle import load_synthesizer
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.engines.shapes import observed_masks
from monai_diffaug.evaluation.cohorts import find_data
from monai_diffaug.generation.pairs import read_found
from monai_diffaug.synthesis import AbnormalitySynthesizer, MasksByClass


def shaped(synthesizer: AbnormalitySynthesizer, data: str | None) -> AbnormalitySynthesizer:
    """Return a synthesizer that draws the outlines and sizes of labelled lesions, or without data the one given.

    Args:
        synthesizer: of a bundle.
        data: labelled images, ``PATH`` or ``PATH:SPLIT`` (``evaluation.cohorts.find_data``); of several splits,
            that for training.

    Raises:
        ValueError: when the data cannot be used or has no lesion of the bundle's classes.
    """
    if not data:
        return synthesizer
    cases = read_found(find_data(str(data), "train"), synthesizer.images, name="shapes")
    planner = synthesizer.planner
    organ, protected = planner.regions.organ, planner.regions.protected
    labelled = LabelledCases(cases, planner.abnormalities, organ=organ, protected=protected)
    return synthesizer.shaped(observed_masks(labelled))


def load_shaped(bundle: str, batch_size: int, masks: MasksByClass | None) -> AbnormalitySynthesizer:
    """Return a bundle's synthesizer that draws certain masks: what a rolling pool's worker calls."""
    synthesizer = load_synthesizer(bundle, batch_size=batch_size)
    return synthesizer if masks is None else synthesizer.shaped(masks)
