"""3D convolutions: weight gradients in bfloat16 are those of float32, whatever was in memory before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from monai_diffaug.networks.convolution import Conv3d, with_sound_gradients


def poison() -> None:
    """Leave numbers that are none in memory that will be asked for again."""
    for size in (2**power for power in range(8, 21, 2)):
        held = [torch.full((size,), float("nan")) for _ in range(8)]
        del held


def gradient(conv: nn.Module, x: Tensor, back: Tensor, *, amp: bool) -> Tensor:
    conv.zero_grad()
    poison()
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        made = conv(x)
    made.backward(back.to(made.dtype))
    return conv.weight.grad.clone()


@pytest.mark.parametrize("size", [(1, 2, 2), (2, 2, 2), (2, 3, 4), (3, 3, 3), (4, 2, 2)])
def test_gradients_in_bfloat16_are_those_of_float32(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    conv = with_sound_gradients(nn.Sequential(nn.Conv3d(16, 16, 3, padding=1)))[0]
    x, back = torch.randn(2, 16, *size), torch.randn(2, 16, *size)
    expected = gradient(conv, x, back, amp=False)
    for _ in range(4):
        found = gradient(conv, x, back, amp=True)
        assert torch.isfinite(found).all() and (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_only_trained_maps_of_depth_two_leave_bfloat16() -> None:
    conv, x = Conv3d(4, 4, 3, padding=1), torch.randn(1, 4, 2, 4, 4)
    plain = nn.Conv3d(4, 4, 3, padding=1)
    plain.load_state_dict(conv.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(x).dtype == conv(x[:, :, :1]).dtype == torch.bfloat16
        with torch.no_grad():
            assert torch.equal(conv(x), plain(x))
    assert torch.equal(conv(x), plain(x)) and conv(x).dtype == torch.float32


def test_weights_and_names_stay() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Sequential(nn.ConvTranspose3d(1, 2, 3)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert with_sound_gradients(network) is network
    assert [type(one) for one in network] == [Conv3d, nn.Conv2d, nn.Sequential]
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
