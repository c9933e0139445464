"""How many samples, of which cases, with which seeds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from monai_diffaug.generation.cases import Case
from monai_diffaug.generation.order import Order, sample_seed


def cases(*names: str) -> list[Case]:
    return [Case(name, Path(f"{name}.png"), f"{name}.png") for name in names]


def counts(order: Order, *names: str) -> dict[str, int]:
    """Return how many samples each case gets; cases without any are left out."""
    planned = [sample.case.id for sample in order.plan(cases(*names))]
    return {name: planned.count(name) for name in sorted(set(planned))}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order(num=6), {"a": 2, "b": 2, "c": 2}),
        (Order(num=7), {"a": 3, "b": 2, "c": 2}),
        (Order(num=2), {"a": 1, "b": 1}),
        (Order(num=4, per_image=3), {"a": 3, "b": 1}),
        (Order(num=9, per_image=3), {"a": 3, "b": 3, "c": 3}),
        (Order(ratio=1), {"a": 1, "b": 1, "c": 1}),
        (Order(ratio=2.4), {"a": 3, "b": 2, "c": 2}),
        (Order(ratio=0.4), {"a": 1}),
        (Order(ratio=0.4, per_image=1), {"a": 1}),
    ],
)
def test_samples_are_spread_over_sorted_cases(order: Order, expected: dict[str, int]) -> None:
    assert counts(order, "b", "c", "a") == expected


def test_ids_are_in_order_and_unique() -> None:
    planned = Order(num=205).plan(cases("b", "a"))
    assert [sample.id for sample in planned[:2]] == ["a__k00", "a__k01"]
    assert planned[102].id == "a__k102" and planned[103].id == "b__k00"
    assert len({sample.id for sample in planned}) == len({sample.seed for sample in planned}) == 205


def test_seed_depends_on_base_case_and_k_alone() -> None:
    few, many = Order(num=2, seed=7).plan(cases("a", "b")), Order(num=9, seed=7).plan(cases("0", "b", "a", "c"))
    seeds = {sample.id: sample.seed for sample in many}
    assert all(seeds[sample.id] == sample.seed == sample_seed(7, sample.case.id, 0) for sample in few)
    assert sample_seed(7, "a", 0) == int(hashlib.sha256(b"7\na\n0").hexdigest()[:12], 16)
    assert len({sample_seed(*one) for one in [(0, "a", 0), (1, "a", 0), (0, "b", 0), (0, "a", 1)]}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either num or ratio"),
        ({"num": 1, "ratio": 1.0}, "either num or ratio"),
        ({"num": 0}, "num must be positive, got 0"),
        ({"num": -3}, "num must be positive, got -3"),
        ({"ratio": 0.0}, "ratio must be positive"),
        ({"ratio": float("nan")}, "ratio must be positive"),
        ({"ratio": float("inf")}, "ratio must be positive"),
        ({"num": 1, "per_image": 0}, "per_image must be positive"),
        ({"num": 1, "seed": -1}, "seed must be an integer from 0"),
        ({"num": 1, "on_existing": "over"}, "beside or skip"),
    ],
)
def test_bad_orders_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Order(**arguments)


@pytest.mark.parametrize("name", ["num", "per_image", "seed"])
def test_fractions_of_samples_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a whole number, got 2.5"):
        Order(**{"num": 1, name: 2.5})


def test_too_few_or_too_many_for_the_images() -> None:
    with pytest.raises(ValueError, match="no sample at all; raise the ratio or give --num"):
        Order(ratio=0.1).plan(cases("a", "b"))
    with pytest.raises(ValueError, match="2 usable images with 3 each make only 6; raise --per-image"):
        Order(num=7, per_image=3).plan(cases("a", "b"))
