"""3D convolutions: weight gradients in bfloat16 are those of float32, whatever was in memory before."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("kernel", "padding", "size"),
    [
        (3, 1, (1, 2, 2)),
        (3, 1, (2, 2, 2)),
        (3, 1, (2, 3, 4)),
        (3, 1, (3, 3, 3)),
        (3, 1, (4, 2, 2)),
        (4, 1, (3, 3, 3)),  # the last maps of a discriminator
        (4, 1, (4, 4, 4)),
        (5, 2, (4, 5, 5)),
        (5, 2, (7, 1, 7)),
        ((3, 1, 1), (1, 0, 0), (2, 4, 4)),
    ],
)
def test_gradients_in_bfloat16_are_those_of_float32(kernel: Any, padding: Any, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    conv = with_sound_gradients(nn.Sequential(nn.Conv3d(16, 16, kernel, padding=padding)))[0]
    x = torch.randn(2, 16, *size)
    back = torch.randn_like(conv(x))
    expected = gradient(conv, x, back, amp=False)
    for _ in range(4):
        found = gradient(conv, x, back, amp=True)
        assert torch.isfinite(found).all() and (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_only_trained_maps_shorter_than_the_kernel_leave_bfloat16() -> None:
    conv, x = Conv3d(4, 4, 3, padding=1), torch.randn(1, 4, 2, 4, 4)
    plain = nn.Conv3d(4, 4, 3, padding=1)
    plain.load_state_dict(conv.state_dict())
    whole = plain(x).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv(x), whole) and not torch.equal(plain(x), whole)
        longer = x.repeat(1, 1, 2, 1, 1)
        assert torch.equal(conv(longer), plain(longer))
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
