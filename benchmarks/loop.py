"""Time of a training step with synthesis in the loop, against the same step without.

    python benchmarks/loop.py [--train-cores 0] [--pool-cores 1] [--device cpu] [--repeats 6] [--steps 5]

A U-Net learns on sample frames of 256 pixels, in batches of 8, data loading in the trainer's own process. Four arms
take turns within every repeat: no augmentation; the transform with the pool's worker stopped; the same with its worker
always busy, which is the most it can disturb; synthesis in PrepareBatch. Prints medians over all steps, and how much
the repeats' medians differ from those of the arm without augmentation.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.losses import DiceLoss
from monai.networks.nets import UNet
from monai.transforms import Compose, EnsureTyped
from PIL import Image

from monai_diffaug import (
    DiffusionAbnormalityPrepareBatch,
    PoolSchedule,
    RandPooledAbnormalityd,
    RollingPool,
    load_synthesizer,
)
from monai_diffaug.bundle import shipped_bundles

ARMS = ("no augmentation", "pool, worker stopped", "pool, worker busy", "PrepareBatch")
BATCH = 8


def frames(bundle: str, size: int) -> list[dict[str, torch.Tensor]]:
    """Return a bundle's sample frames, uint8 (3, size, size), with empty labels."""
    items = []
    for path in sorted((shipped_bundles()[bundle] / "samples" / "frames").glob("*.png")):
        pixels = np.array(Image.open(path).convert("RGB").resize((size, size)))
        items.append({"image": torch.from_numpy(pixels).movedim(-1, 0).contiguous()})
        items[-1]["label"] = torch.zeros(1, size, size, dtype=torch.uint8)
    return items


class Arm:
    """One way to train, its steps timed from the end of one to the end of the next.

    Args:
        network: trained by all arms in turn.
        optimizer: of it.
        loader: gives the batches of one repeat.
        prepare: scales the images, after synthesis where there is one.
    """

    def __init__(self, network: Any, optimizer: Any, loader: Any, prepare: Any, device: str) -> None:
        self.times: list[list[float]] = []  # wall clock, a list for each repeat
        self.busy: list[list[float]] = []  # the trainer's own CPU time
        self.device = device
        self.trainer = SupervisedTrainer(
            device=torch.device(device),
            max_epochs=1,
            train_data_loader=loader,
            network=network,
            optimizer=optimizer,
            loss_function=DiceLoss(sigmoid=True),
            prepare_batch=prepare,
            train_handlers=[prepare],
        )
        self.trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: self._mark(first=True))
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self._mark())

    def _mark(self, *, first: bool = False) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()
        now = time.perf_counter(), time.process_time()
        if first:
            self.times.append([])
            self.busy.append([])
        else:
            self.times[-1].append(now[0] - self.last[0])
            self.busy[-1].append(now[1] - self.last[1])
        self.last = now

    def run(self) -> None:
        self.trainer.state.max_epochs = self.trainer.state.epoch + 1
        self.trainer.run()


def arms(args: argparse.Namespace, pool: RollingPool, data: list[dict[str, torch.Tensor]]) -> dict[str, Arm]:
    """Return the four arms; the pool's two differ only in what the worker does meanwhile."""
    network = UNet(2, 3, 1, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2).to(args.device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    synthesizer = load_synthesizer(args.bundle, device=args.device, batch_size=args.batch_size)
    typed, taken = EnsureTyped(["image", "label"]), RandPooledAbnormalityd("image", "label", pool, args.prob)
    draws = [data[k % len(data)] for k in range(args.steps * BATCH)]

    def arm(prob: float, *transforms: Any) -> Arm:
        loader = DataLoader(Dataset(draws, Compose([typed, *transforms])), batch_size=BATCH, num_workers=0)
        prepare = DiffusionAbnormalityPrepareBatch(synthesizer, prob, after=lambda images: images / 255)
        return Arm(network, optimizer, loader, prepare, args.device)

    return dict(zip(ARMS, (arm(0.0), arm(0.0, taken), arm(0.0, taken), arm(args.prob)), strict=True))


def measure(args: argparse.Namespace, pool: RollingPool, timed: dict[str, Arm]) -> int:
    """Let the arms take turns; return how many samples the worker made beside the arm that it was busy in."""
    made = 0
    for _ in range(args.repeats + 1):
        for name, arm in timed.items():
            busy = name == "pool, worker busy"
            os.kill(pool.worker_pid or 0, signal.SIGCONT if busy else signal.SIGSTOP)
            before = pool.status()["made"]
            arm.run()
            made += (pool.status()["made"] - before) * busy
    for arm in timed.values():
        del arm.times[0], arm.busy[0]  # the first repeat warms up
    return made


def report(timed: dict[str, Arm]) -> None:
    """Print each arm's wall clock and CPU time a step, the latter free of whatever else wanted the trainer's cores."""
    plain = timed[ARMS[0]]
    for name, arm in timed.items():
        wall, busy = _more(arm.times, plain.times), _more(arm.busy, plain.busy)
        print(
            f"{name:22s} {1000 * np.median(arm.times):6.0f} ms a step ({wall}), "
            f"CPU time {1000 * np.median(arm.busy):6.0f} ms ({busy})"
        )


def _more(times: list[list[float]], plain: list[list[float]]) -> str:
    """Return by how much the repeats' medians differ from those of the plain arm: median and quartiles."""
    more = 100 * (np.median(times, axis=1) / np.median(plain, axis=1) - 1)
    low, middle, high = np.percentile(more, (25, 50, 75))
    return f"{middle:+.1f} %, quartiles {low:+.1f} to {high:+.1f}"


def cores(text: str) -> list[int]:
    return [int(one) for one in text.split(",")]


def pinned(train: Iterable[int]) -> int:
    """Pin this process and return how many cores it has."""
    os.sched_setaffinity(0, train)
    torch.set_num_threads(len(list(train)))
    return torch.get_num_threads()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train-cores", type=cores, default=[0], help="cores of the trainer, e.g. 0,1")
    parser.add_argument("--pool-cores", type=cores, default=[1], help="cores of the pool's worker")
    parser.add_argument("--device", default="cpu", help="of the U-Net and of the synthesizer in PrepareBatch")
    parser.add_argument("--bundle", default="polyp_endoscopy")
    parser.add_argument("--prob", type=float, default=0.3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4, help="of the synthesizer's networks")
    parser.add_argument("--steps", type=int, default=5, help="steps of each arm in each repeat")
    parser.add_argument("--repeats", type=int, default=6)
    args = parser.parse_args()
    pinned(args.train_cores)
    data = frames(args.bundle, args.size)
    factory = functools.partial(load_synthesizer, args.bundle, batch_size=args.batch_size)
    schedule = PoolSchedule(size=8, refresh=8, lead=1000)  # so far ahead that the worker always has work
    about = {"threads": len(args.pool_cores), "cores": args.pool_cores}
    with tempfile.TemporaryDirectory() as home, RollingPool(data, factory, schedule, Path(home), **about) as pool:
        pool.set_epoch(0)
        timed = arms(args, pool, data)
        made = measure(args, pool, timed)
        os.kill(pool.worker_pid or 0, signal.SIGCONT)
    print(f"trainer on cores {args.train_cores}, worker on {args.pool_cores}, networks on {args.device}")
    report(timed)
    seconds = sum(map(sum, timed["pool, worker busy"].times))
    print(f"the worker made {made} samples beside {seconds:.0f} s of training and the warm-up")


if __name__ == "__main__":
    main()
