"""A generator told a vector: that it is heard, that it is not where nothing is said, and that it begins as the model without it."""

import math
import re
from dataclasses import replace

import pytest
import torch

from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from mousai.generators.vector import VectorConfig
from mousai.networks.dit import DiTConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.pipelines.system import check_conditions
from mousai.types import Condition, ConditionShape, SamplingSettings

UNET = UNet1dConfig(
    in_channels=4, channels=(16, 16), factors=(1, 2), items=(1, 1), attentions=(0, 1), cross_attentions=(1, 1),
    attention_heads=2, attention_features=8, embedding_features=6, modulation_features=32,
)  # fmt: skip
DIT = DiTConfig(4, features=16, layers=2, heads=2, embedding_features=6, cross_attention=True)
SETTINGS = SamplingSettings(steps=2, guidance=2.0, rescale=0.0)


def model(vector=VectorConfig(5), seed=0, **shape):
    torch.manual_seed(seed)
    return LatentDiffusion(LatentDiffusionConfig(**shape, max_tokens=5, vector=vector, sample=SETTINGS)).eval()


def told(vector=None, b=2):
    draw = torch.Generator().manual_seed(1)
    vectors = {} if vector is None else {"music": vector}
    return Condition(torch.randn(b, 3, 6, generator=draw), torch.ones(b, 3, dtype=torch.bool), vectors)


def disturb(module):
    """Every weight that is nothing at first is something."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return module


@pytest.mark.parametrize("shape", [{"unet": UNET}, {"dit": DIT}, {"dit": replace(DIT, cross_attention=False)}], ids=["unet", "attending", "everywhere"])
def test_a_vector_is_heard_and_one_that_is_not_said_is_not(shape):
    both, without = disturb(model(**shape)), disturb(model(None, **shape))
    without.load_state_dict({name: value for name, value in both.state_dict().items() if not name.startswith("vector.")})
    vector = torch.nn.functional.normalize(torch.randn(2, 5, generator=torch.Generator().manual_seed(3)), dim=-1)
    plain = without.sample(told(), 8, seeds=[1, 2])
    for unsaid in (told(), told(torch.full((2, 5), math.nan))):
        torch.testing.assert_close(both.sample(unsaid, 8, seeds=[1, 2]), plain, atol=1e-5, rtol=0)
    heard = both.sample(told(vector), 8, seeds=[1, 2])
    assert (heard - plain).abs().max() > 1e-3
    one = vector.clone()
    one[0] = math.nan
    mixed = both.sample(told(one), 8, seeds=[1, 2])  # said of the second alone
    torch.testing.assert_close(mixed, torch.stack([plain[0], heard[1]]), atol=1e-5, rtol=0)


def test_what_begins_as_nothing_leaves_the_model_that_it_goes_on_from_as_it_is():
    old = disturb(model(None, dit=replace(DIT, cross_attention=False)))
    new = model(seed=4, dit=DIT)
    lacks = new.load_state_dict(old.state_dict(), strict=False).missing_keys
    assert lacks and all(any(re.fullmatch(each, name) for each in LatentDiffusion.BEGIN_AS_NOTHING) for name in lacks)
    vector = torch.randn(2, 5, generator=torch.Generator().manual_seed(3))
    assert torch.equal(new.sample(told(vector), 8, seeds=[1, 2]), old.sample(told(), 8, seeds=[1, 2]))


def test_with_a_vector_alone_no_text_is_heard():
    alone = disturb(model(VectorConfig(5, alone=True), dit=DIT))
    vector = torch.randn(2, 5)
    assert alone.accepts.tokens == 0
    assert torch.equal(alone.sample(told(vector), 8, seeds=[1, 2]), alone.sample(Condition(vectors={"music": vector}), 8, seeds=[1, 2]))


@pytest.mark.parametrize("shape", [{"unet": UNET}, {"dit": DIT}], ids=["unet", "dit"])
def test_training_drops_the_vector_the_text_or_both(shape):
    trained = disturb(model(VectorConfig(5, drop=0.4, drop_text=0.4), **shape)).train()
    vectors, everything = torch.randn(4000, 5), torch.rand(4000, generator=torch.Generator().manual_seed(0)) < 0.25
    left, untold = trained.vector.dropped(vectors, everything, torch.Generator().manual_seed(7))
    gone = left.isnan().any(-1)
    assert gone[everything].all() and not (gone & untold).any()
    assert abs(float(gone[~everything].float().mean()) - 0.4) < 0.03 and abs(float(untold[~gone].float().mean()) - 0.4) < 0.03
    loss, _ = trained.loss(torch.randn(2, 4, 8), told(torch.randn(2, 5)), torch.Generator().manual_seed(0))
    loss.backward()
    assert all(parameter.grad is not None for parameter in trained.vector.parameters())


def test_another_width_is_refused_with_both():
    both = model(dit=DIT)
    with pytest.raises(ValueError, match="expects 5 features, came 7"):
        both.sample(told(torch.randn(2, 7)), 8, seeds=[1, 2])
    with pytest.raises(ValueError, match="'music' with 5 features, the conditioner gives it with 7"):
        check_conditions(ConditionShape(6, 5, {"music": 7}), both.accepts, "here")
