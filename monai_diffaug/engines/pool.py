"""A rolling pool of ready samples, refreshed by a process of its own while training reads it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from ignite.engine import Engine, Events

from monai_diffaug.engines.pool_files import PooledSample, PoolFolder, locked, unlock
from monai_diffaug.engines.pool_order import WorkOrder
from monai_diffaug.engines.pool_schedule import PoolSchedule
from monai_diffaug.engines.pool_worker import FAILURE, run
from monai_diffaug.synthesis import AbnormalitySynthesizer

MOST_DEATHS = 3
"""Times that the worker may be killed without having made a sample in between."""
LOOK = 0.02  # seconds between looks while waiting


class RollingPool:
    """Hold ready samples in a folder and renew some of them every epoch, in the background.

    Which samples make up the pool of an epoch, and their bytes, depend on ``seed``, the epoch, the cases and the
    synthesizer; never on timing. Samples are made one epoch ahead. Where the worker is late nevertheless, the next
    epoch waits for it, and a warning says which rate would hold. A killed worker is started again and makes the same
    samples; an exception in it is raised here. Only the process that made the pool runs a worker; copies in
    data-loading workers read the folder.

    Args:
        cases: mappings with ``image`` (C, *spatial) and, where there are, ``label`` and ``regions``.
        synthesizer: called without arguments in the worker, returns the synthesizer; it must be picklable, such as
            ``functools.partial(load_synthesizer, "polyp_endoscopy", batch_size=4)``.
        schedule: how large the pool is, and how much of it is new every epoch.
        folder: where the samples lie, at most ``size + (lead + 1) * refresh``; a stopped training goes on with it.
        seed: of all draws.
        load: a picklable, deterministic transform that makes such mappings of ``cases``, e.g. from paths.
        threads: of the worker.
        cores: that the worker may run on, None for those of this process.

    Example:
        >>> import functools, tempfile, torch
        >>> from monai_diffaug import PoolSchedule, RollingPool, load_synthesizer
        >>> cases = [{"image": torch.full((3, 160, 160), value)} for value in (110.0, 130.0)]
        >>> factory, folder = functools.partial(load_synthesizer, "texture_demo"), tempfile.TemporaryDirectory()
        >>> pool = RollingPool(cases, factory, PoolSchedule(size=4, refresh=2), folder.name, seed=1)
        >>> [list(pool.schedule.pool(epoch)) for epoch in (0, 1)]  # nothing runs before the first epoch
        [[0, 1, 2, 3], [2, 3, 4, 5]]
        >>> folder.cleanup()
    """

    def __init__(
        self,
        cases: Sequence[Mapping[str, Any]],
        synthesizer: Callable[[], AbnormalitySynthesizer],
        schedule: PoolSchedule,
        folder: str | Path,
        *,
        seed: int = 0,
        load: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
        threads: int = 1,
        cores: Sequence[int] | None = None,
    ) -> None:
        self.schedule = schedule
        self.folder = PoolFolder(Path(folder).absolute())
        self._order: WorkOrder | None = WorkOrder(
            self.folder, schedule, list(cases), load, synthesizer, seed, threads, cores
        )
        self._owner = os.getpid()
        self._worker: Any = None
        self._lock: IO[str] | None = None
        self._deaths, self._warned = 0, set[str]()
        self._epoch_begun: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a reader in another process needs: the worker stays with this one."""
        return {**self.__dict__, "_order": None, "_worker": None, "_lock": None, "_owner": -1}

    def __enter__(self) -> RollingPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def epoch(self) -> int:
        """The epoch that is drawn from, -1 before the first."""
        return int(self.folder.epochs[0]) if (self.folder.root / "epochs").exists() else -1

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, None where none runs."""
        return None if self._worker is None else self._worker.pid

    def attach(self, engine: Engine) -> None:
        """Advance the pool when an epoch of an ignite or MONAI trainer starts, also of a resumed one."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda trainer: self.set_epoch(trainer.state.epoch - 1))
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.tend())

    def set_epoch(self, epoch: int) -> None:
        """Make the pool that of ``epoch`` (from 0); waits where its samples are not all there.

        Raises:
            RuntimeError: when the worker fails, or is killed again and again; holds its message.
            ValueError: when the folder cannot be used.
        """
        if self._order is None or os.getpid() != self._owner:
            raise RuntimeError("a pool's epoch is set in the process that made it; a copy of it only reads")
        self._claim()
        wall = time.perf_counter()
        self.folder.epochs[1] = epoch
        self.tend()
        while set(self.schedule.pool(epoch)) - self.folder.numbers():
            time.sleep(LOOK)
            self.tend()
        self.folder.epochs[0] = epoch
        waited = time.perf_counter() - wall
        if self._epoch_begun is not None and waited > 5 * LOOK:
            self._warn_late(epoch, waited, wall - self._epoch_begun)
        self._epoch_begun = time.perf_counter()
        self._warn_unusable()

    def sample(self, draw: int) -> PooledSample:
        """Return the sample of this epoch's pool that a number drawn from 0 to 2**31 stands for.

        Raises:
            RuntimeError: before the first epoch.
        """
        epoch = self.epoch
        if epoch < 0:
            raise RuntimeError("the pool has no epoch yet; attach it to the trainer, or call set_epoch(0) first")
        pool = self.schedule.pool(epoch)
        return self.folder.read(pool[draw % len(pool)])

    def tend(self) -> None:
        """Start the worker where it does not run; cheap, called after each iteration.

        Raises:
            RuntimeError: when it failed, or was killed too often.
        """
        if self._order is None or (self._worker is not None and self._worker.exitcode is None):
            return
        killed = self._worker is not None
        if killed:
            self._judge_death()
        # Spawned, never forked: a fork would take CUDA's and every other thread's state along.
        self._worker = multiprocessing.get_context("spawn").Process(
            target=run,
            args=(pickle.dumps(self._order), self.folder.root, os.getpid()),
            daemon=True,
            name="diffaug-pool",
        )
        self._worker.start()
        if killed:
            warnings.warn("the pool's worker was killed and has been started again", RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        """Stop the worker; the folder stays. A later ``set_epoch`` starts it again."""
        if os.getpid() != self._owner:
            return
        if self._worker is not None:
            self._worker.kill()  # it has nothing to tidy up, and a stopped one would not hear a gentler signal
            self._worker.join()
            self._worker.close()
        self._worker = self._epoch_begun = None
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def status(self) -> dict[str, Any]:
        """Return what the worker tells: ``made``, ``refused``, ``seconds`` for both, ``unusable`` cases."""
        return self.folder.status()

    def _claim(self) -> None:
        """Make the folder this pool's, once."""
        if self._lock is not None or self._order is None:
            return
        self.folder.claim(self._order.about())
        self._lock = locked(self.folder.root / "lock")
        (self.folder.root / FAILURE).unlink(missing_ok=True)
        self.folder.forget_status()
        self.folder.epochs[:] = -1

    def _judge_death(self) -> None:
        """Raise where the worker failed or keeps dying; otherwise it may be started again."""
        failure = self.folder.root / FAILURE
        if failure.exists():
            raise RuntimeError(f"the pool's worker failed; it says:\n{failure.read_text('utf-8')}")
        self._deaths = 1 if self.status().get("made") else self._deaths + 1
        self.folder.forget_status()  # the next worker counts from 0
        if self._deaths >= MOST_DEATHS:
            raise RuntimeError(
                f"the pool's worker ended {self._deaths} times without a sample between, the last time with exit code "
                f"{self._worker.exitcode} (-9: killed, often for want of memory); give it more memory or a smaller "
                "batch_size"
            )

    def _warn_late(self, epoch: int, waited: float, lasted: float) -> None:
        told = self.status()
        pace = told["made"] / told["seconds"] if told.get("seconds") else 0.0
        warnings.warn(
            f"epoch {epoch} waited {waited:.1f} s for the pool: {self.schedule.refresh} new samples an epoch are too "
            f"many for a worker that makes {pace:.2f} in a second while an epoch lasts {lasted:.1f} s; "
            f"refresh={int(0.9 * pace * lasted)} would hold, or more threads for the worker",
            RuntimeWarning,
            stacklevel=3,
        )

    def _warn_unusable(self) -> None:
        for case, sentence in self.status().get("unusable", {}).items():
            if case not in self._warned:
                self._warned.add(case)
                warnings.warn(f"case {case} of the pool is passed over: {sentence}", RuntimeWarning, stacklevel=3)
