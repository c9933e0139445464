"""The computing parts of the figures on looks, speed and copies, on toys."""

from __future__ import annotations

import copy
import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from benchmarks import sampling
from benchmarks.polyp import (
    against_diffusers,
    common,
    near_copies,
    obedience,
    pictures,
    preserve,
    rim,
    rival,
    sheet,
)
from benchmarks.polyp.painting import delivered_unit, paint_all, worded
from benchmarks.polyp.stages import Stopwatch, stages_of
from monai_diffaug.engines.bank import LatentBatches, encode_windows
from monai_diffaug.engines.training import Pace
from monai_diffaug.engines.windows import TrainingWindow
from monai_diffaug.evaluation.fidelity import crops, rims
from monai_diffaug.generation.cases import find_cases
from monai_diffaug.networks.passes import DenoiserPass
from monai_diffaug.synthesis import NearCopies, NetworkValidator, QualityGate
from monai_diffaug.synthesis.attributes import TERCILES
from tests.runs import frame as picture
from tests.tiny_networks import tiny_denoiser, tiny_inpainter, tiny_text_encoder, tiny_validator_net
from tests.toys import ball, toy_image, toy_synthesizer


def cases_of(spatial_dims, count, *, channels=1, lesion=True):
    """Return cases with a small, bright and rough lesion in a corner of each."""
    made = []
    for seed in range(count):
        image = toy_image(spatial_dims, channels=channels, seed=seed)
        shape = image.shape[1:]
        label = ball(spatial_dims, 5, centre=[7] * spatial_dims, shape=shape).astype(np.uint8) * lesion
        bright = 225 + 10 * np.random.default_rng(seed).standard_normal(shape)
        image = np.where(label, bright.clip(200, 255), image).astype(np.uint8)
        made.append({"name": f"case{seed}", "image": image, "label": label, "spacing": None})
    return made


def tiny_synthesizer(spatial_dims, *, batch_size=2):
    return toy_synthesizer(
        spatial_dims,
        inpainter=tiny_inpainter(spatial_dims),
        validator=NetworkValidator(tiny_validator_net(spatial_dims)),
        gate=QualityGate(iou=0.0),
        batch_size=batch_size,
    )


# painting and obedience


def test_every_window_is_painted_whatever_the_gate_says(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims, gate=QualityGate(iou=1.0), batch_size=2)
    sites = common.planned_sites(synthesizer, cases_of(spatial_dims, 3), seed=1)
    synthesizer.renderer.prepare(sites)
    paint_all(synthesizer, sites)
    for site in sites:
        changed = (site.patch != site.original).any(0)
        assert changed.any() and not changed[~site.plan.paint[site.box]].any()


def test_a_text_changes_nothing_but_the_text(spatial_dims):
    synthesizer = tiny_synthesizer(spatial_dims)
    sites = common.planned_sites(synthesizer, cases_of(spatial_dims, 2), seed=1)
    synthesizer.renderer.prepare(sites)
    same = worded(sites, [site.plan.prompt for site in sites])
    other = worded(sites, ["normal tissue"] * len(sites))
    for group in (sites, same, other):
        paint_all(synthesizer, group)
    for one, two, three in zip(sites, same, other, strict=True):
        assert one.patch.tobytes() == two.patch.tobytes() != three.patch.tobytes()
        assert three.plan.seeds == one.plan.seeds and three.plan.mask is one.plan.mask


@pytest.mark.parametrize("attribute", TERCILES)
def test_one_word_takes_the_place_of_another(attribute):
    low, middle, high = TERCILES[attribute]
    assert (
        obedience.with_word(f"round polyp, {middle}, other word", attribute, low) == f"round polyp, other word, {low}"
    )
    assert obedience.with_word("polyp", attribute, high) == f"polyp, {high}"


def test_the_texture_obeys_brightness_and_the_share_says_so():
    synthesizer = toy_synthesizer(2, channels=3, batch_size=4)
    sites = common.planned_sites(synthesizer, cases_of(2, 4, channels=3), seed=2)
    found = obedience.obedience(synthesizer, sites, attributes=["brightness", "colour"])
    assert found["darker / brighter"]["right_way"] == 1
    assert found["paler / redder"] == {**found["paler / redder"], "right_way": 1, "pairs": len(sites)}
    assert 0 <= found["normal tissue / polyp"]["mean_covered_polyp"] <= 1


