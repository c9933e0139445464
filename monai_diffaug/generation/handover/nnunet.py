"""An nnU-Net v2 raw dataset, whose folds validate on real cases alone.

Format: nnU-Net's documentation/dataset_format.md; splits: documentation/manual_data_splits.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_diffaug.generation.files import BadInput
from monai_diffaug.generation.handover.case_files import common_suffix, load_pair, put_image, put_label
from monai_diffaug.generation.handover.case_sets import CaseSet, SyntheticCase, left_out
from monai_diffaug.generation.handover.class_table import ClassTable
from monai_diffaug.generation.handover.folds import splits
from monai_diffaug.generation.handover.notice import write_notice
from monai_diffaug.generation.handover.real import RealCase
from monai_diffaug.generation.handover.staging import staged

CHANNELS = {1: ("image",), 3: ("R", "G", "B")}


@dataclass(frozen=True)
class NnunetWriter:
    """Write a raw dataset.

    Args:
        classes: of the labels, which become 1, 2, 3 ...
        channels: names, by which nnU-Net chooses how to normalise (``CT`` as CT); by default R, G, B or ``image``.
        link: make hard links to images in place of copies.
    """

    classes: ClassTable
    channels: Sequence[str] = ()
    link: bool = False

    def __call__(self, cases: CaseSet, folds: Sequence[Sequence[RealCase]], output: Path) -> str:
        """Write the dataset and return what is to be said.

        Args:
            cases: what is handed over; test cases are not.
            folds: real cases that each fold validates on.
            output: new or empty folder, named as nnU-Net wants it.

        Raises:
            ValueError: when a file or the output cannot be used; then nothing is written.
        """
        if not re.fullmatch(r"Dataset\d{3}_\w[\w-]*", output.name):
            raise ValueError(
                f"nnU-Net wants a folder called DatasetNNN_Name, such as Dataset501_Polyps; got {output.name}"
            )
        divided = splits(cases, folds)
        trained = {id_ for fold in divided for id_ in fold["train"]}
        synthetic = [one for one in cases.synthetic if one.id in trained]
        real = cases.of("training", "validation")
        suffix = common_suffix(real, synthetic)
        with staged(output, cases.generated.folder) as folder:
            channels = self._write_cases([*real, *synthetic], folder, suffix)
            body = self._dataset(cases, synthetic, suffix, channels)
            body = {"name": output.name, **body, "numTraining": len(real) + len(synthetic)}
            _dump(folder / "dataset.json", body)
            _dump(folder / "splits_final.json", divided)
            write_notice(folder, cases.generated, synthetic=len(synthetic), real=len(real))
        return _told(output, real, synthetic, divided) + left_out(cases, synthetic) + _of_test(cases)

    def _write_cases(self, cases: Sequence[RealCase | SyntheticCase], folder: Path, suffix: str) -> tuple[str, ...]:
        """Write images and labels and return the names of the channels."""
        table = self.classes.consecutive()
        counts: dict[int, Path] = {}
        for name in ("imagesTr", "labelsTr"):
            (folder / name).mkdir()
        for case in cases:
            pair = load_pair(case.image, case.label, self.classes)
            if pair.label is None or pair.like is None:
                raise BadInput(f"{case.image} has no label; nnU-Net needs one for each image")
            counts.setdefault(pair.image.array.shape[0], case.image)
            put_image(pair, folder / "imagesTr" / f"{case.id}_0000{suffix}", link=self.link)
            label = self.classes.renumbered(pair.label, table)
            put_label(label, pair.like, folder / "labelsTr" / f"{case.id}{suffix}")
        if len(counts) > 1:
            told = " but ".join(f"{path} has {count}" for count, path in counts.items())
            raise BadInput(f"images must have equally many channels: {told}; convert one kind")
        return self._names(next(iter(counts)))

    def _names(self, count: int) -> tuple[str, ...]:
        names = tuple(self.channels) or CHANNELS.get(count, ())
        if len(names) != count:
            raise ValueError(f"the images have {count} channels, but {len(names)} were named; see --channels")
        return names

    def _dataset(
        self, cases: CaseSet, synthetic: Sequence[SyntheticCase], suffix: str, channels: Sequence[str]
    ) -> dict[str, Any]:
        made = cases.generated
        return {
            "description": f"With {len(synthetic)} synthetic cases; see SYNTHETIC.txt. Made by {made.made_by}",
            "licence": made.data_terms,
            "channel_names": {str(index): name for index, name in enumerate(channels)},
            "labels": {"background": 0, **self.classes.consecutive().values},
            "file_ending": suffix,
            "weights_sha256": dict(made.run["weights"]),
            "synthetic": {one.id: one.line["source"] for one in synthetic},
        }


def _dump(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, indent=2, ensure_ascii=False), encoding="utf-8")


def _told(output: Path, real: Sequence[Any], synthetic: Sequence[Any], divided: Sequence[Any]) -> str:
    folds = f"folds 0 to {len(divided) - 1} alone" if len(divided) > 1 else "fold 0 alone"
    return (
        f"wrote {output}: {len(real)} real and {len(synthetic)} synthetic cases, {len(divided)} folds\n"
        f"splits_final.json: nnUNetv2_plan_and_preprocess copies it to $nnUNet_preprocessed/{output.name}/, where "
        "training reads it; see that it lies there\n"
        f"train {folds}: any other fold, and all, validates on synthetic cases too"
    )


def _of_test(cases: CaseSet) -> str:
    count = len(cases.of("test"))
    return f"\nleft out: {count} real test cases, which nnU-Net shall not see" if count else ""
