"""A MONAI datalist: real and synthetic cases to train on, real ones alone to validate and to test on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from monai_diffaug.generation.handover.case_files import common_suffix, load_pair, put_image, put_label
from monai_diffaug.generation.handover.case_sets import CaseSet, SyntheticCase, left_out
from monai_diffaug.generation.handover.class_table import ClassTable
from monai_diffaug.generation.handover.notice import write_notice
from monai_diffaug.generation.handover.real import RealCase
from monai_diffaug.generation.handover.staging import staged


def write_monai(cases: CaseSet, classes: ClassTable, output: Path, *, link: bool = False) -> str:
    """Write ``datalist.json`` with images and labels beside it, and return what is to be said.

    Args:
        cases: what is handed over.
        classes: of the labels; their values stay, but 0 and 255 become 0 and 1.
        output: new or empty folder.
        link: make hard links to images in place of copies.

    Raises:
        ValueError: when a file or the output cannot be used; then nothing is written.
    """
    synthetic = cases.beside(cases.of("validation", "test"))
    suffix = common_suffix(cases.real, synthetic)
    with staged(output, cases.generated.folder) as folder:
        entry = _EntryWriter(folder, classes, suffix, link)
        lists = {"training": [entry.real(one) for one in cases.of("training")]}
        lists["training"] += [entry.synthetic(one) for one in synthetic]
        for split in ("validation", "test"):
            if held := cases.of(split):
                lists[split] = [entry.real(one) for one in held]
        about = {"description": f"With synthetic cases, made by {cases.generated.made_by}; see SYNTHETIC.txt"}
        labels = {"0": "background", **{str(value): name for name, value in classes.values.items()}}
        body = {**about, "licence": cases.generated.data_terms, "labels": labels, **lists}
        (folder / "datalist.json").write_text(json.dumps(body, indent=2, ensure_ascii=False), encoding="utf-8")
        write_notice(folder, cases.generated, synthetic=len(synthetic), real=len(cases.real))
    counts = ", ".join(f"{len(entries)} in {split}" for split, entries in lists.items())
    return (
        f"wrote {output / 'datalist.json'}: {counts}; {len(synthetic)} of the training cases are synthetic"
        + left_out(cases, synthetic)
    )


class _EntryWriter:
    """Write a case's files and return its entry."""

    def __init__(self, folder: Path, classes: ClassTable, suffix: str, link: bool) -> None:
        self.folder, self.classes, self.suffix, self.link = folder, classes, suffix, link
        for name in ("images", "labels"):
            (folder / name).mkdir()

    def real(self, case: RealCase) -> dict[str, Any]:
        return {**self._files(case.id, case.image, case.label), "synthetic": False}

    def synthetic(self, case: SyntheticCase) -> dict[str, Any]:
        line = case.line
        about = {key: line[key] for key in ("source", "source_sha256", "seed")}
        return {**self._files(case.id, case.image, case.label), "synthetic": True, **about}

    def _files(self, id_: str, image: Path, label: Path | None) -> dict[str, str]:
        pair = load_pair(image, label, self.classes)
        entry = {"image": f"images/{id_}{self.suffix}"}
        put_image(pair, self.folder / entry["image"], link=self.link)
        if pair.label is not None and pair.like is not None:
            entry["label"] = f"labels/{id_}{self.suffix}"
            put_label(pair.label, pair.like, self.folder / entry["label"])
        return entry
