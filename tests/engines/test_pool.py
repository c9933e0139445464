"""The pool with its real worker process: killed, late, failing, stopped and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine

from monai_diffaug.engines.pool import RollingPool
from monai_diffaug.engines.pool_files import write_whole
from monai_diffaug.engines.pool_schedule import PoolSchedule
from tests.pooled import broken, cases, contents, factory, fill, killed, pool, slow

SCHEDULE = PoolSchedule(size=4, refresh=2)


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def gone(pid: int) -> bool:
    """Whether a process is no more, and no zombie either."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_makes_the_same(tmp_path):
    fill(tmp_path / "expected", SCHEDULE, 1)
    with pool(tmp_path / "pool", SCHEDULE, partial(slow, 2, 0.2)) as rolling:
        trainer = Engine(lambda engine, _: killing(engine, rolling))
        rolling.attach(trainer)
        with pytest.warns(RuntimeWarning) as told:
            trainer.run([0, 1], max_epochs=2)
        assert any("was killed and has been started again" in str(one.message) for one in told)
        last = rolling.worker_pid
        assert rolling.epoch == 1 and rolling.status()["made"] > 0
        assert {rolling.sample(draw).record.seed for draw in range(8)} == {
            rolling.sample(k).record.seed for k in range(4)
        }
        made = contents(tmp_path / "pool", SCHEDULE.pool(1))
    assert made == contents(tmp_path / "expected", SCHEDULE.pool(1))
    assert gone(last) and rolling.worker_pid is None


def killing(engine, rolling) -> None:
    """Kill the worker in the first epoch's first step."""
    if engine.state.iteration == 1:
        os.kill(rolling.worker_pid, signal.SIGKILL)
        wait_for(lambda: rolling._worker.exitcode is not None)


@pytest.mark.slow
def test_a_late_pool_waits_says_so_and_goes_on_with_its_folder(tmp_path):
    fill(tmp_path / "expected", SCHEDULE, 2)
    late = partial(slow, 2, 0.5)
    with pool(tmp_path / "pool", SCHEDULE, late) as rolling:
        rolling.set_epoch(0)
        with pytest.warns(RuntimeWarning, match=r"epoch 1 waited .* refresh=\d+ would hold"):
            rolling.set_epoch(1)
    kept = contents(tmp_path / "pool", range(2, 6))
    with pool(tmp_path / "pool", SCHEDULE, late) as rolling:
        assert contents(tmp_path / "pool", range(2, 6)) == kept
        rolling.set_epoch(2)
    assert contents(tmp_path / "pool", SCHEDULE.pool(2)) == contents(tmp_path / "expected", SCHEDULE.pool(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("synthesizer", "sentence"),
    [(broken, "weights are missing"), (killed, r"ended 3 times without a sample between, .* exit code -9")],
)
def test_persistent_failure_ends_in_one_error(tmp_path, synthesizer, sentence):
    with pool(tmp_path, SCHEDULE, synthesizer) as rolling, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RuntimeError, match=sentence):
            rolling.set_epoch(0)


TRAINING = """
import sys, time
from monai_diffaug.engines.pool_files import write_whole
from monai_diffaug.engines.pool_schedule import PoolSchedule
from tests.pooled import pool
if __name__ == "__main__":
    rolling = pool(sys.argv[1], PoolSchedule(4, 2))
    rolling.set_epoch(0)
    print(rolling.worker_pid, flush=True)
    if sys.argv[2] == "stay":
        time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["stay", "leave"])
def test_no_worker_outlives_its_training(tmp_path, end):
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    root = Path(__file__).parents[2]
    command = [sys.executable, str(script), str(tmp_path / "pool"), end]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)}
    ) as one:
        worker = int(one.stdout.readline())
        if end == "stay":
            with pool(tmp_path / "pool", SCHEDULE) as second:
                with pytest.raises(ValueError, match="is used by another training"):
                    second.set_epoch(0)
            one.kill()
        one.wait(30)
        wait_for(lambda: gone(worker), 10)


class Reading(torch.utils.data.Dataset):
    def __init__(self, rolling) -> None:
        self.rolling = rolling

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return self.rolling.sample(index).record.seed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:epoch . waited")
@pytest.mark.parametrize(("context", "persistent"), [("fork", False), ("fork", True), ("spawn", True)])
def test_data_loading_workers_see_the_epoch(tmp_path, context, persistent):
    with pool(tmp_path, SCHEDULE) as rolling:
        rolling.set_epoch(0)
        loader = torch.utils.data.DataLoader(
            Reading(rolling), num_workers=1, multiprocessing_context=context, persistent_workers=persistent
        )
        for epoch in range(2):
            rolling.set_epoch(epoch)
            seen = [int(seed) for seed in loader]
            assert seen == [rolling.sample(draw).record.seed for draw in range(8)]
        del loader


class TestDoors:
    def test_nothing_before_the_first_epoch(self, tmp_path):
        rolling = pool(tmp_path / "pool", SCHEDULE)
        assert rolling.epoch == -1 and rolling.worker_pid is None and not (tmp_path / "pool").exists()
        with pytest.raises(RuntimeError, match="the pool has no epoch yet; attach it"):
            rolling.sample(0)
        rolling.close()

    def test_only_deaths_without_a_sample_between_count(self, tmp_path):
        rolling = pool(tmp_path, SCHEDULE)
        rolling._worker = SimpleNamespace(exitcode=-9)
        for _ in range(5):
            write_whole(tmp_path / "status.json", json.dumps({"made": 1}).encode())
            rolling._judge_death()
        rolling._judge_death()
        with pytest.raises(RuntimeError, match="ended 3 times without a sample between"):
            rolling._judge_death()

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"cases": []}, "one case or more"),
            ({"cases": [{"image": "a.png"}]}, r"case 0 .* load=Compose\(\[LoadImaged"),
            ({"cases": [{"label": 1}]}, "case 0 of the pool holds no array or tensor under 'image'"),
            ({"synthesizer": lambda: None}, "synthesizer cannot be sent to the pool's worker"),
            ({"seed": -1}, "a seed from 0"),
            ({"threads": 0}, "one thread or more"),
        ],
    )
    def test_bad_orders(self, tmp_path, changes, sentence):
        given = {
            "cases": cases(2),
            "synthesizer": factory(2),
            "schedule": SCHEDULE,
            "folder": tmp_path / "p",
            **changes,
        }
        with pytest.raises(ValueError, match=sentence):
            RollingPool(**given)
        assert not (tmp_path / "p").exists()
