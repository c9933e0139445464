"""The polyp bundle's figures, on toys: what is counted is right where the answer is known."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.polyp import acceptance, auditing, auditor, autoencoder, common, one_step, sabotage, validator
from monai_diffaug.synthesis import NetworkValidator, SynthesisRequest
from tests.tiny_networks import tiny_inpainter, tiny_validator_net
from tests.toys import SHAPES, ball, toy_image, toy_synthesizer


class Bright:
    """See what is brighter than 0.75: the toy lesions of ``case``, exactly."""

    def __call__(self, latent: Tensor, source: Tensor, size: Any) -> Tensor:
        return (latent.mean(1, keepdim=True) > 0.75).float()


class Everywhere:
    """See lesions everywhere."""

    def __call__(self, latent: Tensor, source: Tensor, size: Any) -> Tensor:
        return torch.ones(len(latent), 1, *size)


def case(spatial_dims: int, *, radius: float = 6, seed: int = 0, offset: int = 0) -> dict[str, Any]:
    """Return a toy case with one white ball."""
    mask = ball(spatial_dims, radius, centre=[n // 2 + offset for n in SHAPES[spatial_dims]])
    image = np.where(mask, np.uint8(255), toy_image(spatial_dims, seed=seed))
    return {"name": f"case{seed}", "image": image, "label": mask.astype(np.uint8), "spacing": None}


def cases(spatial_dims: int) -> list[dict[str, Any]]:
    return [case(spatial_dims, radius=5 + k, seed=k, offset=k - 1) for k in range(3)]


class TestWindows:
    def test_real_windows_are_drawn_from_their_seed(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims)
        draws = [common.real_sites(synthesizer, cases(spatial_dims), draws=2, seed=seed) for seed in (0, 0, 1)]
        windows = [[site.plan.window for site in sites] for sites in draws]
        assert len(windows[0]) == 6 and windows[0] == windows[1] != windows[2]

    def test_a_lesion_is_not_among_the_others_of_its_window(self, spatial_dims):
        one, shape = case(spatial_dims), SHAPES[spatial_dims]
        one["label"] |= ball(spatial_dims, 5, centre=[6] * len(shape)).astype(np.uint8)
        sites = common.real_sites(toy_synthesizer(spatial_dims), [one])
        assert len(sites) == 2
        for site in sites:
            assert site.mask.any() and not (site.mask * site.seen).any()
            assert (site.known | site.plan.mask).sum() == one["label"].sum()

    def test_results_come_in_the_order_of_the_sites(self):
        small, large = toy_synthesizer(2), toy_synthesizer(2)
        large.planner.windows.sizes = (32,)
        pairs = zip(
            common.real_sites(small, cases(2)), common.real_sites(large, cases(2)), strict=True
        )  # two grids take turns
        sites = [site for pair in pairs for site in pair]
        found = common.each_batch(sites, lambda group: [id(one) for one in group], batch_size=2)
        assert found == [id(site) for site in sites]

    def test_delivered_sites_hold_the_delivered_pixels(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims)
        one = case(spatial_dims)
        result = synthesizer.batch([common.request_of(one, 3)], audit=True)[0]
        site = common.delivered_site(synthesizer, one, result, refused=not result.record.accepted)
        pixels = result.image if result.record.accepted else result.refused
        assert (site.patch == pixels[(slice(None), *site.box)]).all()
        assert site.change(site.delivered_view()) > 0

    def test_sizes_fall_into_three_bins(self):
        cuts = common.terciles(range(9))
        assert [common.bin_of(size, cuts) for size in (0, 4, 8)] == list(common.BINS)
        assert common.by_bin([1, 3, 5], [0, 0, 8], cuts) == {"small": 2.0, "medium": None, "large": 5.0}

    def test_figures_are_written_with_what_they_were_measured_on(self, tmp_path, capsys):
        args = argparse.Namespace(
            json=tmp_path / "new" / "f.json", bundle="texture_demo", device="cpu", seed=3, batch_size=1, limit=None
        )
        common.tell({"part": {"figure": 0.5}}, args)
        written = json.loads(args.json.read_text("utf-8"))
        assert "figure: 0.5" in capsys.readouterr().out
        assert written["figures"] == {"part": {"figure": 0.5}} and written["about"]["seed"] == 3


class TestAutoencoder:
    @pytest.mark.parametrize("blanked", [False, True])
    def test_a_perfect_one_loses_nothing(self, blanked):
        synthesizer = toy_synthesizer(2, batch_size=2)
        sites = common.real_sites(synthesizer, cases(2))
        found = autoencoder.reconstruction(synthesizer, sites, blanked=blanked)
        assert found["psnr"] > 100 and found["ssim"] == pytest.approx(1) and found["windows"] == 3

    def test_enlarged_windows_are_left_out(self):
        synthesizer = toy_synthesizer(2)
        sites = common.real_sites(synthesizer, cases(2), draws=8)
        kept = autoencoder.not_enlarged(sites)
        assert all(site.plan.window.scale >= 0 for site in kept)
        assert all(min(site.plan.window.shape) < 64 for site in sites if id(site) not in set(map(id, kept)))


class TestValidator:
    def test_a_perfect_one_beats_every_constant_shape(self):
        synthesizer = toy_synthesizer(2, validator=Bright(), batch_size=2)
        sites = common.real_sites(synthesizer, cases(2), draws=3)
        found = validator.real_overlap(synthesizer, sites)
        assert found["mean_iou"] > 0.85 and found["missed"] == 0
        assert found["over_best_constant"] > 0.1

    def test_false_alarms_are_none_or_all(self):
        for seer, share in ((Bright(), 0.0), (Everywhere(), 1.0)):
            synthesizer = toy_synthesizer(2, validator=seer)
            found = validator.alarms(synthesizer, common.planned_sites(synthesizer, cases(2), draws=4))
            assert found["windows"] > 0 and found["lesion_free"] == {"gate": share, "any": share}


class TestAcceptance:
    def test_real_lesions_pass_where_they_are_seen_as_they_are(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims, validator=Bright())
        found = acceptance.real(synthesizer, common.real_sites(synthesizer, cases(spatial_dims)), (10.0, 12.0))
        assert found["accepted"] == 1 and found["reasons"] == {}

    def test_the_bins_hold_all_samples(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims)
        results = acceptance.paint(synthesizer, cases(spatial_dims), draws=2, seed=0)
        found, cuts = acceptance.synthetic(results)
        assert sum(one["samples"] for one in found["by_size"].values()) == found["samples"] == 6
        assert cuts[0] <= cuts[1]
        assert found == acceptance.synthetic(acceptance.paint(synthesizer, cases(spatial_dims), draws=2, seed=0))[0]


class TestSabotage:
    def test_a_shifted_claim_is_accepted_ever_less(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims)
        accepted = []
        for one in cases(spatial_dims):
            for site in common.real_sites(synthesizer, [one], draws=2):
                site = replace(site, patch=255 - site.original)  # some change; only the masks matter here
                accepted += sabotage.shift_claims(synthesizer, site, site.mask, shifts=(0, 1, 2, 4, 8))
        shares = [one["accepted"] for one in sabotage.curve(accepted).values()]
        assert shares[0] == 1 and shares[-1] == 0
        assert all(later <= earlier for earlier, later in zip(shares, shares[1:], strict=False))
        assert sabotage.curve_of_shares(accepted)["beyond 20%"]["accepted"] == 0

    @pytest.mark.parametrize("factor", sabotage.SCALES)
    def test_a_scaled_mask_has_the_extent_asked_for(self, spatial_dims, factor):
        mask = ball(spatial_dims, 9)
        extent = np.ptp(np.argwhere(sabotage.scaled(mask, factor)), axis=0) + 1
        assert np.abs(extent - factor * 19).max() <= 1.5

    def test_scaled_claims_are_refused(self, spatial_dims):
        synthesizer = toy_synthesizer(spatial_dims)
        (site,) = common.real_sites(synthesizer, [case(spatial_dims)])
        claims = sabotage.scale_claims(synthesizer, replace(site, patch=255 - site.original), site.mask)
        assert claims and not any(claim.accepted for claim in claims)

    def test_a_shift_keeps_the_mask_whole(self, spatial_dims):
        corner = ball(spatial_dims, 4, centre=[4] * spatial_dims)
        moves = list(sabotage.shifted(corner, 3))
        assert len(moves) == spatial_dims  # the other way leaves the image
        assert all(move.sum() == corner.sum() for move in moves)

    def test_nothing_painted_is_never_accepted(self, spatial_dims):
        found = sabotage.empty_paint(toy_synthesizer(spatial_dims), cases(spatial_dims), draws=1, seed=0)
        assert found["gate"]["per_sample"] == 0 and found["gate"]["attempts"] > 0 and found["masks_alone"] == 0

    def test_the_curve_is_drawn_line_by_line(self):
        drawn = sabotage.draw_curve({"1": {"claims": 4, "accepted": 0.5}, "16": {"claims": 0, "accepted": None}})
        assert drawn.splitlines()[0].count("#") == 20 and "no claim" in drawn.splitlines()[1]


class TestAuditor:
    def test_it_learns_from_images_that_the_validator_did_not_see(self, tmp_path):
        listed = tmp_path / "names.json"
        listed.write_text(json.dumps(["case0", "case1.png"]))
        kept = auditing.audit_cases(cases(2), [case(2, seed=9)], listed)
        assert [one["name"] for one in kept] == ["case2", "case9"]
        listed.write_text(json.dumps(["somewhere"]))
        with pytest.raises(ValueError, match="somewhere"):
            auditing.audit_cases(cases(2), [], listed)

    def test_windows_are_drawn_by_number(self):
        windows = [auditing.AuditWindows(cases(2), toy_synthesizer(2), grid=32) for _ in range(2)]
        windows[0].batch(0, 2)  # what was drawn before does not matter
        for one, other in zip(windows[0].batch(3, 4), windows[1].batch(3, 4), strict=True):
            assert torch.equal(one, other)
        image, mask = windows[0].batch(1, 4)
        assert image.shape == (4, 1, 32, 32) and image.abs().max() <= 1 and set(mask.unique().tolist()) <= {0, 1}

    def test_a_stopped_training_goes_on_as_if_never_stopped(self, tmp_path, monkeypatch):
        monkeypatch.setattr(auditing, "SAVE_EVERY", 1)
        monkeypatch.setattr(auditing, "GRID", 32)
        synthesizer, batch = toy_synthesizer(2), auditing.AuditWindows.batch

        def train(folder: str) -> dict[str, Tensor]:
            return auditing.trained_auditor(
                cases(2), synthesizer, tmp_path / folder, steps=3, batch_size=2
            ).state_dict()

        def stopping(self: auditing.AuditWindows, step: int, count: int) -> tuple[Tensor, Tensor]:
            if step == 2:
                raise KeyboardInterrupt
            return batch(self, step, count)

        monkeypatch.setattr(auditing.AuditWindows, "batch", stopping)
        with pytest.raises(KeyboardInterrupt):
            train("stopped")
        monkeypatch.setattr(auditing.AuditWindows, "batch", batch)
        whole, resumed, read = train("whole"), train("stopped"), train("stopped")
        for name, weight in whole.items():
            assert torch.equal(weight, resumed[name]) and torch.equal(weight, read[name])

    def test_an_auditor_that_sees_the_truth_finds_full_overlap(self):
        synthesizer = toy_synthesizer(2, batch_size=2)
        sites = common.real_sites(synthesizer, cases(2))
        found = auditor.audit(_Truthful(), synthesizer, sites)
        assert np.median(found) > 0.85
        sizes = [common.extent(site) for site in sites]
        figures = auditor.compare((found, sizes), (found, sizes), (found, sizes))
        assert figures["accepted_minus_real"] == 0
        assert figures["smallest_minus_real_of_that_size_at_half_size"] == 0

    def test_half_the_size_is_half_the_size(self, spatial_dims):
        half = auditing.halved(case(spatial_dims))
        assert half["image"].dtype == np.uint8
        assert half["label"].shape == tuple(max(n // 2, 16) for n in SHAPES[spatial_dims])
        assert half["label"].any() and half["image"][0][half["label"] > 0].mean() > 200


class _Truthful:
    """Stands where an auditor does, and sees what is bright."""

    def predict(self, image: Tensor) -> Tensor:
        return (image.mean(1, keepdim=True) > 0.75).float()


class TestOneStep:
    def synthesizer(self):
        return toy_synthesizer(
            2, inpainter=tiny_inpainter(2), validator=NetworkValidator(tiny_validator_net(2)), batch_size=2
        )

    def sites(self, synthesizer):
        sites = common.planned_sites(synthesizer, cases(2))
        synthesizer.renderer.prepare(sites)
        return sites

    def test_every_way_judges_every_sample_and_does_so_again(self):
        synthesizer = self.synthesizer()
        found = [one_step.overlaps_of_ways(synthesizer, _Truthful(), self.sites(synthesizer)) for _ in range(2)]
        assert found[0] == found[1] and {len(row) for row in found[0].values()} == {3}

    def test_the_ways_are_timed(self):
        synthesizer = self.synthesizer()
        found = one_step.speed(synthesizer, _Truthful(), self.sites(synthesizer), repeats=1)
        assert min(found["seconds_a_sample"].values()) > 0 and found["full_over_one_step"] > 0

    def test_halfway_keeps_the_first_estimate_below_the_level(self):
        halfway = one_step.Halfway(0.5)
        for level in (1.0, 0.75, 0.5, 0.25):
            assert halfway(level, torch.full((2, 1), level)).all()
        assert halfway.estimate is not None and halfway.estimate.unique().item() == 0.5

    def test_agreement_counts_both_kinds_of_difference(self):
        found = one_step.agreement([0.8, 0.8, 0.6, 0.6], [0.8, 0.6, 0.8, 0.6], threshold=0.7)
        assert found == {"agreement": 0.5, "both_accept": 1, "both_refuse": 1, "only_first": 1, "only_other": 1}
        assert one_step.agreement([0.8], [0.6], threshold=0.7, of_other=0.5)["agreement"] == 1

    def test_a_matched_threshold_accepts_the_share_asked_for(self):
        overlaps = np.linspace(0, 1, 101)
        assert (overlaps > one_step.matched_threshold(overlaps, 0.8)).mean() == pytest.approx(0.8, abs=0.01)


def test_requests_avoid_the_labelled_lesions():
    asked = common.request_of(case(2), 5)
    assert isinstance(asked, SynthesisRequest) and asked.seed == 5
    (plan,) = toy_synthesizer(2).plan(asked)
    assert not (plan.paint & (asked.label > 0)).any()
