"""Rendering: what the networks are given, when samples are retried or refused, and batches of one fixed shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_diffaug.synthesis import (
    ChangeValidator,
    NearCopies,
    QualityGate,
    Renderer,
    SynthesisRequest,
    TextureInpainter,
)
from monai_diffaug.synthesis.gate import LESION_BEFORE, LOW_IOU, NEAR_COPY, NO_CHANGE
from monai_diffaug.synthesis.resample import resample
from monai_diffaug.synthesis.sites import Work
from tests.synthesis.fakes import Always, Recorder, requests
from tests.toys import GRIDS, ball, toy_image, toy_planner, toy_synthesizer


def test_what_the_networks_are_given(spatial_dims):
    recorder = Recorder()
    synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder)
    request = requests(spatial_dims, 1)[0]
    (plan,) = synthesizer.plan(request)
    assert synthesizer.batch([request])[0].record.accepted
    (canvas,), size = recorder.canvases, GRIDS[spatial_dims] * spatial_dims
    assert canvas.source.shape == canvas.blanked.shape == (1, 1, *size)
    assert canvas.label_mask.shape == canvas.paint_mask.shape == (1, 1, *size)
    assert canvas.begins == 1 and all(one.dtype == torch.float32 for one in list(vars(canvas).values())[:-1])
    assert canvas.source.abs().max() <= 1
    assert set(canvas.label_mask.unique().tolist()) == set(canvas.paint_mask.unique().tolist()) == {0.0, 1.0}
    assert (canvas.paint_mask >= canvas.label_mask).all() and canvas.paint_mask.sum() > canvas.label_mask.sum()
    # Blanked to mid range in pixel space, and nowhere else.
    assert (canvas.blanked[canvas.paint_mask > 0] == 0).all()
    assert torch.equal(canvas.blanked[canvas.paint_mask == 0], canvas.source[canvas.paint_mask == 0])
    assert canvas.scale.tolist() == pytest.approx([plan.window.scale])
    assert recorder.prompts == [[plan.prompt]] and recorder.seeds == [[plan.seeds[0]]]


def test_the_window_is_the_image_there(spatial_dims):
    recorder = Recorder()
    synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder)
    request = requests(spatial_dims, 1)[0]
    (plan,) = synthesizer.plan(request)
    synthesizer.batch([request])
    window = plan.window
    part = request.image[(slice(None), *window.inside(request.image.shape[1:]))] / np.float32(255)
    whole = window.extend(part, request.image.shape[1:])
    expected = resample(torch.from_numpy(whole), window.size) * 2 - 1
    assert torch.allclose(recorder.canvases[0].source[0], expected, atol=1e-6)


def test_retries_keep_mask_text_and_window_and_change_the_noise(spatial_dims):
    recorder = Recorder(fail_first=2)
    synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder)
    request = requests(spatial_dims, 1)[0]
    (plan,) = synthesizer.plan(request)
    result = synthesizer.batch([request])[0]
    assert [one.accepted for one in result.record.attempts] == [False, False, True]
    assert [one.seed for one in result.record.attempts] == list(plan.seeds[:3])
    assert recorder.seeds == [[seed] for seed in plan.seeds[:3]] and len(set(plan.seeds[:3])) == 3
    assert recorder.prompts == 3 * [[plan.prompt]]
    first, *rest = recorder.canvases
    for canvas in rest:
        for name, value in vars(first).items():
            assert torch.equal(torch.as_tensor(vars(canvas)[name]), torch.as_tensor(value))
    assert (result.mask[0] > 0).tolist() == plan.mask.tolist()


def test_after_the_last_attempt_the_source_comes_back(spatial_dims):
    recorder = Recorder(fail_first=99)
    planner = toy_planner(spatial_dims, max_attempts=3)
    request = requests(spatial_dims, 1)[0]
    result = toy_synthesizer(spatial_dims, planner=planner, inpainter=recorder).batch([request])[0]
    assert len(recorder.seeds) == 3 and not result.record.accepted
    assert all(LOW_IOU in one.reasons and not one.accepted for one in result.record.attempts)
    assert result.image.tobytes() == request.image.tobytes() and not result.mask.any() and not result.label.any()
    assert result.refused is None
    assert not recorder.decoded  # refused in latent space: decoding would be wasted


def test_only_the_refused_are_tried_again(spatial_dims):
    class Picky(Recorder):
        """Paint nothing for the first sample's first seed."""

        def inpaint(self, canvas, prompts, seeds, keep=None):
            painted = super().inpaint(canvas, prompts, seeds)
            return torch.stack(
                [s if seed == bad else p for s, p, seed in zip(canvas.source, painted, seeds, strict=True)]
            )

    recorder = Picky()
    synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder, batch_size=2)
    asked = requests(spatial_dims, 2)
    bad = synthesizer.plan(asked[0])[0].seeds[0]
    results = synthesizer.batch(asked)
    assert [len(one.record.attempts) for one in results] == [2, 1]
    # The place of the padding holds the attempt after that, which was not needed.
    assert len(recorder.seeds) == 2 and tuple(recorder.seeds[1]) == synthesizer.plan(asked[0])[0].seeds[1:3]


