"""Accepted samples a second, without and with writing files, and where the time goes.

    python -m benchmarks.polyp.speed --bundle polyp_endoscopy --data KVASIR [--json FILE]

Preset `fast` on Kvasir's test frames (longest side 384), two threads unless told otherwise. Without files: samples
from frames in memory. With files: the same as `monai-diffaug generate` into a temporary folder, reading JPEG and
writing PNG; `making` leaves out what is done once a run, the check of all inputs and the gallery. A batch is painted
first to warm up. Attempts that the gate stops early cost less than accepted ones. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.polyp import common
from benchmarks.polyp.stages import Stopwatch, stages_of
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.bundle import describe, open_bundle
from monai_diffaug.generation.cases import CaseList, find_cases
from monai_diffaug.generation.offline import OfflineGenerator
from monai_diffaug.generation.order import Order
from monai_diffaug.metrics import acceptance
from monai_diffaug.synthesis import SynthesisRecord


def without_files(
    synthesizer: AbnormalitySynthesizer, cases: Sequence[Mapping[str, Any]], *, samples: int, seed: int
) -> dict[str, Any]:
    """Time ``samples`` requests on cases in memory, after as many as fill a batch."""
    requests = [
        common.request_of(cases[k % len(cases)], common.seed_of(seed, k))
        for k in range(samples + synthesizer.renderer.batch_size)
    ]
    synthesizer.batch(requests[samples:])
    watch, start = Stopwatch(), time.perf_counter()
    with watch.watching(stages_of(synthesizer)):
        results = synthesizer.batch(requests[:samples])
    return rates([result.record for result in results], time.perf_counter() - start, watch)


def with_files(
    synthesizer: AbnormalitySynthesizer, found: CaseList, about: Mapping[str, Any], *, samples: int, seed: int
) -> dict[str, Any]:
    """Time a run of ``samples`` planned samples into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        watch, start = Stopwatch(), time.perf_counter()
        generator = OfflineGenerator(synthesizer, Order(num=samples, seed=seed), about, progress=False)
        with watch.watching(stages_of(synthesizer)):
            generator(found, Path(folder) / "out")
        seconds = time.perf_counter() - start
        lines = (Path(folder) / "out" / "manifest.jsonl").read_text("utf-8").splitlines()
    return rates([SynthesisRecord.from_json(json.loads(line)) for line in lines], seconds, watch)


def rates(records: Sequence[SynthesisRecord], seconds: float, watch: Stopwatch) -> dict[str, Any]:
    """Return samples and attempts a second, and milliseconds an attempt in each stage."""
    counted = acceptance(records)
    accepted, attempts = sum(record.accepted for record in records), counted["attempts"]
    spent = {**watch.seconds, "other": seconds - sum(watch.seconds.values())}
    return {
        "samples": len(records),
        "seconds": seconds,
        "accepted_per_second": accepted / seconds,
        "making_accepted_per_second": accepted / (seconds - watch.seconds.get("once", 0.0)),
        "attempts_per_second": attempts / seconds,
        "accepted_per_attempt": counted["per_attempt"],
        "ms_an_attempt": {name: 1000 * taken / max(attempts, 1) for name, taken in spent.items()},
    }


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures that the command line asks for."""
    found: dict[str, Any] = {}
    for batch_size in args.batches:
        args.batch_size = batch_size
        synthesizer = common.build(args)
        split = args.data / "test"
        listed = find_cases(split / "images", split / "masks")
        about = describe(open_bundle(args.bundle), preset="fast", variant=None, prompts="standard")
        cases = common.read_cases(args.data, synthesizer.images, limit=args.limit)
        found[f"batch {batch_size}"] = {
            "without_files": without_files(synthesizer, cases, samples=args.samples, seed=args.seed),
            "with_files": with_files(synthesizer, listed, about, samples=args.samples, seed=args.seed),
        }
    return found


if __name__ == "__main__":
    made = common.parser(__doc__ or "")
    made.add_argument("--samples", type=int, default=200, help="planned samples of each run")
    made.add_argument("--batches", type=int, nargs="+", default=[8, 16], help="batch sizes")
    made.set_defaults(threads=2)
    asked = made.parse_args()
    common.tell(measure(asked), asked)
