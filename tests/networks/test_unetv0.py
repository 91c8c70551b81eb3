"""audio-diffusion-pytorch's U-Net behind our protocol, beside ours with the same weights."""

import copy
import dataclasses

import pytest
import torch

import mousai  # noqa: F401  (installs the torchaudio hook)
from mousai.networks.archinet import unetv0_state
from mousai.networks.build import NetworkConfig, build_network
from mousai.networks.unet1d import UNet1dConfig

SMALL = UNet1dConfig(
    in_channels=4, channels=(16, 32), factors=(1, 4), items=(1, 2), attentions=(0, 1), cross_attentions=(1, 1),
    inject_channels=(0, 6), attention_heads=2, attention_features=8, embedding_features=12, modulation_features=64,
)  # fmt: skip


def networks():
    torch.manual_seed(0)
    ours, theirs = (build_network(NetworkConfig(name), SMALL).eval() for name in ("unet1d", "unetv0"))
    theirs.net.load_state_dict(unetv0_state(ours.state_dict(), SMALL))
    return ours, theirs


def inputs():
    g = torch.Generator().manual_seed(1)
    x, tokens, inject = (torch.randn(3, *shape, generator=g) for shape in ((4, 24), (5, 12), (6, 6)))
    return x, torch.tensor([0.3, 0.9, 0.01]), {"tokens": tokens, "inject": {1: inject}}


def test_equals_ours_on_the_same_weights():
    ours, theirs = networks()
    x, t, told = inputs()
    assert theirs.total_factor == 4 and theirs.dtype == torch.float32
    expected = ours(x, t, **told)
    assert expected.std() > 0.1
    torch.testing.assert_close(theirs(x, t, **told), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(theirs(x, t[0], **told), ours(x, t[0], **told), atol=1e-5, rtol=1e-5)


def test_equals_the_original_called_as_it_is_meant_to_be():
    _, theirs = networks()
    x, t, told = inputs()
    expected = theirs.net(x, time=t, embedding=told["tokens"], channels=[None, told["inject"][1]])
    torch.testing.assert_close(theirs(x, t, **told), expected, atol=1e-6, rtol=1e-6)


def test_a_cache_is_what_the_network_is_told():
    ours, theirs = networks()
    x, t, told = inputs()
    both = [network.cache(t, **told) for network in (ours, theirs)]
    for part, rows in ((slice(0, 2), slice(0, 2)), (torch.tensor([2, 0, 2]), torch.tensor([2, 0, 2]))):
        expected, got = (network(x[rows], t[1], cache=cache[part]) for network, cache in zip((ours, theirs), both))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    one = theirs.cache(t, told["tokens"][:1], None, {1: told["inject"][1][:1]})  # of one item, for a batch of any
    expected = theirs(x, t, tokens=told["tokens"][:1].expand(3, -1, -1), inject={1: told["inject"][1][:1].expand(3, -1, -1)})
    torch.testing.assert_close(theirs(x, t, cache=one), expected)


def test_padding_is_zeros_whatever_it_was():
    _, theirs = networks()
    x, t, told = inputs()
    mask = torch.tensor([[True, True, True, False, False]]).expand(3, -1)
    other = told["tokens"].clone()
    other[:, 3:] = 7.0
    zeros = other * mask[:, :, None]
    expected = theirs(x, t, tokens=zeros, inject=told["inject"])
    torch.testing.assert_close(theirs(x, t, tokens=other, mask=mask, inject=told["inject"]), expected)
    torch.testing.assert_close(theirs(x, t, cache=theirs.cache(t, told["tokens"], mask, told["inject"])), expected)


def test_a_copy_runs_its_own_weights():
    """a-unet's blocks are closures over one another; averages of weights are copies."""
    _, theirs = networks()
    x, t, told = inputs()
    theirs.requires_grad_(False)
    other = copy.deepcopy(theirs)
    assert not any(parameter.requires_grad for parameter in other.parameters()) and not other.training
    torch.testing.assert_close(other(x, t, **told), theirs(x, t, **told), atol=0, rtol=0)
    before = theirs(x, t, **told)
    for parameter in other.parameters():
        parameter.add_(1.0)
    torch.testing.assert_close(theirs(x, t, **told), before, atol=0, rtol=0)
    assert not torch.allclose(other(x, t, **told), before, atol=0.1)


def test_bfloat16_weights_follow_float32_and_still_tell_times_apart():
    _, theirs = networks()
    x, _, told = inputs()
    near = torch.tensor([0.9, 0.9001])  # one and the same number in bfloat16
    exact = theirs(x, near[0], **told)
    half = copy.deepcopy(theirs).to(torch.bfloat16)
    got = half(x, near[0], **told)
    assert half.dtype == torch.bfloat16 and got.dtype == torch.float32
    assert (got - exact).norm() < 0.03 * exact.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(*(theirs(x, time, **told) for time in near))
        mixed = theirs(x, near[0], **told)
    assert (mixed - exact).norm() < 0.03 * exact.norm()
    features = [half.net.blocks[0](time) for time in near]
    assert features[0].dtype == torch.float32 and not torch.equal(*features)


@pytest.mark.parametrize(("changes", "message"), [({"checkpointing": True}, "checkpointing"), ({"resnet_kernel_size": 5}, "knows 3 alone, came 5")])
def test_what_it_has_nothing_like_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_network(NetworkConfig("unetv0"), dataclasses.replace(SMALL, **changes))


def test_what_does_not_fit_is_said():
    _, theirs = networks()
    x, t, told = inputs()
    with pytest.raises(ValueError, match="a multiple of 4"):
        theirs(x[..., :23], t, **told)
    with pytest.raises(ValueError, match="expected tokens"):
        theirs(x, t, inject=told["inject"])
    with pytest.raises(ValueError, match="t in float32"):
        theirs(x, t.bfloat16(), **told)
