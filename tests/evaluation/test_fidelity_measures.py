"""Measures with known answers, and a planted copy that must be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.metrics.fid import get_fid_score
from scipy import stats

from monai_diffaug.evaluation.fidelity import diversity, gate_shift, kernel_distance, neighbours, resampling
from monai_diffaug.evaluation.fidelity.diversity import draw_pairs, similarities
from monai_diffaug.evaluation.fidelity.features import features_of
from monai_diffaug.evaluation.fidelity.measures import Measures
from monai_diffaug.evaluation.fidelity.report import write_report
from monai_diffaug.evaluation.fidelity.resampling import Drawn, figure, matching, weighted_quantile
from monai_diffaug.evaluation.fidelity.windows import ACCEPTED, REAL, REFUSED, UNPAINTED, shape_of, view_of, window_of
from tests.toys import ball


class Coarse:
    """Features of a toy network: the mean colours of 7 x 7 parts."""

    name, digest = "coarse means", "0"

    def __init__(self):
        self.calls = 0

    def __call__(self, windows):
        self.calls += 1
        return torch.nn.functional.adaptive_avg_pool2d(windows, 7).flatten(1)


def lesions(count, seed, *, status=REAL):
    """Return views of smooth noise with a brighter disc each."""
    views = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        unit = np.kron(rng.random((3, 12, 12)), np.ones((1, 8, 8))).astype(np.float32) * 0.8
        mask = ball(2, 8 + number % 6, centre=(48, 48), shape=(96, 96))
        unit[:, mask] = (unit[:, mask] + 0.2).clip(0, 1)
        name = f"{seed}-{number}"
        views.append(view_of(unit, mask, mask, name=name, case=name, status=status))
    return views


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(resampling, "DRAWS", 40)
    monkeypatch.setattr(kernel_distance, "SUBSETS", 8)
    monkeypatch.setattr(diversity, "PAIRS", 8)


def test_the_kernel_distance_is_unbiased():
    """Of equal distributions its mean is 0, however few are compared; of different ones it is above."""
    rng, ones = np.random.default_rng(0), np.ones(6)
    same = [kernel_distance.kernel_distance(*rng.standard_normal((2, 6, 5)), ones, ones) for _ in range(4000)]
    assert abs(np.mean(same)) < 4 * np.std(same) / len(same) ** 0.5
    moved = rng.standard_normal((2, 200, 5)) + np.array([0, 1.0])[:, None, None]
    assert kernel_distance.kernel_distance(*moved, np.ones(200), np.ones(200)) > 0.5


def test_weights_count_as_copies_that_are_never_compared_with_themselves():
    one, other = np.random.default_rng(1).standard_normal((2, 5, 3))
    weights = np.array([1.0, 0, 1, 1, 1])
    left_out = kernel_distance.kernel_distance(one[weights > 0], other, np.ones(4), np.ones(5))
    assert kernel_distance.kernel_distance(one, other, weights, np.ones(5)) == pytest.approx(left_out)
    drawn = [
        kernel_distance.kernel_distance(one, other, *np.random.default_rng(k).multinomial(5, [0.2] * 5, 2))
        for k in range(300)
    ]
    whole = kernel_distance.kernel_distance(one, other, np.ones(5), np.ones(5))
    assert np.nanmean(drawn) == pytest.approx(whole, abs=4 * np.nanstd(drawn) / 300**0.5)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # of SciPy, to MONAI
def test_the_frechet_distance_is_monais():
    one, other = np.random.default_rng(2).standard_normal((2, 50, 4)) * [[[1.0]], [[2.0]]]
    expected = get_fid_score(torch.from_numpy(one), torch.from_numpy(other))
    assert kernel_distance.frechet_distance(one, other) == pytest.approx(float(expected), rel=1e-6)


def test_gaps_are_scipys():
    rng = np.random.default_rng(3)
    one, other = rng.integers(0, 9, 30).astype(float), rng.integers(2, 12, 20).astype(float)
    ks, wasserstein = gate_shift.gaps(one, other, np.ones(30), np.ones(20))
    assert ks == pytest.approx(stats.ks_2samp(one, other).statistic)
    assert wasserstein == pytest.approx(stats.wasserstein_distance(one, other))
    assert gate_shift.gaps(one, one, np.ones(30), np.ones(30)) == pytest.approx((0, 0))


def test_weights_bring_sizes_to_those_of_others():
    sizes, wanted = np.arange(1.0, 101), np.arange(1.0, 41)
    weights = matching(sizes, wanted)
    assert weights.sum() == pytest.approx(100) and (weights[70:] == 0).all()
    assert weighted_quantile(sizes, weights, 0.4) == pytest.approx(np.quantile(wanted, 0.4), abs=2)
    with pytest.raises(ValueError, match="sizes of two sets do not meet"):
        matching(sizes, wanted * 1000)


def test_intervals_hold_the_value_and_cases_stay_together():
    values = np.random.default_rng(4).standard_normal(60)
    apart = figure(lambda w: (w * values).sum() / w.sum(), Drawn.of([str(k) for k in range(60)]))
    assert apart.low < apart.value < apart.high
    alone = figure(lambda w: (w * values).sum() / w.sum(), Drawn.of(["one"] * 60))
    assert alone.low == pytest.approx(alone.value) and alone.high == pytest.approx(alone.value)


def test_windows_hold_twice_the_lesion_wherever_it_lies():
    unit, mask = np.zeros((1, 96, 112), np.float32), np.zeros((96, 112), bool)
    mask[10:30, 8:28] = True
    unit[:, mask] = 1
    share = (window_of(unit, mask) > 127).mean()
    assert share == pytest.approx(0.25, abs=0.01)
    assert shape_of(mask)["share"] == pytest.approx(400 / (96 * 112))


def test_diversity_compares_unlike_cases():
    windows = np.stack([view.window for view in lesions(4, 0)])
    assert similarities(windows, np.array([[0, 0], [0, 1]])).tolist() == pytest.approx([1, 0.3], abs=0.3)
    cases = np.array(["a", "a", "b", "c"])
    pairs = draw_pairs(cases, np.ones(4), pairs=50)
    assert (cases[pairs[:, 0]] != cases[pairs[:, 1]]).all()
    with pytest.raises(ValueError, match="all lesions are of one image"):
        draw_pairs(cases[:2], np.ones(2), pairs=1)


def test_features_are_kept_by_what_they_are_of(tmp_path):
    net, windows = Coarse(), np.stack([view.window for view in lesions(3, 0)])
    first = features_of(net, windows, cache=tmp_path)
    assert np.array_equal(first, features_of(net, windows, cache=tmp_path)) and net.calls == 1
    features_of(net, windows[::-1].copy(), cache=tmp_path)
    assert net.calls == 2


def planted(training):
    """Return lesions of a run: ten of its own, four turned training lesions, two refused."""
    own = lesions(10, 7, status=ACCEPTED)
    copies = [
        replace(
            view,
            name=f"copy-{number}",
            case=f"copy-{number}",
            status=ACCEPTED,
            window=np.flip(view.window, 2).copy(),
            crop=np.flip(view.crop, 2).copy(),
        )
        for number, view in enumerate(training[:4])
    ]
    refused = [replace(view, status=status) for view, status in zip(lesions(2, 8), (REFUSED, UNPAINTED), strict=True)]
    return [*own, *copies, *refused]


def test_planted_copies_are_found(tmp_path):
    training, held_out = lesions(24, 1), lesions(12, 2)
    planned = planted(training)
    found = Measures(Coarse())(planned, training, held_out)
    near = found.neighbours["synthetic"]["pixels"]
    assert near.which[10:14].tolist() == [0, 1, 2, 3]
    assert (near.distances[10:14] < 1e-3).all() and (near.distances[:10] > 0.1).all()
    copies = found.figures["privacy"]["pixels"]
    assert copies.below.value >= 4 / 14
    clean = Measures(Coarse())(planned[:10], training, held_out).figures["privacy"]["pixels"]
    assert copies.auc.value > clean.auc.value and copies.below.value > clean.below.value
    assert (near.distances[10:14] < copies.bound).all()
    gate = found.figures["gate"]
    assert gate["counts"] == {ACCEPTED: 14, REFUSED: 1, UNPAINTED: 1}
    assert sum(one["planned"] for one in gate["acceptance"][:3]) == 16
    settings = {"run": {"bundle": "toy"}, "feature_net": {"name": "coarse means"}}
    write_report(tmp_path / "report", found, tuple(planned), settings)
    assert {one.name for one in (tmp_path / "report").iterdir()} == {
        "fidelity.json",
        "fidelity.md",
        "nearest.png",
        "windows.png",
    }


def test_lesions_of_the_training_distribution_are_no_copies():
    training, fake = lesions(40, 1), lesions(20, 3, status=ACCEPTED)
    found = Measures(Coarse())(fake, training, lesions(20, 2)).figures
    assert 0.25 < found["privacy"]["pixels"].auc.value < 0.75
    assert found["distance"]["synthetic"].kid.value == pytest.approx(found["distance"]["held_out"].kid.value, abs=0.05)
    assert found["edges"]["synthetic"]["rim"].value == pytest.approx(1, abs=0.2)


def test_all_copies_give_an_auc_of_one():
    rng = np.random.default_rng(5)
    training = rng.standard_normal((20, 8))
    near, far = (neighbours.nearest_features(x, training) for x in (training[:6], rng.standard_normal((9, 8))))
    assert neighbours.auc(near.distances, far.distances, np.ones(6), np.ones(9)) == 1
    assert near.which.tolist() == list(range(6))