def test_right_way_counts_rises_alone():
    assert obedience.compared([0, 0, 0, 0], [1, 2, 0, -1])["right_way"] == 0.5


# rims


def test_a_blurred_edge_is_less_steep_and_a_blurred_inside_less_sharp(spatial_dims):
    rng = np.random.default_rng(0)
    shape = (40,) * spatial_dims
    mask = ball(spatial_dims, 10, centre=[20] * spatial_dims, shape=shape)
    paint = ball(spatial_dims, 13, centre=[20] * spatial_dims, shape=shape)
    nothing = np.zeros(shape, bool)
    grey = 0.4 + 0.3 * mask + 0.02 * rng.standard_normal(shape)
    soft = ndimage.gaussian_filter(grey, 2)
    assert rims.edge_slope(soft, mask) < 0.7 * rims.edge_slope(grey, mask)
    inside_soft = np.where(mask, soft, grey)
    assert rims.detail_ratio(grey, mask, paint, nothing) == pytest.approx(1, abs=0.1)
    assert rims.detail_ratio(inside_soft, mask, paint, nothing) < 0.3


def test_an_abrupt_paste_shows_as_a_seam(spatial_dims):
    shape = (36,) * spatial_dims
    grey = 0.5 + 0.02 * ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 1)
    mask = ball(spatial_dims, 4, centre=[18] * spatial_dims, shape=shape)
    paint = ball(spatial_dims, 11, centre=[18] * spatial_dims, shape=shape)
    nothing = np.zeros(shape, bool)
    assert rims.seam(grey, mask, paint, nothing) == pytest.approx(1, abs=0.25)
    assert rims.seam(grey + 0.1 * paint, mask, paint, nothing) > 4
    assert rims.seam(grey + 0.1 * mask, mask, paint, nothing) == pytest.approx(1, abs=0.25)


def test_where_a_lesion_leaves_the_image_it_has_no_edge():
    mask = np.zeros((20, 20), bool)
    mask[:8, 5:15] = True
    assert not rims.edge(mask)[0, 7] and rims.edge(mask)[7, 7]


def test_a_matched_median_is_that_of_equal_bins():
    values, bins = [1.0, 2.0, 3.0, 10.0, float("nan")], ["a", "a", "a", "b", "b"]
    assert rims.matched_median(values, bins, {"a": 1}) == 2
    assert rims.matched_median(values, bins, {"a": 1, "b": 5}) == 10
    assert np.isnan(rims.matched_median(values, bins, {"c": 1}))


def test_lesions_against_themselves_have_ratios_of_one():
    synthesizer = toy_synthesizer(2)
    sites = common.real_sites(synthesizer, cases_of(2, 6), min_pixels=16)
    found = rim.compare(sites, sites)
    assert found["rim"]["over_real"] == found["sharpness"]["over_real"] == 1
    told = rim.seams(sites)
    assert told["painted"] == told["untouched"] and told["half_again_above_untouched"] == 0


# preserve


def test_only_what_is_outside_counts(spatial_dims):
    source = torch.zeros(2, 3, *(8,) * spatial_dims)
    hold = torch.zeros(2, 1, *(8,) * spatial_dims)
    hold[:, :, :4] = 1
    assert preserve.outside_error(source + 5 * hold, source, hold).tolist() == [0, 0]
    assert preserve.outside_error(source + 2, source, hold).tolist() == [4, 4]


def test_trainings_differ_in_lambda_alone(spatial_dims):
    start = DenoiserPass(tiny_denoiser(spatial_dims), tiny_text_encoder())
    groups = [tiny_group(spatial_dims)]
    pace = Pace(2, 1, epoch_steps=2, warmup=0, amp=False)
    one, same, other = (
        preserve.trained(start, groups, preserve=value, pace=pace, batch_cells=128) for value in (0.0, 0.0, 0.5)
    )
    weights = [torch.cat([w.flatten() for w in network.parameters()]) for network in (one, same, other, start)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], weights[3])


