import pytest
import torch

from mousai.networks.unet2d import UNet2d, UNet2dConfig, channel_norm, channels_to_rows, rows_to_channels

CONFIG = UNet2dConfig(channels=(8, 12, 16), blocks=(1, 2, 1), patch=2, embedding=16)


def net() -> UNet2d:
    torch.manual_seed(0)
    unet = UNet2d(CONFIG, channels=2, condition=3, rows=16, frame_features=5)
    torch.nn.init.normal_(unet.exit.weight, std=0.1)
    for module in unet.modules():
        if hasattr(module, "modulation"):
            torch.nn.init.normal_(module.conv2.weight, std=0.1)
            torch.nn.init.normal_(module.modulation.weight, std=0.1)
    return unet


def inputs(b: int = 2, frames: int = 8) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((b, 2, 16, frames), (b,), (b, 3, 16, frames), (b, 5, frames))
    return tuple(torch.rand(shape, generator=generator) for shape in shapes)


def test_it_answers_in_the_shape_of_its_input_and_begins_at_0():
    x, t, condition, frames = inputs()
    fresh = UNet2d(CONFIG, channels=2, condition=3, rows=16, frame_features=5)
    assert torch.equal(fresh(x, t, condition, frames), torch.zeros_like(x))
    assert net()(x, t, condition, frames).shape == x.shape


def test_everything_it_is_told_matters():
    told = list(inputs())
    before = net()(*told)
    for index in range(4):
        other = [*told[:index], told[index] + 0.5, *told[index + 1 :]]
        assert not torch.allclose(net()(*other), before, atol=1e-4)


def test_items_do_not_mix():
    told = inputs()
    torch.testing.assert_close(net()(*told)[1:], net()(*(x[1:] for x in told)), atol=1e-5, rtol=1e-4)


def test_a_gradient_reaches_every_weight():
    unet = net()
    unet(*inputs()).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in unet.parameters())


def test_rows_become_channels_and_come_back():
    x = torch.randn(2, 3, 8, 5)
    folded = rows_to_channels(x, 4)
    assert folded.shape == (2, 12, 2, 5) and folded.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(folded[:, 3:6, 1], x[:, :, 5])  # row 1 of patch 1
    assert torch.equal(channels_to_rows(folded, 4), x)


def test_the_norm_is_over_channels_alone():
    x = 3 + 2 * torch.randn(2, 32, 4, 5)
    normed = channel_norm(x)
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(1, correction=0), torch.ones(2, 4, 5), atol=1e-3, rtol=0)


def test_shapes_that_cannot_be_halved_are_refused():
    x, t, condition, frames = inputs(frames=6)
    with pytest.raises(ValueError, match="multiples of 4, came 6"):
        net()(x, t, condition, frames)
    with pytest.raises(ValueError, match="multiple of patch x 2"):
        UNet2d(CONFIG, channels=2, condition=3, rows=12, frame_features=5)
    with pytest.raises(ValueError, match="as many as channels"):
        UNet2dConfig(channels=(8, 8), blocks=(1,))
