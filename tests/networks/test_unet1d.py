"""The U-Net against audio-diffusion-pytorch's UNetV0 on the same weights, and against itself by other routes."""

import copy
import dataclasses

import pytest
import torch

from mousai.codecs.archinet import unet_state
from mousai.networks.unet1d import UNet1d, UNet1dConfig

SMALL = UNet1dConfig(
    in_channels=4,
    channels=(16, 32, 32),
    factors=(1, 4, 2),
    items=(1, 2, 2),
    attentions=(0, 0, 2),
    cross_attentions=(0, 1, 1),
    inject_channels=(0, 6, 0),
    attention_heads=2,
    attention_features=8,
    embedding_features=12,
    modulation_features=64,
)


def reference(config: UNet1dConfig, **options):
    from audio_diffusion_pytorch import UNetV0

    depths = [0] * len(config.channels)
    return UNetV0(
        dim=1,
        in_channels=config.in_channels,
        channels=list(config.channels),
        factors=list(config.factors),
        items=list(config.items),
        attentions=list(config.attentions) or depths,
        cross_attentions=list(config.cross_attentions) or depths,
        context_channels=list(config.inject_channels) or depths,
        attention_features=config.attention_features,
        attention_heads=config.attention_heads,
        embedding_features=config.embedding_features or None,
        resnet_groups=config.resnet_groups,
        modulation_features=config.modulation_features,
        out_channels=config.out_channels or None,
        **options,
    )


def twins(config: UNet1dConfig, **options):
    torch.manual_seed(0)
    theirs = reference(config, **options).eval()
    ours = UNet1d(config).eval()
    ours.load_state_dict(unet_state(theirs.state_dict(), config))
    return ours, theirs


def inputs(config: UNet1dConfig = SMALL, batch: int = 3, length: int = 48):
    g = torch.Generator().manual_seed(1)
    x = torch.randn(batch, config.in_channels, length, generator=g)
    tokens = torch.randn(batch, 5, config.embedding_features, generator=g)
    inject = {1: torch.randn(batch, 6, length // 4, generator=g)}
    t = torch.tensor([0.3, 0.9, 0.01])[:batch]
    return x, t, tokens, inject


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"out_channels": 6},
        {"items": (2, 0, 1), "factors": (3, 1, 2), "inject_channels": (0, 0, 0), "attentions": (1, 0, 0)},
        {"attentions": (), "cross_attentions": (), "inject_channels": (), "channels": (8, 8, 8)},
    ],
)
def test_equals_the_reference_on_the_same_weights(changes):
    config = dataclasses.replace(SMALL, **changes)
    ours, theirs = twins(config)
    x, t, tokens, inject = inputs(config)
    injected = any(config.inject_channels)
    tokens = tokens if any(config.cross_attentions) else None
    expected = theirs(x, time=t, embedding=tokens, channels=[None, inject[1]] if injected else None)
    got = ours(x, t, tokens=tokens, inject=inject if injected else None)
    assert expected.std() > 0.1
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_gradients_equal_the_references():
    ours, theirs = twins(SMALL)
    x, t, tokens, inject = inputs()
    ours(x, t, tokens=tokens, inject=inject).square().mean().backward()
    theirs(x, time=t, embedding=tokens, channels=[None, inject[1]]).square().mean().backward()
    wanted = unet_state({name: p.grad for name, p in theirs.named_parameters()}, SMALL)
    assert wanted.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-6, rtol=1e-3, msg=name)
