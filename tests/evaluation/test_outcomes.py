"""Raw figures of an image: exact where a hand can tell them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from monai.metrics import compute_hausdorff_distance

from monai_diffaug.evaluation.cohorts import _diameter, draw_cohort, find_data, read_test, ring_contrast
from monai_diffaug.evaluation.outcomes import evaluate, image_outcome
from monai_diffaug.synthesis import Abnormality, ImageFormat
from tests.evaluation.lesion_sets import write_set
from tests.toys import ball

LABELS = {"abnormalities": [Abnormality("lesion")], "organ": (), "protected": ()}
IMAGES = ImageFormat(2, 3, (0.0, 255.0))


def _monais_hd95(pred, mask):
    pair = [torch.from_numpy(one)[None, None].float() for one in (pred, mask)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # MONAI calls itself in a way that it gives up
        return float(compute_hausdorff_distance(*pair, percentile=95))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_shifted_ball(spatial_dims):
    mask = ball(spatial_dims, 6)
    pred = np.roll(mask, 2, axis=0)
    found = image_outcome(pred, mask)
    both = (pred & mask).sum()
    assert found["dice"] == pytest.approx(2 * both / (pred.sum() + mask.sum()), abs=1e-5)
    assert found["iou"] == pytest.approx(both / (pred | mask).sum(), abs=1e-5)
    assert found["false_positives"] == 0
    assert found["hd95"] == pytest.approx(_monais_hd95(pred, mask), abs=0.3)


def test_empty_images_and_false_positives():
    mask, empty = ball(2, 8), np.zeros((80, 96), bool)
    assert image_outcome(empty, empty) == {"dice": None, "iou": None, "hd95": None, "false_positives": 0}
    assert image_outcome(mask, empty)["false_positives"] == 1
    assert image_outcome(mask, empty)["dice"] == 0
    missed = image_outcome(empty, mask)
    assert (missed["dice"], missed["hd95"]) == (0, pytest.approx(np.hypot(80, 96), abs=1e-3))
    speck = mask.copy()
    speck[0, 0] = True
    assert image_outcome(speck, mask)["false_positives"] == 0


def test_spacing_scales_distances():
    mask = ball(2, 6)
    pred = np.roll(mask, 3, axis=1)
    assert image_outcome(pred, mask, (1.0, 2.0))["hd95"] == pytest.approx(
        2 * image_outcome(pred, mask)["hd95"], rel=0.2
    )


def test_contrast_is_the_distance_of_mean_colours():
    mask = ball(2, 10)
    image = np.zeros((3, 80, 96), np.float32)
    image[:, mask] = np.array([[0.3], [0.4], [0.0]], np.float32)
    assert ring_contrast(image, mask, mask) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(("measure", "dims"), [(np.pi * 9, 2), (4 / 3 * np.pi * 27, 3)])
def test_a_ball_of_radius_three_has_diameter_six(measure, dims):
    assert _diameter(measure, dims) == pytest.approx(6)


def test_a_test_set_knows_its_lesions_and_their_patients(tmp_path):
    found = find_data(str(write_set(tmp_path, 6)), "test")
    test = read_test("toy", found, IMAGES, LABELS, r"^(p\d)_")
    assert sorted(set(test.groups)) == ["p0", "p1", "p2"]
    assert len(test.lesions) == 6
    truth = {case["image"].tobytes(): case["label"] != 0 for case in test.cases}
    perfect = evaluate(test, lambda image: truth[image.tobytes()])
    assert perfect["recalls"] == [1.0] * 6
    assert perfect["images"]["dice"] == [1.0] * 6
    nothing = evaluate(test, lambda image: np.zeros(image.shape[1:], bool))
    assert nothing["recalls"] == [0.0] * 6
    told = test.to_json()
    assert [told["groups"][told["cases"].index(name)] for name in ("p0_00", "p1_01")] == ["p0", "p1"]
    assert all(one["diameter"] is None and 0 < one["area"] < 0.1 for one in told["lesions"])


def test_a_list_of_tests_alone_is_read_as_it_is(tmp_path):
    folder = write_set(tmp_path, 3)
    entries = [{"image": str(one), "label": str(folder / "masks" / one.name)} for one in (folder / "images").iterdir()]
    path = tmp_path / "tests.json"
    path.write_text(json.dumps({"test": entries}))
    assert len(find_data(str(path), "test").cases) == len(find_data(f"{path}:test", "train").cases) == 3
    path.write_text(json.dumps(entries))
    assert len(find_data(str(path), "train").cases) == 3


def test_a_cohort_takes_patients_in_turn_and_depends_on_its_seed_alone(tmp_path):
    found = find_data(str(write_set(tmp_path, 12)), "train")
    first, again, other = (draw_cohort(found, 6, seed, patient=r"^(p\d)_") for seed in (0, 0, 1))
    assert first.cases == again.cases != other.cases
    assert sorted(case.id[:2] for case in first.cases) == ["p0", "p0", "p1", "p1", "p2", "p2"]
    with pytest.raises(ValueError, match="13 training images were asked for"):
        draw_cohort(found, 13, 0)
