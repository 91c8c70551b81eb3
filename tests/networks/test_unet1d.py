"""The U-Net against audio-diffusion-pytorch's UNetV0 on the same weights, and against itself by other routes."""

import copy
import dataclasses

import pytest
import torch

from mousai.networks.archinet import unet_state
from mousai.networks.unet1d import UNet1d, UNet1dConfig
from mousai.networks.unetv0 import arguments

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

    return UNetV0(dim=1, in_channels=config.in_channels, **arguments(config), **options)


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


def test_a_scalar_t_equals_the_same_t_for_each_item():
    ours, _ = twins(SMALL)
    x, _, tokens, inject = inputs()
    one = ours(x, torch.tensor(0.4), tokens=tokens, inject=inject)
    each = ours(x, torch.full((3,), 0.4), tokens=tokens, inject=inject)
    torch.testing.assert_close(one, each, atol=1e-6, rtol=1e-6)


def test_cached_equals_uncached_for_every_time_and_slice():
    ours, _ = twins(SMALL)
    x, _, tokens, inject = inputs()
    mask = torch.arange(5) < torch.tensor([[5], [2], [3]])
    times = torch.linspace(1, 0, 6)
    cache = ours.cache(times, tokens, mask, inject)
    first = cache[:1]
    for t in times:
        expected = ours(x, t, tokens=tokens, mask=mask, inject=inject)
        torch.testing.assert_close(ours(x, t, cache=cache), expected, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(ours(x[:1], t, cache=first), expected[:1], atol=1e-6, rtol=1e-5)


def test_a_cached_step_projects_neither_time_nor_condition():
    ours, _ = twins(SMALL)
    x, _, tokens, inject = inputs()
    cache = ours.cache(torch.tensor([0.5]), tokens, None, inject)
    for name, parameter in ours.named_parameters():
        if "modulation" in name or "to_kv" in name and "cross" in name or name.startswith("time") or ".skip." in name:
            parameter.data.fill_(float("nan"))
    assert ours(x, torch.tensor(0.5), cache=cache).isfinite().all()
    assert not ours(x, torch.tensor(0.5), tokens=tokens, inject=inject).isfinite().any()


def test_the_mask_hides_padding():
    ours, _ = twins(SMALL)
    x, t, tokens, inject = inputs()
    mask = torch.tensor([[True, True, True, False, False]]).expand(3, -1)
    other = tokens.clone()
    other[:, 3:] = 7.0
    short = ours(x, t, tokens=tokens[:, :3], inject=inject)
    torch.testing.assert_close(ours(x, t, tokens=tokens, mask=mask, inject=inject), short, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(ours(x, t, tokens=other, mask=mask, inject=inject), short, atol=1e-6, rtol=1e-5)
    assert (ours(x, t, tokens=other, inject=inject) - short).abs().max() > 1e-3


def test_an_item_without_real_tokens_stays_finite():
    ours, _ = twins(SMALL)
    x, t, tokens, inject = inputs()
    mask = torch.tensor([[True] * 5, [False] * 5, [True] * 5])
    got = ours(x, t, tokens=tokens, mask=mask, inject=inject)
    assert got.isfinite().all()
    torch.testing.assert_close(got[::2], ours(x, t, tokens=tokens, inject=inject)[::2], atol=1e-6, rtol=1e-5)


def test_checkpointing_gives_the_same_gradients_and_recomputes():
    plain, _ = twins(SMALL)
    saving = UNet1d(dataclasses.replace(SMALL, checkpointing=True))
    saving.load_state_dict(plain.state_dict())
    x, t, tokens, inject = inputs()
    runs = []
    saving.levels[1].items_down[0].conv1.register_forward_hook(lambda *_: runs.append(1))
    for model in (plain.train(), saving.train()):
        model(x, t, tokens=tokens, inject=inject).square().mean().backward()
    assert len(runs) == 2
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=0, rtol=0, msg=name)


def test_bfloat16_weights_follow_float32_and_still_tell_times_apart():
    ours, _ = twins(SMALL)
    x, _, tokens, inject = inputs()
    half = copy.deepcopy(ours).to(torch.bfloat16)
    near = torch.tensor([0.9, 0.9001])  # one and the same number in bfloat16
    got = half(x, near[0], tokens=tokens, inject=inject)
    exact = ours(x, near[0], tokens=tokens, inject=inject)
    assert got.dtype == x.dtype == torch.float32
    assert (got - exact).norm() < 0.03 * exact.norm()
    assert not torch.equal(*half.time(near))
    assert not torch.equal(*half.cache(near, tokens, None, inject).rows.table.values())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ours(x, near[0], tokens=tokens, inject=inject)
    assert (mixed - exact).norm() < 0.03 * exact.norm()
    with pytest.raises(ValueError, match="t in float32"):
        half(x, near.to(torch.bfloat16)[0], tokens=tokens, inject=inject)


def test_compiles_once_for_a_schedule_and_a_copy_runs_its_own_weights():
    from torch._dynamo.testing import CompileCounterWithBackend

    ours, _ = twins(SMALL)
    x, _, tokens, inject = inputs()
    times = torch.linspace(1, 0, 4)
    with torch.no_grad():
        expected = [ours(x, t, tokens=tokens, inject=inject) for t in times]
        counter = CompileCounterWithBackend("aot_eager")
        ours.compile(backend=counter, fullgraph=True, dynamic=False)
        cache = ours.cache(times, tokens, None, inject)
        for t, wanted in zip(times, expected, strict=True):
            torch.testing.assert_close(ours(x, t, cache=cache), wanted, atol=1e-6, rtol=1e-5)
        assert counter.frame_count == 1
        other = copy.deepcopy(ours)
        other.levels[0].up.bias.data += 1.0
        assert not torch.allclose(other(x, times[0], cache=cache), expected[0], atol=1e-3)


BAD = {
    "a multiple of 8": dict(length=44),
    "mask of shape": dict(mask=torch.ones(3, 5)),
    "mask of": dict(mask=torch.ones(3, 4, dtype=torch.bool)),
    "at these depths": dict(inject={0: torch.zeros(3, 6, 48)}),
    "expected an injection \\(3, d, 12\\) at depth 1": dict(inject={1: torch.zeros(3, 6, 13)}),
    "attends to condition tokens": dict(tokens=None),
    "tokens of 12 features": dict(tokens=torch.zeros(3, 5, 11)),
    "0-d or of shape": dict(t=torch.zeros(2)),
}


@pytest.mark.parametrize("message", BAD)
def test_says_what_was_expected(message):
    x, t, tokens, inject = inputs(length=BAD[message].get("length", 48))
    inject = {1: torch.zeros(3, 6, x.shape[2] // 4)}
    given = dict(t=t, tokens=tokens, inject=inject) | {k: v for k, v in BAD[message].items() if k != "length"}
    with pytest.raises(ValueError, match=message):
        UNet1d(SMALL)(x, given.pop("t"), **given)


def test_a_cache_answers_for_times_between_and_refuses_what_follows_no_schedule():
    """Solvers ask for more times a step, and for the end; `cache[:1]` shares what has been added."""
    ours, _ = twins(SMALL)
    x, t, tokens, inject = inputs()
    cache = ours.cache(torch.tensor([1.0, 0.5]), tokens, None, inject)
    for between in (torch.tensor(0.75), torch.tensor([1.0, 0.5, 0.25]), torch.tensor(0.0)):
        expected = ours(x, between, tokens=tokens, inject=inject)
        torch.testing.assert_close(ours(x, between, cache=cache), expected, atol=1e-6, rtol=1e-5)
    first = cache[:1]
    torch.testing.assert_close(ours(x[:1], torch.tensor(0.75), cache=first), ours(x, torch.tensor(0.75), cache=cache)[:1], atol=1e-6, rtol=1e-5)
    for number in range(27):  # 32 with those above
        first.at(torch.tensor(number / 64 + 1 / 128))
    with pytest.raises(ValueError, match="t = 0.125: this cache was made for 2 times and keeps at most 32; it was asked for more"):
        ours(x[:1], torch.tensor(0.125), cache=first)


def test_a_cache_refuses_a_second_condition():
    ours, _ = twins(SMALL)
    x, t, tokens, inject = inputs()
    cache = ours.cache(torch.tensor([1.0, 0.5]), tokens, None, inject)
    with pytest.raises(ValueError, match="3 items was given with 2 items"):
        ours(x[:2], torch.tensor(0.5), cache=cache)
    with pytest.raises(ValueError, match="came 3 items of 12 frames"):
        ours(torch.cat([x, x], dim=-1), torch.tensor(0.5), cache=cache)
    with pytest.raises(ValueError, match="belong to UNet1d.cache"):
        ours(x, torch.tensor(0.5), tokens=tokens, cache=cache)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": (1, 2)}, "factors: expected 3 entries"),
        ({"factors": (1, 0, 2)}, "factors: expected entries of at least 1"),
        ({"channels": (16, 30, 32)}, "multiples of resnet_groups"),
        ({"embedding_features": 0}, "embedding_features"),
        ({"resnet_kernel_size": 4}, "odd"),
        ({"channels": ()}, "at least one depth"),
    ],
)
def test_a_config_checks_itself(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **changes)