def test_errors_without_holding_belong_to_the_network_that_paints():
    synthesizer = tiny_synthesizer(2)
    sites = common.planned_sites(synthesizer, cases_of(2, 3), seed=1)
    synthesizer.renderer.prepare(sites)
    inpainter = synthesizer.renderer.inpainter
    own = DenoiserPass(inpainter.denoiser, inpainter.text_encoder)
    found = preserve.free_errors(synthesizer, sites)
    assert found == preserve.free_errors(preserve.with_network(synthesizer, own), sites)
    other = copy.deepcopy(own)
    for weight in other.parameters():
        weight.data *= 1.5
    assert found != preserve.free_errors(preserve.with_network(synthesizer, other), sites)
    assert all(value > 0 for value in found.values())


def tiny_group(spatial_dims):
    """Return four encoded windows."""
    drawn = torch.Generator().manual_seed(0)
    size = (32,) * spatial_dims
    mask = torch.from_numpy(ball(spatial_dims, 3, centre=[8] * spatial_dims, shape=size))[None].float()
    windows = [
        TrainingWindow(torch.rand(1, *size, generator=drawn) * 2 - 1, mask, mask, mask, 0.0, "polyp", "a")
        for _ in range(4)
    ]
    group = encode_windows([("lesion", one) for one in windows], tiny_inpainter(spatial_dims), amp=False)
    assert LatentBatches([group], batch_cells=128)[0]["latent"].shape[1] == 2
    return group


# near copies


def test_a_turned_crop_finds_itself(spatial_dims):
    drawn = np.random.default_rng(0).random((4, 2, *(6,) * spatial_dims))
    rows = crops.flattened(drawn)
    turned = crops.turns(drawn[2])
    assert len(turned) == {2: 8, 3: 48}[spatial_dims]
    for one in turned[::5]:
        value, which, turn = crops.nearest(0.5 * one + 0.2, rows)
        assert (round(value, 6), which) == (1, 2)
        assert np.allclose(crops.turns(one)[turn], drawn[2])


def test_copies_are_told_from_others():
    synthesizer = toy_synthesizer(2, batch_size=2)
    cases = cases_of(2, 4)
    sites = common.real_sites(synthesizer, cases, min_pixels=16)
    latents = torch.stack([site.window_image for site in sites])
    known = NearCopies(
        NearCopies.describe(latents[:2], torch.stack([site.mask for site in sites[:2]])), threshold=0.999
    )
    training = [crops.lesion_crop(delivered_unit(site), site.plan.mask[site.box]) for site in sites[:2]]
    found = near_copies.neighbours(synthesizer, sites, known, crops.flattened(np.stack(training)))
    told = near_copies.told(found, known.threshold)
    assert [one.cosine > 0.999 for one in found[:2]] == [True, True] and told["near_copies"] >= 2
    assert [one.which for one in found[:2]] == [0, 1] and told["pixels"]["highest"] == pytest.approx(1, abs=1e-5)
    assert near_copies.pairs_sheet(found, training, known.threshold, count=2).size[0] > 4 * 32 * 4


def test_rounds_end_with_the_count():
    synthesizer = toy_synthesizer(2, batch_size=4)
    rounds = near_copies.accepted_sites(synthesizer, cases_of(2, 4), count=5, seed=0, rounds=20)
    sites = [site for each in rounds for site in each]
    assert len(sites) == 5 and all((site.patch != site.original).any() for site in sites)
    assert list(near_copies.accepted_sites(synthesizer, cases_of(2, 2), count=99, seed=0, rounds=0)) == []


# speed


def test_a_stage_inside_another_stops_its_watch(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: None)
    watch.timed("outer", lambda: (inner(), inner()))()
    assert watch.seconds == {"inner": 2, "outer": 3}


def test_stages_are_put_back(synthesizer):
    before = [owner.__dict__[name] for _, owner, name in stages_of(synthesizer)]
    with pytest.raises(KeyError), Stopwatch().watching(stages_of(synthesizer)):
        raise KeyError
    assert before == [owner.__dict__[name] for _, owner, name in stages_of(synthesizer)]