def test_attempts_in_the_place_of_padding_change_no_sample(spatial_dims):
    """Every first and every third sample's second attempt is refused; an audit makes one attempt after the other."""

    def run(batch_size, audit):
        recorder = Hopeless()
        synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder, batch_size=batch_size)
        plans = [synthesizer.plan(one)[0].seeds for one in asked]
        recorder.bad = {seeds[0] for seeds in plans} | {seeds[1] for seeds in plans[::3]}
        return synthesizer.batch(asked, audit=audit), len(recorder.seeds)

    asked = requests(spatial_dims, 4)
    (made, calls), (other, more) = run(8, False), run(8, True)
    assert [len(one.record.attempts) for one in made] == [3, 2, 2, 3]
    assert (calls, more) == (2, 3)
    for one, two in zip(made, other, strict=True):
        assert one.record == two.record and (one.image == two.image).all() and (one.prediction == two.prediction).all()


def test_a_lone_sample_makes_all_its_attempts_at_once(spatial_dims):
    recorder = Recorder(fail_first=99)
    result = toy_synthesizer(spatial_dims, inpainter=recorder, batch_size=8).batch(requests(spatial_dims, 1))[0]
    assert len(recorder.seeds) == 1 and len(result.record.attempts) == 4 and not result.record.accepted
    assert recorder.seeds[0] == [one.seed for one in result.record.attempts] + 4 * [result.record.attempts[-1].seed]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_batch_shape_never_changes(spatial_dims, count):
    recorder = Recorder(fail_first=1)
    toy_synthesizer(spatial_dims, inpainter=recorder, batch_size=3).batch(requests(spatial_dims, count))
    assert {len(one) for one in recorder.encoded + recorder.decoded + recorder.seeds + recorder.prompts} == {3}
    assert {len(one.scale) for one in recorder.canvases} == {len(one.source) for one in recorder.canvases} == {3}


class Hopeless(Recorder):
    """Paint nothing with the first seed of every other sample."""

    def inpaint(self, canvas, prompts, seeds, keep=None):
        painted = super().inpaint(canvas, prompts, seeds)
        bad = [seed in self.bad for seed in seeds]
        return torch.stack([s if b else p for s, p, b in zip(canvas.source, painted, bad, strict=True)])


def test_every_work_waits_for_a_full_batch(spatial_dims, monkeypatch):
    """Half of the first attempts are refused: neither retries nor deliveries are padded while requests are left."""
    done = []
    work = Renderer.work
    monkeypatch.setattr(
        Renderer,
        "work",
        lambda self, group, **how: (done.append((group[0].work, len(group))), work(self, group, **how)),
    )
    recorder = Hopeless()
    synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder, batch_size=4)
    asked = requests(spatial_dims, 32)
    recorder.bad = {synthesizer.plan(one)[0].seeds[0] for one in asked[::2]}
    synthesizer.batch(asked)
    last = max(index for index, (what, _) in enumerate(done) if what is Work.ENCODE)
    assert {what for what, _ in done[:last]} == set(Work)
    assert {count for _, count in done[: last + 1]} == {4}


def test_company_changes_no_sample(spatial_dims):
    def run(order, batch_size):
        recorder = Hopeless()
        synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder, batch_size=batch_size)
        recorder.bad = {synthesizer.plan(one)[0].seeds[0] for one in asked[::2]}
        made = synthesizer.batch([asked[index] for index in order])
        return {index: one for index, one in zip(order, made, strict=True)}

    asked = requests(spatial_dims, 7)
    one, other = run(range(7), 4), run([5, 2, 6, 0, 3, 1, 4], 4)
    for index, result in one.items():
        assert (result.image == other[index].image).all() and result.record == other[index].record


def test_images_are_taken_as_they_are_needed(spatial_dims):
    """Of a long stream no more is held than fills a batch of each work."""
    taken, held = [], []

    def stream():
        for one in requests(spatial_dims, 40):
            taken.append(one)
            yield one

    synthesizer = toy_synthesizer(spatial_dims, inpainter=Recorder(), batch_size=4)
    for done, _ in enumerate(synthesizer.stream(stream()), start=1):
        held.append(len(taken) - done)
    assert len(taken) == 40 and max(held) <= 3 * 4


