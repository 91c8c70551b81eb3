"""Latent diffusion by Stable Audio's transformer: tokens, seconds and "no condition" are heard, and learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")

from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig  # noqa: E402
from mousai.generators.seconds import Seconds, SecondsConfig  # noqa: E402
from mousai.networks.stable_audio import StableAudioDiTConfig  # noqa: E402
from mousai.types import Condition, SamplingSettings  # noqa: E402

SHAPE = StableAudioDiTConfig(in_channels=3, layers=2, heads=4, head_features=8, kv_heads=2, cross_features=16, time_features=32, embedding_features=6, global_features=8, frames=16)
SECONDS = SecondsConfig(hop=100, sample_rate=100, longest=16.0)  # a frame a second


def tiny(**changes) -> LatentDiffusion:
    torch.manual_seed(0)
    settings = {"stable_audio": SHAPE, "seconds": SECONDS, "max_tokens": 5, "drop": 0.3, "sample": SamplingSettings(steps=8, guidance=1.0)}
    return LatentDiffusion(LatentDiffusionConfig(**settings | changes))


def condition(b=2, seconds=None) -> Condition:
    tokens = torch.tensor([1.0, -1.0])[torch.arange(b) % 2][:, None, None].expand(b, 3, 6)
    return Condition(tokens, torch.ones(b, 3, dtype=torch.bool), numbers={} if seconds is None else {"seconds": torch.tensor(seconds)})


@pytest.fixture(scope="module")
def trained():
    """One that has learned that the words say the sign, and the seconds how much there is of it; without words it is 0."""
    model = tiny(objective="flow", stable_audio=replace(SHAPE, layers=1)).train()
    optimizer = torch.optim.Adam(model.parameters(), 8e-3)
    generator, frames = torch.Generator().manual_seed(0), torch.tensor([16, 16, 4, 4])
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]
    data = signs * torch.where(frames == 16, 1.5, 0.5)[:, None, None].expand(4, 3, 16)
    losses = []
    for _ in range(220):
        loss, _ = model.loss(data, condition(4), generator, frames)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    return model.eval()


def test_words_and_seconds_are_heard(trained):
    long = trained.sample(condition(), 16, seeds=[0, 1]).mean((1, 2))
    short = trained.sample(condition(2, [4.0, 4.0]), 16, seeds=[0, 1])[..., :4].mean((1, 2))
    assert long[0] > 1 and long[1] < -1  # 16 frames are said to be 16 seconds
    assert 0 < short[0] < long[0] - 0.2 and long[1] + 0.2 < short[1] < 0


@torch.no_grad()
def test_no_condition_is_learned_and_guidance_leads_from_it(trained):
    null = trained.predictor([None], SamplingSettings(steps=4, guidance=1.0), torch.tensor([1.0, 0.0]))
    row = torch.zeros(1, dtype=torch.long)
    x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(5))
    data = trained.process.data(x, null(x, torch.ones(1), row, row, [0]), torch.ones(1))
    assert abs(float(data.mean())) < 0.6
    guided = trained.sample(condition(), 16, seeds=[0, 1], settings=SamplingSettings(guidance=2.0, hold=0.0, apg=0.0)).mean((1, 2))
    assert guided[0] > trained.sample(condition(), 16, seeds=[0, 1]).mean((1, 2))[0]


def test_an_item_is_the_same_alone_and_in_a_batch_to_1e_6(trained):
    told = Condition(torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([[True] * n + [False] * (5 - n) for n in (5, 1, 3, 2)]))
    settings = SamplingSettings(steps=4, guidance=3.0)
    together = trained.sample(told, 13, seeds=[3, 4, 5, 6], settings=settings)
    for index in range(4):
        alone = trained.sample(told[index : index + 1], 13, seeds=[3 + index], settings=settings)
        torch.testing.assert_close(alone, together[index : index + 1], atol=1e-6, rtol=1e-6)


def test_seconds_are_told_apart_and_not_said_is_its_own():
    seconds = Seconds(SECONDS, 7)
    told = seconds(torch.tensor([0.0, 1.0, 1.01, 16.0, 20.0, float("nan")]))
    assert torch.equal(told[3], told[4]) and torch.equal(told[5], seconds.unsaid)
    assert (told[1] - told[2]).abs().max() > 1e-3
    everything = torch.tensor([True, False])
    dropped = Seconds(replace(SECONDS, drop=0.0), 7).dropped(torch.tensor([3.0, 4.0]), everything, torch.Generator())
    assert dropped[0].isnan() and dropped[1] == 4.0


def test_a_unet_hears_seconds_as_a_token_and_a_dit_in_its_blocks():
    from mousai.networks.dit import DiTConfig
    from mousai.networks.unet1d import UNet1dConfig

    unet = UNet1dConfig(in_channels=3, channels=(8, 8), factors=(1, 2), items=(1, 1), attentions=(0, 0), cross_attentions=(1, 1), attention_heads=2, attention_features=4, embedding_features=6, modulation_features=8, resnet_groups=2)
    for shape in ({"unet": unet}, {"dit": DiTConfig(3, features=8, layers=1, heads=2, embedding_features=6)}):
        model = tiny(**{"stable_audio": None} | shape).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        one, other = (model.sample(condition(1, [seconds]), 8, seeds=[0]) for seconds in (2.0, 12.0))
        assert not torch.allclose(one, other, atol=1e-3)
        assert torch.equal(model.sample(condition(1), 8, seeds=[0]), model.sample(condition(1, [8.0]), 8, seeds=[0]))


def test_a_generator_of_two_shapes_or_none_is_refused():
    with pytest.raises(ValueError, match="expected one of unet, dit and stable_audio"):
        tiny(stable_audio=None)
    with pytest.raises(ValueError, match="expected hop and sample_rate of 1 or more, longest above 0"):
        SecondsConfig(100, 100, longest=0.0)


def test_a_vector_is_heard_by_tokens_and_everywhere_and_unsaid_is_no_condition():
    from mousai.generators.vector import VectorConfig

    model = tiny(vector=VectorConfig(features=6, tokens=4, alone=True), max_tokens=1).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    assert model.accepts.tokens == 0 and dict(model.accepts.vectors) == {"music": 6}
    vectors = torch.nn.functional.normalize(torch.randn(3, 6, generator=torch.Generator().manual_seed(0)), dim=-1)
    made = model.sample(Condition(vectors={"music": vectors}), 1024, seeds=[0, 0, 0])  # 47 s and more of a codec of 2,048 samples a frame
    assert made.shape == (3, 3, 1024) and not torch.allclose(made[0], made[1], atol=1e-3)
    unsaid = Condition(vectors={"music": torch.full((1, 6), torch.nan)}, numbers={"seconds": torch.full((1,), torch.nan)})
    both = model.predictor([unsaid, None], SamplingSettings(steps=4, guidance=1.0), torch.tensor([1.0, 0.0]))
    x, t, row = torch.randn(1, 3, 16).expand(2, -1, -1), torch.ones(2), torch.tensor([0, 1])
    told, null = both(x, t, row, row, [0, 0])
    torch.testing.assert_close(told, null)