def test_speed_tells_rates_and_stages(tmp_path):
    synthesizer = toy_synthesizer(2, channels=3, batch_size=2)
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(2):
        Image.fromarray(picture(k)).save(folder / f"{k}.png")
    memory = sampling.without_files(synthesizer, cases_of(2, 2, channels=3), samples=4, seed=0)
    files = sampling.with_files(synthesizer, find_cases(folder), {"data_terms": "none"}, samples=4, seed=0)
    for found in (memory, files):
        assert found["samples"] == 4
        assert found["attempts_per_second"] >= found["accepted_per_second"]
        assert {"plan", "inpaint", "decode", "other"} <= set(found["ms_an_attempt"])
    assert files["ms_an_attempt"]["files"] > 0 and "files" not in memory["ms_an_attempt"]
    assert files["making_accepted_per_second"] >= files["accepted_per_second"]


def test_our_whole_way_paints_every_window():
    synthesizer = tiny_synthesizer(2)
    case = cases_of(2, 1, lesion=False)[0]
    plans = against_diffusers.plans_of(synthesizer, case, 3, seed=0)
    assert len(plans) == 3
    batches = against_diffusers.by_grid(plans, 2)
    assert all(len(batch) == 2 for batch in batches)
    found = against_diffusers.frame_seconds(synthesizer, case, plans, repeats=1)
    assert found["ours_seconds"] > 0 and sum(one["share"] for name, one in found.items() if "grid" in name) == 1


def test_a_crop_is_its_own_window():
    synthesizer = toy_synthesizer(2, channels=3)
    plan = against_diffusers.crop_plan(synthesizer)
    frame = against_diffusers.framed(cases_of(2, 1, channels=3)[0], 128)
    site = common.site_of(synthesizer, frame, plan, frame["label"] != 0)
    assert plan.window.scale == 0 and site.window_image.shape == (3, 128, 128)
    assert torch.equal(site.mask[0] > 0, torch.from_numpy(plan.mask))


def test_ratios_are_theirs_over_ours():
    found = against_diffusers.compared({"ours_seconds": 0.5}, {"float32": 4.0})
    assert found["times_faster"] == {"float32": 8.0}


def test_without_diffusers_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(SystemExit, match=r"pip install 'monai_diffaug\[sdxl\]'"):
        rival.diffusers_module()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_pipeline_paints():
    pipeline = rival.Rival(rival.diffusers_module())
    mask = np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    made = pipeline.paint(np.full((64, 64, 3), 100, np.uint8), mask, count=2, steps=2)
    assert made.shape == (2, 64, 64, 3) and np.isfinite(made).all()


# sheets


def test_real_and_synthetic_crops_are_of_one_size_and_shuffled(tmp_path):
    synthesizer = toy_synthesizer(2, channels=3, batch_size=2)
    cases = cases_of(2, 8, channels=3)
    results = common.synthesize(synthesizer, [common.request_of(case, k) for k, case in enumerate(cases[:4])])
    made = sheet.synthetic_lesions(cases[:4], results, synthesizer)
    lesions = sheet.matched(made, sheet.real_lesions(cases[4:], synthesizer), 3, 60)
    kinds = [one["kind"] for one in lesions]
    assert kinds.count("real") == kinds.count("synthetic") > 0
    assert len({one["name"] for one in lesions}) == len(lesions)
    tiles, key = sheet.guesses(lesions, side=60, seed=0, enlarge=2)
    assert {tile.shape for tile in tiles} == {(120, 120, 3)}
    assert [one["number"] for one in key] == list(range(1, len(lesions) + 1))
    assert sheet.guesses(lesions, side=60, seed=0, enlarge=2)[1] == key
    pictures.sheet(tiles, 3, [str(one["number"]) for one in key]).save(tmp_path / "sheet.png")


def test_a_crop_holds_the_whole_lesion(spatial_dims):
    shape = (40, 44, 48)[:spatial_dims]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        mask = ball(spatial_dims, 5, centre=rng.integers(2, 38, spatial_dims), shape=shape)
        assert sheet.crop(mask[None].astype(np.float32), mask, 24, rng).sum() == mask.sum()


def test_no_picture_goes_into_the_repository(tmp_path):
    with pytest.raises(SystemExit, match="inside the repository"):
        pictures.outside(pictures.REPOSITORY / "sheets")
    assert pictures.outside(tmp_path / "new").is_dir()
    assert not (pictures.REPOSITORY / "sheets").exists()


def test_frames_are_set_to_one_side():
    frame = against_diffusers.framed(cases_of(2, 1)[0], 32)
    assert frame["image"].shape == (1, 32, 32) and not frame["label"].any()