def test_what_has_no_room_is_not_kept_waiting(spatial_dims):
    dot = np.zeros(toy_image(spatial_dims).shape[1:], bool)
    dot[(10,) * spatial_dims] = True
    nowhere = [SynthesisRequest(one.image, one.seed, regions=dot) for one in requests(spatial_dims, 9)]
    stream = toy_synthesizer(spatial_dims, batch_size=2).stream(iter(nowhere))
    assert next(stream)[0] == 0 and [index for index, _ in stream] == list(range(1, 9))


def test_windows_of_unequal_grids_never_share_a_batch(spatial_dims):
    planner = toy_planner(spatial_dims, size=(0.1, 0.6))
    planner.windows.sizes, planner.windows.max_reduction = (16, 24), 1.5
    recorder = Recorder()
    results = toy_synthesizer(spatial_dims, planner=planner, inpainter=recorder, batch_size=2).batch(
        requests(spatial_dims, 8)
    )
    assert {one.source.shape[-1] for one in recorder.canvases} == {16, 24}
    sizes = [one.record.abnormalities[0].window.size[0] for one in results]
    for canvas in recorder.canvases:
        assert canvas.source.shape[2:] == canvas.label_mask.shape[2:]
    assert set(sizes) == {16, 24}


def test_a_lesion_seen_before_painting_refuses_at_once(spatial_dims):
    recorder = Recorder()
    synthesizer = toy_synthesizer(spatial_dims, inpainter=recorder, validator=Always(1.0))
    request = requests(spatial_dims, 1)[0]
    result = synthesizer.batch([request])[0]
    (attempt,) = result.record.attempts
    assert attempt.reasons == (LESION_BEFORE,) and attempt.stopped_early and not attempt.accepted
    assert not recorder.seeds and result.image.tobytes() == request.image.tobytes()
    assert result.prediction.any()


def test_a_labelled_lesion_in_the_window_is_no_reason(spatial_dims):
    """What the validator sees is exactly the known lesion, and then the paint too."""
    label = ball(spatial_dims, 4, centre=[6] * spatial_dims).astype(np.uint8)

    class SeesKnown(ChangeValidator):
        def __call__(self, latent, source, size):
            bright = (source[:, :1] > 0.9).float()
            return torch.maximum(super().__call__(latent, source, size), bright)

    image = np.where(label > 0, np.uint8(255), toy_image(spatial_dims))
    request = SynthesisRequest(image, 1, label=label, mask=ball(spatial_dims, 5, centre=[20] * spatial_dims))
    synthesizer = toy_synthesizer(spatial_dims, validator=SeesKnown(), inpainter=Recorder())
    assert synthesizer.batch([request])[0].record.accepted
    unlabelled = SynthesisRequest(image, 1, mask=request.mask)
    window = synthesizer.plan(unlabelled)[0].window
    seen = image[(slice(None), *window.inside(image.shape[1:]))]
    refused = synthesizer.batch([unlabelled])[0]
    assert (LESION_BEFORE in refused.record.attempts[0].reasons) == bool((seen == 255).sum() > 20)


def test_iou_alone_paints_over_that_and_records_it(spatial_dims):
    class Sees(Always):
        def __call__(self, latent, source, size):
            return self.value.expand(len(latent), *self.value.shape)

    recorder = Recorder()
    request = requests(spatial_dims, 1, mask=ball(spatial_dims, 5))[0]
    toy_synthesizer(spatial_dims, inpainter=recorder).batch([request])
    gate = QualityGate(iou=0.5, iou_alone=True)
    validator = Sees(recorder.canvases[0].label_mask[0])
    result = toy_synthesizer(spatial_dims, inpainter=Recorder(), validator=validator, gate=gate).batch([request])[0]
    assert result.record.accepted and result.record.iou == 1
    assert LESION_BEFORE in result.record.attempts[-1].reasons
    refused = toy_synthesizer(spatial_dims, inpainter=Recorder(), validator=validator).batch([request])[0]
    assert not refused.record.accepted


def test_hopeless_samples_stop_early(spatial_dims):
    class Steps(Recorder):
        def inpaint(self, canvas, prompts, seeds, keep=None):
            self.early = [keep(level, canvas.source).tolist() for level in (0.9, 0.6, 0.5, 0.2)]
            return canvas.source + 0.6 * canvas.label_mask

    steps = Steps()
    result = toy_synthesizer(spatial_dims, inpainter=steps, batch_size=2).batch(requests(spatial_dims, 1))[0]
    # Nothing is refused above the early level; padding follows the sample that it repeats.
    assert steps.early == [[True, True], [True, True], [False, False], [False, False]]
    assert not result.record.accepted and all(one.stopped_early for one in result.record.attempts)
    # What was refused early stays refused, however good the end.
    assert all(one.iou == 0 and one.reasons == (LOW_IOU,) for one in result.record.attempts)


