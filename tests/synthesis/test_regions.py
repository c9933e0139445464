"""Where an abnormality may lie: labels, user regions, and the rules that look at the picture."""

from __future__ import annotations

import numpy as np
import pytest

from monai_diffaug.synthesis.regions import Regions
from monai_diffaug.synthesis.rules import Background, BlackBorder, Glare, Lumen, Overlay


@pytest.fixture
def shape(spatial_dims: int) -> tuple[int, ...]:
    return (48, 56, 40)[:spatial_dims]


@pytest.fixture
def image(shape: tuple[int, ...]) -> np.ndarray:
    return np.full((1, *shape), 0.5, np.float32)


@pytest.fixture
def label(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.int32)


def box(ndim: int, start: int, stop: int) -> tuple[slice, ...]:
    return (slice(start, stop),) * ndim


def tissue(height: int = 384, width: int = 480) -> np.ndarray:
    """Noisy pink tissue, (3, height, width)."""
    noise = np.random.default_rng(0).normal(0, 0.02, (3, height, width))
    return (np.array([0.75, 0.45, 0.4])[:, None, None] + noise).clip(0, 1).astype(np.float32)


def octagon(height: int = 384, width: int = 480) -> np.ndarray:
    """Return the view of a scope as bool (height, width)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    return (np.abs(x) < 0.92) & (np.abs(y) < 0.95) & (np.abs(x) + np.abs(y) < 1.45)


class TestLabels:
    def test_everything_is_allowed_without_a_label(self, image: np.ndarray) -> None:
        allowed = Regions()(image)
        assert allowed.dtype == bool and allowed.shape == image.shape[1:] and allowed.all()

    def test_lesions_and_their_gap_are_forbidden(self, image: np.ndarray, label: np.ndarray) -> None:
        label[box(label.ndim, 4, 6)] = 1
        label[box(label.ndim, 15, 35)] = 255
        allowed = Regions(gap=0.1)(image, label)
        for start, stop, gap in ((4, 6, 1), (15, 35, 2)):
            assert not allowed[box(label.ndim, start - gap, stop + gap)].any()
        expected = np.ones(label.shape, bool)
        expected[box(label.ndim, 3, 7)] = False
        expected[box(label.ndim, 13, 37)] = False
        np.testing.assert_array_equal(allowed, expected)

    def test_gap_follows_each_lesion_and_stops_at_the_border(self, label: np.ndarray) -> None:
        label[box(label.ndim, 0, 2)] = 3
        guard = Regions(gap=2.0).guard(label)
        assert guard[box(label.ndim, 0, 6)].all() and guard.sum() == 6**label.ndim

    def test_touching_corners_are_one_lesion(self, label: np.ndarray) -> None:
        label[box(label.ndim, 5, 10)] = 1
        label[box(label.ndim, 10, 15)] = 2
        assert Regions(gap=0.2).guard(label)[box(label.ndim, 3, 5)].all()

    def test_protected_is_forbidden_without_a_gap_and_no_lesion(self, image: np.ndarray, label: np.ndarray) -> None:
        label[box(label.ndim, 10, 20)] = 4
        regions = Regions(protected=[4])
        np.testing.assert_array_equal(regions(image, label), label == 0)
        assert not regions.existing_lesions(label).any() and not regions.guard(label).any()

    def test_organ_bounds_the_places(self, image: np.ndarray, label: np.ndarray) -> None:
        label[box(label.ndim, 5, 38)] = 7
        label[box(label.ndim, 20, 23)] = 1
        regions = Regions(organ=[7])
        allowed = regions(image, label)
        np.testing.assert_array_equal(regions.existing_lesions(label), label == 1)
        assert not allowed[label != 7].any()
        np.testing.assert_array_equal(allowed, (label == 7) & ~regions.guard(label))

    def test_user_regions_only_take_away(self, image: np.ndarray, label: np.ndarray) -> None:
        label[box(label.ndim, 10, 20)] = 1
        user = np.zeros(label.shape, np.uint8)
        user[box(label.ndim, 15, 30)] = 255
        np.testing.assert_array_equal(Regions()(image, label, user), Regions()(image, label) & (user > 0))

    def test_inputs_stay_as_they_were(self, image: np.ndarray, label: np.ndarray) -> None:
        label[box(label.ndim, 10, 20)] = 1
        user = np.ones(label.shape, bool)
        image[:, 3:9] = 0
        given = [image, label, user]
        before = [array.copy() for array in given]
        for array in given:
            array.flags.writeable = False
        Regions([BlackBorder(), Glare(), Lumen(), Overlay(), Background()])(*given)
        for array, old in zip(given, before, strict=True):
            np.testing.assert_array_equal(array, old)


class TestErrors:
    def test_label_covers_everything(self, image: np.ndarray, label: np.ndarray) -> None:
        with pytest.raises(ValueError, match="covers the whole image"):
            Regions()(image, label + 1)

    def test_gap_covers_the_rest(self, image: np.ndarray, label: np.ndarray) -> None:
        label[1:] = 1
        with pytest.raises(ValueError, match="existing lesions with their gap"):
            Regions()(image, label)

    def test_organ_is_absent(self, image: np.ndarray, label: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"no organ value \(5,\)"):
            Regions(organ=[5])(image, label)
        with pytest.raises(ValueError, match="no label was given"):
            Regions(organ=[5])(image)

    def test_user_regions_are_empty_or_miss(self, image: np.ndarray, label: np.ndarray) -> None:
        label[box(label.ndim, 10, 20)] = 1
        with pytest.raises(ValueError, match="regions are empty"):
            Regions()(image, label, np.zeros(label.shape))
        with pytest.raises(ValueError, match="do not meet"):
            Regions()(image, label, label)

    def test_rules_leave_nothing(self, image: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"the rules \(BlackBorder, Glare\)"):
            Regions([BlackBorder(), Glare()])(np.zeros_like(image))

    def test_shapes_differ(self, image: np.ndarray, label: np.ndarray) -> None:
        with pytest.raises(ValueError, match="label of shape"):
            Regions()(image, label[1:])
        with pytest.raises(ValueError, match="user regions of shape"):
            Regions()(image, label, label[None])

    def test_constructor(self) -> None:
        with pytest.raises(ValueError, match="gap"):
            Regions(gap=-0.1)
        with pytest.raises(ValueError, match="both organ and protected"):
            Regions(organ=[1, 2], protected=[2])


class TestBlackBorder:
    @pytest.mark.parametrize("size", [(384, 480), (301, 377), (64, 80)])
    def test_finds_the_octagon_and_little_more(self, size: tuple[int, int]) -> None:
        image, view = tissue(*size), octagon(*size)
        image[:, ~view] = 0.07
        forbidden = BlackBorder()(image)
        assert forbidden[~view].mean() > 0.995
        assert forbidden[view].mean() < 0.1

    def test_lumen_stays(self) -> None:
        image = tissue()
        image[:, ~octagon()] = 0.0
        image[:, 150:220, 200:290] = 0.02
        assert not BlackBorder()(image)[150:220, 200:290].any()
        assert Lumen()(image)[160:210, 210:280].all()

    def test_text_on_black_is_forbidden_too(self) -> None:
        image = tissue()
        image[:, :, :120] = 0.0
        image[:, 30:38, 20:60] = 0.9
        assert BlackBorder()(image)[:, :120].all()

    def test_dim_image_is_kept_and_a_small_view_is_found(self) -> None:
        dim = tissue() * 0.08
        assert not BlackBorder()(dim).any()
        small = np.zeros((3, 384, 480), np.float32)
        small[:, 150:250, 200:300] = 0.5
        forbidden = BlackBorder()(small)
        assert forbidden[:140].all() and not forbidden[160:240, 210:290].any()

    def test_all_black_is_forbidden(self) -> None:
        assert BlackBorder()(np.zeros((3, 64, 64), np.float32)).all()

    def test_nothing_dark_nothing_forbidden(self) -> None:
        assert not BlackBorder()(tissue()).any()


class TestGlare:
    def test_highlights_are_forbidden_specks_are_not(self) -> None:
        image = tissue()
        image[:, 100:130, 200:240] = 0.97
        image[:, 300:303, 300:303] = 1.0
        forbidden = Glare()(image)
        assert forbidden[100:130, 200:240].all() and not forbidden[290:310, 290:310].any()
        assert forbidden.sum() < 3 * 30 * 40

    def test_coloured_light_is_no_glare(self) -> None:
        image = tissue()
        image[0] = 1.0
        assert not Glare()(image).any()


class TestOverlay:
    def test_text_near_the_edge(self) -> None:
        image = tissue()
        for top in range(100, 160, 12):
            image[:, top : top + 7, 10:70:4] = 0.95
        forbidden = Overlay()(image)
        assert forbidden[100:155, 10:66].mean() > 0.95
        assert not forbidden[200:].any() and not forbidden[:, 120:].any()

    @pytest.mark.parametrize("colour", [(0.1, 0.65, 0.55), (0.0, 0.0, 0.6)])
    def test_whole_box_of_a_pure_colour(self, colour: tuple[float, ...]) -> None:
        image = tissue()
        image[:, 280:370, 10:130] = np.array(colour)[:, None, None]
        image[:, 300:340, 60:63] = 0.05
        forbidden = Overlay()(image)
        assert forbidden[280:370, 10:130].all()
        assert forbidden.mean() < 1.4 * 90 * 120 / forbidden.size

    def test_blue_light_and_a_box_in_the_middle_are_free(self) -> None:
        assert not Overlay()(tissue()[::-1] * np.float32([[[0.3]], [[0.8]], [[1.0]]])).any()
        image = tissue()
        image[0, 150:200, 200:260] = 0.0
        assert not Overlay()(image).any()

    def test_plain_tissue_and_the_middle_are_free(self) -> None:
        image = tissue()
        image[:, 170:210:6, 200:280:6] = 1.0
        assert not Overlay()(image).any()

    def test_one_channel_has_no_boxes(self) -> None:
        assert not Overlay()(tissue()[:1]).any()


class TestAnyDimensions:
    @pytest.mark.parametrize("rule", [BlackBorder(), Glare(), Lumen(), Overlay(), Background()])
    def test_shape_and_type(self, rule: object, image: np.ndarray) -> None:
        assert callable(rule)
        forbidden = rule(image)
        assert forbidden.shape == image.shape[1:] and forbidden.dtype == bool

    def test_background_keeps_holes(self, image: np.ndarray) -> None:
        image[:] = 0.01
        image[(slice(None), *box(image.ndim - 1, 8, 32))] = 0.5
        image[(slice(None), *box(image.ndim - 1, 18, 22))] = 0.0
        expected = np.ones(image.shape[1:], bool)
        expected[box(image.ndim - 1, 8, 32)] = False
        np.testing.assert_array_equal(Background(0.02)(image), expected)

    def test_background_with_cells_keeps_the_thinnest_tissue_only_where_it_fills_a_cell(self) -> None:
        image = np.zeros((1, 257, 129), np.float32)
        image[:, 90:150, 30:90] = 0.5
        forbidden = Background()(image)
        assert not forbidden[93:147, 33:87].any() and forbidden[:87].all() and forbidden[:, :27].all()

    def test_black_border_of_a_volume(self) -> None:
        image = np.zeros((1, 40, 40, 40), np.float32)
        image[:, 4:36, 4:36, 4:36] = 0.6
        forbidden = BlackBorder()(image)
        assert forbidden[:4].all() and not forbidden[8:32, 8:32, 8:32].any()
