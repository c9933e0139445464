"""What is trained in all arms: MONAI's U-Net, or what a user's config says."""

from __future__ import annotations

import json
import re

import pytest
import torch

from monai_diffaug.evaluation.networks import SegmenterNetwork, read_segmenter

SEGRESNET = {"_target_": "SegResNet", "spatial_dims": 2, "in_channels": 3, "out_channels": 1, "init_filters": 8}


def own(**changes):
    return {"segmenter": {**SEGRESNET, **changes}}


@pytest.mark.parametrize("config", [None, own(), {"width": 8, **own(init_filters="@width")}])
def test_equal_seeds_make_equal_weights_and_touch_nobodys_random_state(config):
    network, state = SegmenterNetwork(2, 3, config), torch.get_rng_state()
    one, other, another = (list(network(seed).state_dict().values()) for seed in (4, 4, 5))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, another, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    network.check(32)


def test_the_network_is_named_by_its_class():
    assert SegmenterNetwork(2, 3).name == "MONAI U-Net"
    assert SegmenterNetwork(2, 3, own(_target_="monai.networks.nets.SegResNet")).name == "SegResNet"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (own(in_channels=1), "does not work on images (1, 3, 32, 32)"),
        (own(spatial_dims=3), "does not work on images"),
        (own(filters=8), "unexpected keyword argument 'filters'"),
        (own(_target_="SegResNett"), "SegResNett"),
        (own(out_channels=2), "makes (1, 2, 32, 32) of images (1, 3, 32, 32)"),
        ({"segmenter": {"_target_": "BasicUNetPlusPlus", "spatial_dims": 2, "in_channels": 3, "out_channels": 1}},
         "makes list of images"),
    ],
)  # fmt: skip
def test_a_network_that_does_not_fit_is_refused_before_anything_is_trained(config, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        SegmenterNetwork(2, 3, config).check(32)


def test_a_config_without_a_segmenter_says_what_is_needed(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps({"network": SEGRESNET}))
    with pytest.raises(ValueError, match='defines no segmenter; give {"segmenter"'):
        read_segmenter(path)
    path.write_text(json.dumps(own()))
    assert read_segmenter(path) == own()
