"""Records survive JSON, and say what was accepted."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
import torch

from monai_diffaug.synthesis import AbnormalityRecord, Attempt, SynthesisRecord, Window
from monai_diffaug.synthesis.provenance import environment, file_digest, versions
from tests.toys import toy_image, toy_planner, toy_synthesizer

REFUSED = Attempt(5, 0.4, False, ("overlap too low", "off centre"), stopped_early=True)
WORSE = Attempt(6, 0.2, False, ("overlap too low",))
ACCEPTED = Attempt(7, 0.8, True)


def lesion(spatial_dims, *attempts, prompt="a polyp"):
    return AbnormalityRecord(
        name="polyp",
        value=2,
        prompt=prompt,
        bbox=((1, 2, 3)[:spatial_dims], (11, 12, 13)[:spatial_dims]),
        extent=10.5,
        window=Window((-3, 0, 2)[:spatial_dims], (20, 21, 22)[:spatial_dims], (16,) * spatial_dims),
        attempts=attempts,
    )


def record(*lesions):
    return SynthesisRecord(11, lesions, "mm", 4, {"denoiser": "ab" * 32}, {"torch": "2"})


def test_a_record_survives_json(spatial_dims):
    one = record(lesion(spatial_dims, REFUSED, ACCEPTED), lesion(spatial_dims, REFUSED, prompt="ünïcode"))
    assert SynthesisRecord.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_real_record_survives_json(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims, planner=toy_planner(spatial_dims, counts=(0, 1), size=(0.2, 0.3)))
    one = synthesizer(toy_image(spatial_dims), seed=2).record
    assert len(one.abnormalities) == 2
    assert SynthesisRecord.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_json_is_made_of_plain_lists_and_dicts(spatial_dims):
    """So that what was written and read again equals what would be written."""
    body = record(lesion(spatial_dims, REFUSED, ACCEPTED)).to_json()
    assert json.loads(json.dumps(body)) == body


def test_json_has_the_manifests_keys(spatial_dims):
    body = record(lesion(spatial_dims, REFUSED, ACCEPTED)).to_json()
    assert {"seed", "accepted", "prompt", "iou", "attempts", "abnormalities", "weights", "versions"} <= set(body)
    assert set(body["attempts"][0]) == {"seed", "iou", "accepted", "reasons", "stopped_early"}
    assert {"class", "value", "prompt", "bbox", "extent", "iou", "attempts"} <= set(body["abnormalities"][0])
    assert body["abnormalities"][0]["class"] == "polyp" and "name" not in body["abnormalities"][0]


def test_foreign_keys_are_left_out(spatial_dims):
    one = record(lesion(spatial_dims, ACCEPTED))
    assert SynthesisRecord.from_json({**one.to_json(), "image": "images/a.png", "id": "a__k00"}) == one


def test_accepted_when_one_lesion_is(spatial_dims):
    good, bad = (
        lesion(spatial_dims, REFUSED, ACCEPTED, prompt="good"),
        lesion(spatial_dims, WORSE, REFUSED, prompt="bad"),
    )
    assert record(bad, good).accepted and record(good).accepted and not record(bad, bad).accepted
    assert record(bad, good).prompt == "good" and record(bad, bad).prompt == "bad"


def test_iou_is_the_least_of_what_was_painted(spatial_dims):
    good, bad = lesion(spatial_dims, REFUSED, ACCEPTED), lesion(spatial_dims, REFUSED, WORSE)
    better = lesion(spatial_dims, Attempt(1, 0.95, True))
    assert bad.iou == 0.4 and good.iou == 0.8
    assert record(bad, good, better).iou == 0.8
    assert record(bad, lesion(spatial_dims, WORSE)).iou == 0.2


def test_all_attempts_in_order(spatial_dims):
    one = record(lesion(spatial_dims, REFUSED, ACCEPTED), lesion(spatial_dims, WORSE))
    assert one.attempts == (REFUSED, ACCEPTED, WORSE)


def test_records_do_not_change(spatial_dims):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record(lesion(spatial_dims, ACCEPTED)).seed = 3


def test_file_digest(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"x" * 3_000_000)
    assert file_digest(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    path.write_bytes(b"x" * 2_999_999 + b"y")
    assert file_digest(path) != hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_versions_name_the_packages_that_count():
    found = versions()
    assert {"monai_diffaug", "torch", "numpy", "scipy"} <= set(found)
    assert found["torch"] == torch.__version__ and all(isinstance(one, str) for one in found.values())


def test_versions_of_missing_packages(monkeypatch):
    from importlib import metadata

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert set(versions.__wrapped__().values()) == {"not installed"}


def test_one_record_cannot_change_anothers_versions(spatial_dims):
    synthesizer = toy_synthesizer(spatial_dims)
    first = synthesizer(toy_image(spatial_dims), seed=0).record
    first.versions["torch"] = "changed"
    try:
        assert synthesizer(toy_image(spatial_dims), seed=0).record.versions["torch"] == torch.__version__
    finally:
        versions.cache_clear()


def test_environment_is_plain():
    found = environment(torch.device("cpu"))
    assert found["device"] == "cpu" and found["threads"] == torch.get_num_threads()
    assert json.loads(json.dumps(found)) == found