def test_samples_are_looked_at_once_while_they_are_unfinished(spatial_dims):
    class Counting(Always):
        calls = 0

        def __call__(self, *asked):
            self.calls += 1
            return super().__call__(*asked)

    class Steps(Recorder):
        def inpaint(self, canvas, prompts, seeds, keep=None):
            before = validator.calls
            self.early = [keep(level, canvas.source).tolist() for level in (0.6, 0.5, 0.3, 0.1)]
            self.looks = validator.calls - before
            return canvas.source

    steps, validator = Steps(), Counting(0.0)
    toy_synthesizer(spatial_dims, inpainter=steps, validator=validator).batch(requests(spatial_dims, 1))
    assert steps.looks == 1 and steps.early == [[True], [False], [False], [False]]


def test_one_hopeless_sample_does_not_refuse_its_mates(spatial_dims):
    class Steps(Recorder):
        def inpaint(self, canvas, prompts, seeds, keep=None):
            painted = canvas.source + 0.6 * canvas.label_mask
            painted[0] = canvas.source[0]
            self.early = keep(0.3, painted).tolist()
            return painted

    steps = Steps()
    planner = toy_planner(spatial_dims, max_attempts=1)
    results = toy_synthesizer(spatial_dims, planner=planner, inpainter=steps, batch_size=3).batch(
        requests(spatial_dims, 2)
    )
    assert steps.early == [False, True, True]
    assert [one.record.accepted for one in results] == [False, True]


def test_the_delivered_pixels_are_judged_too(spatial_dims):
    """A decoder that loses the paint is caught, though the latent was good."""

    class LosesPaint(Recorder):
        def decode(self, latent):
            self.decoded.append(latent)
            return self.encoded[0]

    request = requests(spatial_dims, 1)[0]
    result = toy_synthesizer(spatial_dims, inpainter=LosesPaint()).batch([request])[0]
    assert not result.record.accepted and result.image.tobytes() == request.image.tobytes()
    for attempt in result.record.attempts:
        assert {LOW_IOU, NO_CHANGE} <= set(attempt.reasons) and not attempt.stopped_early


def test_near_copies_are_refused(spatial_dims):
    recorder = Recorder()
    request = requests(spatial_dims, 1)[0]
    toy_synthesizer(spatial_dims, inpainter=recorder).batch([request])
    copies = NearCopies(NearCopies.describe(recorder.decoded[0], recorder.canvases[0].label_mask))
    gate = QualityGate(iou=0.5, near_copies=copies)
    result = toy_synthesizer(spatial_dims, inpainter=Recorder(), gate=gate).batch([request])[0]
    assert not result.record.accepted and NEAR_COPY in result.record.attempts[0].reasons
    other = requests(spatial_dims, 4)[3]
    assert toy_synthesizer(spatial_dims, inpainter=Recorder(), gate=gate).batch([other])[0].record.accepted


def test_an_audit_keeps_the_refused_pixels(spatial_dims):
    class Shifted(Recorder):
        def inpaint(self, canvas, prompts, seeds, keep=None):
            self.seeds.append(list(seeds))
            return canvas.source - 0.02 * canvas.paint_mask

    planner = toy_planner(spatial_dims, max_attempts=2)
    request = requests(spatial_dims, 1)[0]
    synthesizer = toy_synthesizer(spatial_dims, planner=planner, inpainter=Shifted())
    (plan,) = synthesizer.plan(request)
    (result,) = synthesizer.batch([request], audit=True)
    assert not result.record.accepted and result.image.tobytes() == request.image.tobytes()
    changed = (result.refused != request.image)[0]
    assert changed.any() and not (changed & ~plan.paint).any()
    (without,) = synthesizer.batch([request])
    assert without.refused is None and without.record == result.record


def test_an_audit_changes_no_accepted_sample(spatial_dims):
    request = requests(spatial_dims, 1)[0]
    (one,), (other,) = (toy_synthesizer(spatial_dims).batch([request], audit=audit) for audit in (False, True))
    assert one.record == other.record and one.image.tobytes() == other.image.tobytes()
    assert one.refused is None and other.refused is None


def test_the_delivered_refusal_is_only_kept_by_an_audit(spatial_dims):
    class LosesPaint(Recorder):
        def decode(self, latent):
            return self.encoded[0]

    (result,) = toy_synthesizer(spatial_dims, inpainter=LosesPaint()).batch(requests(spatial_dims, 1))
    assert not result.record.accepted and result.refused is None


@pytest.mark.parametrize("batch_size", [0, -1])
def test_the_batch_size_is_positive(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        Renderer(TextureInpainter(), ChangeValidator(), QualityGate(), batch_size=batch_size)
