"""The pool's samples, without processes: numbers, files, and what the worker does for an epoch."""

from __future__ import annotations

import pickle
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_diffaug.engines.pool_files import PoolFolder, readable_meta
from monai_diffaug.engines.pool_order import digest_of, name_of
from monai_diffaug.engines.pool_schedule import PoolSchedule, drawn
from tests.pooled import cases, choosy, contents, factory, fill
from tests.toys import toy_synthesizer

SCHEDULE = PoolSchedule(size=4, refresh=2)


class TestSchedule:
    @pytest.mark.parametrize("schedule", [SCHEDULE, PoolSchedule(5, 5), PoolSchedule(6, 2, first=1, lead=3)])
    def test_pools_roll_on_and_stay_bounded(self, schedule):
        for epoch in range(12):
            pool, following = schedule.pool(epoch), schedule.pool(epoch + 1)
            assert 1 <= len(pool) <= schedule.size and following.stop - pool.stop == schedule.refresh
            assert set(following) <= set(schedule.ahead(epoch)) <= set(schedule.kept(epoch))
            assert set(schedule.pool(max(0, epoch - 1))) <= set(schedule.kept(epoch))
            assert len(schedule.kept(epoch)) <= schedule.size + (schedule.lead + 1) * schedule.refresh

    @pytest.mark.parametrize("numbers", [(0, 0), (4, 5), (4, -1), (4, 2, 0), (4, 2, 5), (4, 2, 1, 0)])
    def test_bad_numbers(self, numbers):
        with pytest.raises(ValueError, match="size must be 1 or more, refresh 0 to size"):
            PoolSchedule(*numbers)

    def test_first_tries_use_all_cases_evenly(self):
        first = [drawn(3, number, 0, 7) for number in range(70)]
        assert set(Counter(case for case, _ in first).values()) == {10}
        assert len({seed for _, seed in first}) == 70
        assert [case for case, _ in first[:7]] != [case for case, _ in first[7:14]]
        assert first == [drawn(3, number, 0, 7) for number in range(70)] != [drawn(4, k, 0, 7) for k in range(70)]


class TestBytes:
    def test_samples_are_what_their_seeds_make(self, spatial_dims, tmp_path):
        fill(tmp_path, SCHEDULE, 0, cases=cases(spatial_dims), synthesizer=factory(spatial_dims))
        folder = PoolFolder(tmp_path)
        assert folder.numbers() == set(range(6))
        for number in range(6):
            sample, (case, seed) = folder.read(number), drawn(1, number, 0, 3)
            assert sample.record.accepted
            if sample.record.seed == seed:
                result = toy_synthesizer(spatial_dims, batch_size=2)(cases(spatial_dims)[case]["image"], seed=seed)
                assert (sample.image.numpy() == result.image).all() and (sample.label.numpy() == result.label).all()
                assert sample.record == result.record

    def test_neither_steps_nor_schedules_nor_leftovers_change_a_byte(self, tmp_path):
        for epoch in range(3):
            fill(tmp_path / "steps", SCHEDULE, epoch)
        fill(tmp_path / "jump", PoolSchedule(size=6, refresh=1), 2)
        shared = range(4, 8)
        assert contents(tmp_path / "steps", shared) == contents(tmp_path / "jump", shared)
        (tmp_path / "steps" / "00000005.pt").unlink()
        (tmp_path / "steps" / ".00000005.pt.part").write_bytes(b"half")
        fill(tmp_path / "steps", SCHEDULE, 2)
        assert contents(tmp_path / "steps", shared) == contents(tmp_path / "jump", shared)
        assert not list((tmp_path / "steps").glob(".*.part"))

    def test_folder_stays_bounded_and_goes_back(self, tmp_path):
        for epoch in (0, 1, 5, 0):
            worker = fill(tmp_path, SCHEDULE, epoch)
            worker._tidy()
            assert worker.folder.numbers() <= set(SCHEDULE.kept(epoch)) and len(list(tmp_path.glob("*.pt"))) <= 8
            assert worker.folder.numbers() >= set(SCHEDULE.ahead(epoch))


class TestRefusals:
    def test_refused_tries_are_replaced_the_same_way_in_any_order(self, tmp_path):
        picky = partial(choosy, 2, 0.84)
        first = fill(tmp_path / "a", SCHEDULE, 0, synthesizer=picky)
        assert first.tally.refused > 0 and first.tally.made == 6
        for number in reversed(range(0, 6, 2)):
            (tmp_path / "a" / f"{number:08d}.pt").rename(tmp_path / f"{number}")
        fill(tmp_path / "a", SCHEDULE, 0, synthesizer=picky)
        assert contents(tmp_path / "a", range(0, 6, 2)) == [(tmp_path / f"{k}").read_bytes() for k in range(0, 6, 2)]

    def test_refused_for_ever(self, tmp_path):
        with pytest.raises(RuntimeError, match="20 tries at one sample were refused in a row, the last for: "):
            fill(tmp_path, PoolSchedule(1, 0), 0, synthesizer=partial(choosy, 2, 1.0))

    def test_cases_that_cannot_be_used_are_passed_over(self, tmp_path):
        bad = {"image": np.full((1, 80, 96), np.nan, np.float32)}
        worker = fill(tmp_path, SCHEDULE, 0, cases=[*cases(2), bad])
        assert worker.folder.numbers() == set(range(6))
        assert list(worker.tally.unusable) == [3] and "NaN" in worker.tally.unusable[3]
        assert worker.folder.status()["unusable"].keys() == {"3"}

    def test_only_bad_cases(self, tmp_path):
        with pytest.raises(RuntimeError, match="2D images"):
            fill(tmp_path, SCHEDULE, 0, cases=cases(3))


class TestFolder:
    def test_other_orders_are_refused(self, tmp_path):
        fill(tmp_path, SCHEDULE, 0)
        for change in ({"seed": 2}, {"cases": cases(2, 2)}, {"synthesizer": partial(choosy, 2, 0.5)}):
            with pytest.raises(ValueError, match="a pool of other seed and cases"):
                fill(tmp_path, SCHEDULE, 0, **change)

    def test_other_files_are_left_alone(self, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(ValueError, match="holds other files"):
            fill(tmp_path, SCHEDULE, 0)

    def test_metadata_that_any_process_reads(self):
        volume = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
        volume.meta["filename_or_obj"], volume.meta["odd"] = "a.nii", object()
        volume.meta["pixdim"] = np.arange(8, dtype=">f4")
        kept = readable_meta(volume.meta)
        assert "odd" not in kept and kept["filename_or_obj"] == "a.nii" and kept["pixdim"].dtype == np.float32
        assert type(kept["affine"]) is torch.Tensor and pickle.loads(pickle.dumps(kept))["space"] == "RAS"

    def test_names_and_digests_are_the_same_in_every_run(self):
        assert name_of(partial(choosy, 2, iou=0.5)) == "tests.pooled.choosy(2, iou=0.5)"
        assert " at 0x" not in name_of(partial(choosy, object()))
        assert digest_of(cases(2)) == digest_of([{"image": torch.as_tensor(case["image"])} for case in cases(2)])
        assert digest_of([{"image": "a"}]) != digest_of([{"image": "b"}])
