"""One cell from cohort to raw figures, and the run over all cells: resumable, shared by processes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from torch import nn

from monai_diffaug.bundle import Bundle, describe
from monai_diffaug.engines.lesions import LabelledCases
from monai_diffaug.engines.misses import lesion_outcomes
from monai_diffaug.engines.shapes import observed_masks
from monai_diffaug.evaluation.arms import ARMS
from monai_diffaug.evaluation.audits import Segment, audited
from monai_diffaug.evaluation.cells import Cell, claimed, read_cells, write_json
from monai_diffaug.evaluation.cohorts import LEAST, TestSet, draw_cohort
from monai_diffaug.evaluation.feeds import arm_transforms, batches, plain_tensors, standard_augmentation
from monai_diffaug.evaluation.items import Item, Shrink, fitted, real_items, synthetic_items
from monai_diffaug.evaluation.networks import SegmenterNetwork
from monai_diffaug.evaluation.outcomes import evaluate, shifted
from monai_diffaug.evaluation.rolling import RollingFeed
from monai_diffaug.evaluation.segmenter import Budget, predict, train
from monai_diffaug.evaluation.synthetic_sets import SetMaker, accepted, told
from monai_diffaug.generation.cases import CaseList, find_cases
from monai_diffaug.generation.files import atomic_write
from monai_diffaug.generation.misses import write_outcomes
from monai_diffaug.generation.pairs import read_found
from monai_diffaug.synthesis import ImageFormat, MasksByClass
from monai_diffaug.synthesis.provenance import versions
from monai_diffaug.synthesis.resample import resample
from monai_diffaug.transforms import FixedPool

AUDITOR = ARMS[0]
"""The arm whose segmenter judges the synthetic images of the others."""


@dataclass(frozen=True)
class Experiment:
    """Train and test one segmenter a cell.

    Args:
        bundle: who paints.
        images: how its images are stored.
        labels: keywords of ``LabelledCases``: ``abnormalities``, ``organ``, ``protected``.
        training: all images that cohorts are drawn from.
        tests: what every segmenter is tested on.
        budget: what every arm gets.
        output: the experiment's folder.
        patient: regular expression that finds the patient in a case's path.
        normals: folder of images without lesions.
        shifts: test on changed images too (``shifts.shift_series``).
        network: config of the segmenter (``SegmenterNetwork``); None is MONAI's residual U-Net.
    """

    bundle: Bundle
    images: ImageFormat
    labels: Mapping[str, Any]
    training: CaseList
    tests: Sequence[TestSet]
    budget: Budget
    output: Path
    patient: str | None = None
    normals: Path | None = None
    shifts: bool = False
    network: Mapping[str, Any] | None = None

    def results(self) -> dict[str, Any]:
        """Return all that is known so far: what was used, the tests' facts, every finished cell."""
        about = describe(self.bundle, preset="fast", variant=None, prompts="standard")
        kept = ("bundle", "bundle_version", "configs", "data_terms", "intended_use")
        return {
            "about": {
                **{key: about[key] for key in kept},
                "weights": dict(self.bundle.weights),
                "versions": versions(),
                "segmenter": self._network.name,
            },
            "tests": [test.to_json() for test in self.tests],
            "cells": read_cells(self.output),
        }

    def settings(self) -> dict[str, Any]:
        """Return what all cells of a folder must have in common."""
        return {
            "weights": dict(self.bundle.weights),
            "bundle": self.bundle.name,
            "budget": self.budget.to_json(),
            "training": [case.id for case in self.training.cases],
            "tests": {test.name: [str(case["name"]) for case in test.cases] for test in self.tests},
            "patient": self.patient,
            "normals": None if self.normals is None else len(find_cases(self.normals).cases),
            "shifts": self.shifts,
            "network": self.network,
        }

    def check(self, cells: Sequence[Cell]) -> None:
        """Refuse what could not be trained, or would stand beside cells that were trained otherwise.

        Raises:
            ValueError: when there are too few images, the folder's cells have other settings, or the network does not
                fit.
        """
        if self.network is not None:
            self._network.check(self.budget.size)
        for num in {cell.num for cell in cells}:
            draw_cohort(self.training, num, 0, patient=self.patient)
        path, own = self.output / "settings.json", json.loads(json.dumps(self.settings()))
        with claimed(path, wait=True):
            if not path.exists():
                write_json(path, own)
            there = json.loads(path.read_text("utf-8"))
        other = [name for name in own if own[name] != there.get(name)]
        if other:
            raise ValueError(f"{self.output} holds an experiment with other {', '.join(other)}; give a new folder")

    def run(self, cells: Sequence[Cell], *, watch: Callable[[str], None] = print) -> Iterator[Cell]:
        """Train what is not trained yet and nobody else is training, in order; yield each cell when it is done.

        Raises:
            ValueError: as ``check``.
        """
        self.check(cells)
        for cell in cells:
            path = self.output / "cells" / f"{cell.key}.json"
            with claimed(path) as free:
                if free and not path.exists():
                    watch(f"{cell.key}: begun")
                    write_json(path, self.cell(cell))
                    yield cell

    def cell(self, cell: Cell) -> dict[str, Any]:
        """Return all that is known of a cell: what it is, its training, raw figures of every test image."""
        cohort = draw_cohort(self.training, cell.num, cell.seed, patient=self.patient)
        cases = read_found(cohort, self.images)
        real = real_items(cases, self._shrink)
        sets = [] if cell.arm.rolling else self._sets(cell, cohort, cases)
        least = cell.told.synthetic.least_iou if cell.told.synthetic else 0.0
        made = synthetic_items(accepted(sets, least_iou=least), self.images, self._shrink)
        network = self._network(cell.seed)
        with plain_tensors(), closing(self._feed(cell, cases, real, made)) as feed:
            trained = train(network, feed, self.budget)
        segment = self.segmenter(network)
        if cell.arm == AUDITOR:
            self._keep(cell, network)
        return {
            "cell": cell.key,
            "arm": cell.arm.name,
            "num": cell.num,
            "seed": cell.seed,
            "ratio": cell.told.synthetic.ratio if cell.told.synthetic else None,
            "told": cell.told.to_json(),
            "budget": self.budget.to_json(),
            "network": self.network,
            "cohort": [case.id for case in cohort.cases],
            "synthetic": {**told(sets), "used": len(made)} if sets else None,
            "samples": audited(sets, self.images, self._auditor(cell)),
            "real_extents": self._extents(cases),
            "training": trained,
            "tests": [evaluate(test, segment) for test in self.tests],
            "shifts": [shifted(test, segment, self.images) for test in self.tests] if self.shifts else [],
        }

    def _weights(self, cell: Cell) -> Path:
        return self.output / "auditors" / f"n{cell.num}_s{cell.seed}.pt"

    def _keep(self, cell: Cell, network: nn.Module) -> None:
        """Keep the segmenter that real images alone trained: it judges the cohort's synthetic images."""
        path = self._weights(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.BytesIO()
        torch.save({name: one.half() for name, one in network.state_dict().items()}, stream)
        atomic_write(path, stream.getvalue())

    def _auditor(self, cell: Cell) -> Segment | None:
        path = self._weights(cell)
        if cell.told.synthetic is None or not path.is_file():
            return None
        network = self._network(cell.seed)
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return self.segmenter(network.to(self.budget.device).eval())

    def _masks(self, cases: Sequence[Mapping[str, Any]]) -> MasksByClass:
        return observed_masks(LabelledCases(cases, **self.labels))

    def _extents(self, cases: Sequence[Mapping[str, Any]]) -> list[float]:
        labelled = LabelledCases(cases, **self.labels, least=LEAST)
        return [round(labelled.extent(lesion), 2) for lesion in labelled.lesions]

    def segmenter(self, network: nn.Module) -> Segment:
        """Return what segments an image (C, *spatial) as stored: bool (*spatial) at its own size."""

        def segment(image: np.ndarray) -> np.ndarray:
            unit = torch.from_numpy(self.images.to_unit(image))
            small = resample(unit, fitted(image.shape[1:], self.budget.size))
            probability = predict(network, small, self.budget)
            return (resample(probability[None], image.shape[1:])[0] > 0.5).numpy()

        return segment

    def _sets(self, cell: Cell, cohort: CaseList, cases: Sequence[Mapping[str, Any]]) -> list[Path]:
        wanted = cell.told.synthetic
        if wanted is None:
            return []
        folder = self.output / "synthetic" / f"n{cell.num}_s{cell.seed}"
        masks = self._masks(cases)
        maker = SetMaker(self.bundle, cohort, masks, folder, cell.seed, self.normals, device=self.budget.device)
        return maker(wanted, self._misses(cell, cases, folder) if wanted.targeted else None)

    def _feed(
        self, cell: Cell, cases: Sequence[Mapping[str, Any]], real: Sequence[Item], made: Sequence[Item]
    ) -> Generator[Any]:
        """Return the batches of a cell's arm."""
        arm, seed = cell.told, 1000 * cell.seed + cell.num
        many = round(arm.synthetic.ratio * len(real)) if arm.rolling and arm.synthetic else len(made)
        share = many / (many + len(real))

        def feed(pool: Any, prob: float, seed: int) -> Generator[Any]:
            own = arm_transforms(arm, real, pool, prob)
            transform = Compose([*own, standard_augmentation(self.images, self.budget.size)]).set_random_state(seed)
            return batches(real, transform, size=self.budget.batch_size, seed=seed)

        if arm.rolling:
            folder = self.output / "pools" / cell.key
            masks = self._masks(cases) if arm.synthetic and arm.synthetic.own_shapes else None
            rolling = RollingFeed(self.bundle.root, folder, many, seed, self.budget, masks)
            yield from rolling(cases, self._shrink, lambda pool: feed(pool, share, seed))
        fixed = FixedPool(made) if made else None
        if arm.first:
            yield from islice(feed(fixed, 1.0, seed), self.budget.steps // 2)
            yield from feed(None, 0.0, seed + 500)
        yield from feed(fixed, share, seed)

    def _misses(self, cell: Cell, cases: Sequence[Mapping[str, Any]], folder: Path) -> Path:
        """Return the table of what two segmenters, each trained on one half of the cohort, miss in the other half."""
        path = folder / "misses.csv"
        with claimed(path, wait=True):
            if not path.exists():
                half = replace(self.budget, steps=max(1, self.budget.steps // 2))
                outcomes = [one for part in (0, 1) for one in self._missed(cell, cases, part, half)]
                write_outcomes(path, outcomes)
        return path

    def _missed(self, cell: Cell, cases: Sequence[Mapping[str, Any]], part: int, budget: Budget) -> Any:
        real = real_items(cases[part::2], self._shrink)
        network = self._network(cell.seed)
        transform = standard_augmentation(self.images, budget.size).set_random_state(cell.seed + part)
        with plain_tensors():
            train(network, batches(real, transform, size=budget.batch_size, seed=cell.seed + part), budget)
        segment = self.segmenter(network)
        held = LabelledCases(cases[1 - part :: 2], **self.labels, least=LEAST)
        preds = [segment(case["image"]).astype(np.uint8) for case in held.cases]
        return lesion_outcomes(held, preds, self.images)

    @property
    def _network(self) -> SegmenterNetwork:
        return SegmenterNetwork(self.images.spatial_dims, self.images.channels, self.network)

    @property
    def _shrink(self) -> Shrink:
        known = self.labels["abnormalities"]
        values = tuple(one.value for one in known)
        single = len(known) == 1 and 255 not in (*self.labels["organ"], *self.labels["protected"])
        return Shrink(self.budget.size, (*values, 255) if single else values)
