"""How the outlines of real lesions spread over the words for them: the cut points in synthesis/attributes.py.

    python benchmarks/outline_words.py FOLDER_OF_MASKS

Every pixel above 127 counts as lesion. Prints quantiles of elongation and misfit, and how often each word is given.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from monai_diffaug.synthesis.attributes import elongation, misfit, outline_word

QUANTILES = (10, 33, 50, 67, 90)


def main() -> None:
    masks = [np.asarray(Image.open(path).convert("L")) > 127 for path in sorted(Path(sys.argv[1]).iterdir())]
    masks = [mask for mask in masks if mask.sum() >= 200]
    points = [np.argwhere(mask).astype(float) for mask in masks]
    for measure in (elongation, misfit):
        found = np.percentile([measure(one) for one in points], QUANTILES).round(3)
        print(measure.__name__, dict(zip(QUANTILES, found.tolist(), strict=True)))
    print(Counter(outline_word(mask, (1.0, 1.0)) for mask in masks))


if __name__ == "__main__":
    main()
