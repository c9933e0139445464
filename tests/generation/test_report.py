"""The end of a run in words."""

from __future__ import annotations

from typing import Any

import pytest

from monai_diffaug.generation.report import summarise


def line(*attempts: str, prompt: str = "polyp", extent: float = 10.0) -> dict[str, Any]:
    """Return a manifest line; an attempt is the reason of its refusal, or "" for an accepted one."""
    tried = [{"accepted": not reason, "reasons": [reason] if reason else [], "iou": 0.5} for reason in attempts]
    lesion = {"prompt": prompt, "extent": extent, "attempts": tried}
    return {"accepted": not attempts[-1], "attempts": tried, "abnormalities": [lesion]}


@pytest.mark.parametrize(
    ("accepted", "planned", "bad", "code"),
    [(10, 10, False, 0), (9, 10, False, 0), (8, 10, False, 3), (0, 1, False, 3), (10, 10, True, 1), (0, 10, True, 1)],
)
def test_exit_code(accepted: int, planned: int, bad: bool, code: int) -> None:
    lines = [line("")] * accepted + [line("off centre")] * (planned - accepted)
    summary = summarise(lines, [("a.png", "it is empty")] if bad else [])
    assert (summary.exit_code, summary.planned, summary.accepted) == (code, planned, accepted)
    assert f"{accepted} of {planned} samples accepted" in summary.text


def test_few_refusals_are_counted_by_reason_only() -> None:
    text = summarise([line("")] * 7 + [line("off centre", "overlap too low", "")], []).text
    assert "8 of 8 samples accepted, in 10 attempts (20 % refused)" in text
    assert "1  off centre" in text and "1  overlap too low" in text
    assert "more than 40 %" not in text and "refused by prompt" not in text


def test_many_refusals_are_broken_down_by_prompt_and_size() -> None:
    small = [line("", prompt="red", extent=n) for n in (1, 2)]
    large = [line(*["overlap too low"] * 4, prompt="pale", extent=n) for n in (31, 32, 33, 34)]
    text = summarise([*small, *large], []).text
    assert "more than 40 % refused: 89 % of the attempts" in text
    assert "16 of 16  pale" in text and "0 of 2  red" in text
    assert "0 of 2  small (extent under 31)" in text and "8 of 8  large (from 33)" in text


def test_a_sample_without_room_is_counted_and_gets_its_own_advice() -> None:
    nowhere = {"accepted": False, "abnormalities": []}
    nowhere["attempts"] = [{"accepted": False, "reasons": ["no room"], "iou": 0.0}]
    text = summarise([nowhere], []).text
    assert text.count("1 of 1  no room") == 2 and "refused by prompt:" in text and "refused by size:" in text
    assert "more than 40 % refused: 100 % of the attempts; look at gallery.html\n" in text
    assert "no room in 1 samples: choose smaller sizes" in text and "larger sizes" not in text
    both = summarise([nowhere, line("overlap too low")], []).text
    assert "no room in 1 samples: choose smaller" in both and "try other prompts or larger sizes" in both
    assert "no room" not in summarise([line("")], []).text


@pytest.mark.parametrize(("rate", "slow"), [(None, False), (0.0, False), (8.0, False), (2.1, False), (1.9, True)])
def test_far_slower_than_recorded(rate: float | None, slow: bool) -> None:
    text = summarise([line("")], [], rate=rate, recorded_rate=8.0).text
    assert ("far slower than the bundle's recorded rate" in text) is slow
    assert "far slower" not in summarise([line("")], [], rate=rate, recorded_rate=None).text


def test_bad_inputs_are_listed_each_once_with_its_source() -> None:
    text = summarise([], [("a.png", "image in/a.png: it is empty"), ("b.tif", ".tif is not supported")]).text
    assert text.splitlines()[-2:] == [
        "bad input: image in/a.png: it is empty",
        "bad input: b.tif: .tif is not supported",
    ]


def test_equal_notes_are_counted() -> None:
    text = summarise(
        [line("")], [], notes=[("a.png", "alpha dropped"), ("b.png", "x"), ("c.png", "alpha dropped")]
    ).text
    assert text.splitlines()[-2:] == ["note: alpha dropped: a.png and 1 more", "note: x: b.png"]


def test_the_rate_is_told_and_a_run_of_nothing_says_nothing() -> None:
    assert "12.35 accepted samples a second, files written" in summarise([], [], rate=12.3456).text
    assert summarise([], [("a.png", "broken")]).text == "bad input: a.png: broken"
