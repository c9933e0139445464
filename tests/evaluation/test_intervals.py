"""Bootstrap over patients and trainings: means are exact, intervals behave as they must."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.evaluation.intervals import Bootstrap, average, difference, relative


def test_the_mean_is_over_rows_then_trainings_and_leaves_out_what_is_missing():
    rows = np.array([[0.0, 1.0, np.nan], [1.0, 1.0, 1.0]])
    assert Bootstrap(["a", "b", "c"], 2).mean(rows).value == pytest.approx(0.75)


def test_weights_choose_rows():
    rows = np.array([[0.2, 0.8, 0.5]])
    assert Bootstrap(["a", "b", "c"], 1).mean(rows, np.array([0.0, 1.0, 0.0])).value == pytest.approx(0.8)


def test_one_patient_with_many_equal_images_is_not_many_patients():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(8), 10)[None]
    of_patients = Bootstrap([str(n // 10) for n in range(80)], 1).mean(values)
    of_images = Bootstrap([str(n) for n in range(80)], 1).mean(values)
    assert of_patients.high - of_patients.low > 2 * (of_images.high - of_images.low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(200):
        found = Bootstrap([str(n) for n in range(40)], 1, draws=400).mean(rng.normal(0.0, 1.0, (1, 40)))
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_paired_differences_are_narrower_than_their_parts():
    rng = np.random.default_rng(2)
    easy = rng.random((1, 60))
    draws = Bootstrap([str(n) for n in range(60)], 1)
    one, other = draws.mean(easy + 0.1), draws.mean(easy)
    gain = difference(one, other)
    assert gain.value == pytest.approx(0.1)
    assert gain.high - gain.low < 1e-9 < one.high - one.low
    assert relative(one, other).value == pytest.approx(one.value / other.value - 1)
    assert average([one, other]).value == pytest.approx((one.value + other.value) / 2)


def test_nothing_gives_a_dash_and_numbers_give_brackets():
    nothing = Bootstrap(["a"], 1).mean(np.array([[np.nan]]))
    assert nothing.text() == "-"
    assert Bootstrap(["a", "b"], 1).mean(np.array([[0.5, 0.5]])).text(100, sign=True) == "+50.0 (+50.0 to +50.0)"


def test_means_over_test_sets_hold_the_spread_between_trainings():
    """The same trainings are good or bad on both sets; drawn apart, a part of their spread would cancel."""
    good_and_bad = np.array([[0.0] * 6, [1.0] * 6])
    one, other = (Bootstrap([str(n) for n in range(count)], 2).mean(good_and_bad[:, :count]) for count in (3, 6))
    both = average([one, other])
    assert np.array_equal(one.draws, other.draws) and (both.low, both.high) == (0, 1)
    assert np.std(both.draws) == pytest.approx(np.std(one.draws))
