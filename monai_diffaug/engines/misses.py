"""How a model fared at every labelled lesion: what it found of it, and what the lesion was like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.synthesis import ImageFormat, LesionOutcome
from monai_diffaug.synthesis.attributes import measure


def lesion_outcomes(
    labelled: LabelledCases, predictions: Sequence[np.ndarray], images: ImageFormat, *, least_recall: float = 0.3
) -> list[LesionOutcome]:
    """Return one outcome a lesion.

    Args:
        labelled: the cases with their lesions.
        predictions: of each case, (*spatial); non-zero, but for protected and organ values, is what was found.
        images: how stored values meet [0, 1].
        least_recall: a lesion of which a smaller share was found is missed.

    Raises:
        ValueError: when a prediction is of another shape than its label.
    """
    found = []
    for case, prediction in zip(labelled.cases, predictions, strict=True):
        if prediction.shape != case["label"].shape:
            raise ValueError(
                f"the prediction of {case['name']} has shape {prediction.shape}, its label {case['label'].shape}; "
                "they must be equal"
            )
        found.append((prediction != 0) & ~np.isin(prediction, (*labelled.organ, *labelled.protected)))
    outcomes = []
    for lesion in labelled.lesions:
        case, part = labelled.cases[lesion.case], labelled.around(lesion)
        mask = labelled.parts[lesion.case][part] == lesion.number
        recall = float(found[lesion.case][part][mask].mean())
        shape, spacing = case["label"].shape, labelled.spacing(lesion.case)
        field = min(n * s for n, s in zip(shape, spacing, strict=True))
        centre = [(side.start + side.stop) / 2 / n for side, n in zip(lesion.box, shape, strict=True)]
        looks = measure(images.to_unit(case["image"][(slice(None), *part)]), mask)
        outcomes.append(
            LesionOutcome(
                case=str(case["name"]),
                extent=labelled.extent(lesion) / field,
                centre=tuple(centre),
                missed=recall < least_recall,
                recall=recall,
                abnormality=lesion.name,
                looks=looks,
            )
        )
    return outcomes


def told(outcomes: Sequence[LesionOutcome]) -> str:
    """Return in words how many lesions were missed: of all, and by thirds of their extent and of their brightness."""
    lines = [f"{sum(one.missed for one in outcomes)} of {len(outcomes)} lesions missed"]
    brightness = [abs(float(one.looks.get("brightness", 0.0))) for one in outcomes]
    for name, values in (("extent", [one.extent for one in outcomes]), ("contrast (brightness)", brightness)):
        cuts = np.percentile(values, [100 / 3, 200 / 3]) if outcomes else [0, 0]
        thirds = [int(value >= cuts[0]) + int(value >= cuts[1]) for value in values]
        for third, word in enumerate(("low", "middle", "high")):
            of = [one for one, own in zip(outcomes, thirds, strict=True) if own == third]
            lines.append(f"  {name}, {word} third: {sum(one.missed for one in of)} of {len(of)}")
    return "\n".join(lines)
