"""Accepted samples a second, without and with files, and where the time goes: two arms of `benchmarks.speed`."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.polyp import common
from benchmarks.polyp.stages import StageWatch, Stopwatch, stages_of
from monai_diffaug import AbnormalitySynthesizer
from monai_diffaug.generation.cases import CaseList
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
    begun = time.perf_counter()
    synthesizer.batch(requests[samples:])
    watch, start = StageWatch(), time.perf_counter()
    with watch.watching(stages_of(synthesizer)):
        results = synthesizer.batch(requests[:samples])
    now = time.perf_counter()
    told = rates([result.record for result in results], now - start, watch)
    return {**told, "all_seconds": now - begun}


def with_files(
    synthesizer: AbnormalitySynthesizer, found: CaseList, about: Mapping[str, Any], *, samples: int, seed: int
) -> dict[str, Any]:
    """Time a run of ``samples`` planned samples into a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        watch, start = StageWatch(), time.perf_counter()
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
        "accepted": accepted,
        "accepted_per_attempt_all": accepted / max(attempts, 1),
        "ms_an_attempt": {name: 1000 * taken / max(attempts, 1) for name, taken in spent.items()},
    }
