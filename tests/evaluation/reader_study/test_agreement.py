"""Measures of agreement against examples from the literature and against second formulas."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.evaluation.reader_study.agreement import auc, fleiss_kappa, weighted_kappa
from monai_diffaug.evaluation.reader_study.resampling import bootstrap, intervals, redraw

FLEISS = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""
"""Fourteen raters, ten things, five classes; kappa is 0.210 (the worked example of Wikipedia's "Fleiss' kappa")."""


class TestAuc:
    def test_exact(self):
        # Of the six pairs (3, 1) (3, 3) (4, 1) (4, 3) (2, 1) (2, 3) four are right and one is a tie.
        assert auc(np.array([3, 4, 2]), np.array([1, 3])) == pytest.approx(4.5 / 6)

    def test_ties_count_half(self):
        assert auc(np.full(4, 3), np.full(5, 3)) == 0.5

    def test_counts_pairs(self):
        rng = np.random.default_rng(0)
        one, other = rng.integers(1, 6, 40), rng.integers(1, 6, 31)
        pairs = np.sign(one[:, None] - other[None])
        assert auc(one, other) == pytest.approx((pairs.mean() + 1) / 2)
        assert auc(one, other) + auc(other, one) == pytest.approx(1)

    def test_needs_both_kinds(self):
        assert np.isnan(auc(np.array([1.0]), np.zeros(0)))


class TestWeightedKappa:
    def test_by_hand(self):
        # Observed disagreement 1; by chance (4 * 2 / 3) + (1 + 2) / 3 + 4 / 3 = 5.
        assert weighted_kappa(np.array([1, 2, 3]), np.array([1, 3, 3])) == pytest.approx(0.8)

    def test_of_two_levels_is_cohens(self):
        # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: kappa 0.4 (the worked example of Wikipedia's "Cohen's kappa").
        one = np.repeat([2, 2, 1, 1], [20, 5, 10, 15])
        other = np.repeat([2, 1, 2, 1], [20, 5, 10, 15])
        assert weighted_kappa(one, other, levels=2) == pytest.approx(0.4)

    def test_equals_the_concordance_coefficient(self):
        """Quadratic weights make it Lin's coefficient with variances over n (Fleiss and Cohen 1973)."""
        rng = np.random.default_rng(1)
        one = rng.integers(1, 6, 60)
        other = np.clip(one + rng.integers(-1, 2, 60), 1, 5)
        covariance = np.cov(one, other, bias=True)
        lin = 2 * covariance[0, 1] / (covariance[0, 0] + covariance[1, 1] + (one.mean() - other.mean()) ** 2)
        assert weighted_kappa(one, other) == pytest.approx(lin)

    def test_of_two_constants_is_undefined(self):
        assert np.isnan(weighted_kappa(np.full(4, 3), np.full(4, 3)))
        assert np.isnan(weighted_kappa(np.zeros(0), np.zeros(0)))

    def test_needs_pairs(self):
        with pytest.raises(ValueError, match="3 and 2 ratings"):
            weighted_kappa(np.ones(3), np.ones(2))


class TestFleissKappa:
    def test_textbook(self):
        table = np.array([line.split() for line in FLEISS.split("\n") if line], dtype=int)
        assert fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)

    def test_one_class_alone_is_undefined(self):
        assert np.isnan(fleiss_kappa(np.array([[3, 0], [3, 0]])))
        assert np.isnan(fleiss_kappa(np.zeros((0, 2))))

    @pytest.mark.parametrize("rows", [[[3, 0], [1, 1]], [[1, 0]]])
    def test_needs_equal_numbers_of_readers(self, rows):
        with pytest.raises(ValueError, match="same number of readers"):
            fleiss_kappa(np.array(rows))


class TestResampling:
    def test_groups_keep_their_numbers(self):
        groups = np.array([1, 0, 0, 1, 0])
        drawn = redraw(groups, np.random.default_rng(3))
        assert sorted(groups[drawn]) == sorted(groups)

    def test_covers_the_mean(self):
        """Of many samples nearly the nominal share of intervals holds the true mean."""
        rng = np.random.default_rng(0)
        held = 0
        for _ in range(200):
            values = rng.normal(size=40)
            low, high = bootstrap(lambda drawn, v=values: v[drawn].mean(keepdims=True), np.zeros(40), rng, 200)[0]
            held += low <= 0 <= high
        assert 0.88 <= held / 200 <= 0.99

    def test_undefined_draws_are_left_out(self):
        assert intervals(np.array([[1.0, np.nan], [np.nan, np.nan]])).tolist()[0] == [1.0, 1.0]
        assert np.isnan(intervals(np.full((3, 1), np.nan))).all()
