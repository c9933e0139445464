"""Many samples at work at once, so that the networks see full batches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from monai_diffaug.synthesis.renderer import Renderer

Sample = TypeVar("Sample", bound=Any)


def finished(samples: Iterator[Sample], renderer: Renderer, *, audit: bool = False) -> Iterator[Sample]:
    """Yield samples as soon as all of their sites are finished.

    Samples are begun until one batch is full, of windows of one grid that wait for the same work, so that retries find
    company. For each grid and work less than a batch is held back.

    Args:
        samples: begun when they are asked for; each has a list ``sites``.
        renderer: works on the sites.
        audit: keep the pixels of refused attempts too.
    """
    begun: list[Sample] = []
    while True:
        group = renderer.together([site for sample in begun for site in sample.sites if not site.finished])
        if fresh := list(islice(samples, renderer.batch_size - len(group))):
            begun += fresh
        elif group:
            renderer.work(group, audit=audit)
        else:
            return
        yield from (sample for sample in begun if all(site.finished for site in sample.sites))
        begun = [sample for sample in begun if not all(site.finished for site in sample.sites)]
