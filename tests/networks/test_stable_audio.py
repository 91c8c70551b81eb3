"""Stable Audio's transformer is diffusers' own, and what it lets pass in silence, or fails of without a word, is refused in one line."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")

from diffusers.models.embeddings import get_1d_rotary_pos_embed  # noqa: E402

from mousai.networks.stable_audio import StableAudioDiT, StableAudioDiTConfig  # noqa: E402

SHAPE = StableAudioDiTConfig(in_channels=4, layers=2, heads=4, head_features=8, kv_heads=2, cross_features=16, time_features=32, embedding_features=12, global_features=10)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = StableAudioDiT(SHAPE).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture(scope="module")
def told():
    generator = torch.Generator().manual_seed(1)
    mask = torch.tensor([[True] * 5, [True, True, False, False, True]])
    return {"tokens": torch.randn(2, 5, 12, generator=generator), "mask": mask, "vector": torch.randn(2, 10, generator=generator)}


X, T = torch.randn(2, 4, 17, generator=torch.Generator().manual_seed(2)), torch.tensor([0.9, 0.2])


def library(network, x, t, told):
    """diffusers' own forward."""
    rotary = get_1d_rotary_pos_embed(4, x.shape[-1] + 1, use_real=True, repeat_interleave_real=False)
    return network.net(x, t, told["tokens"], told["vector"][:, None], rotary, encoder_attention_mask=told["mask"]).sample


@torch.no_grad()
def test_it_computes_what_diffusers_does_in_any_batch_and_prepared(network, told):
    expected = library(network, X, T, told)
    torch.testing.assert_close(network(X, T, **told), expected)
    cache = network.cache(T, **told)
    torch.testing.assert_close(network(X, T, cache=cache), expected)
    torch.testing.assert_close(network(X.flip(0), T.flip(0), cache=cache[torch.tensor([1, 0])]), expected.flip(0))
    torch.testing.assert_close(network(X[:1], T[0], cache=cache[:1]), expected[:1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(network(X[:1].expand(2, -1, -1), T[:1].expand(2), cache=cache[:1]), expected[:1].expand(2, -1, -1), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_what_is_masked_out_is_not_heard(network, told):
    """The mask is boolean; one of numbers, which diffusers adds to the logits, would leave every token heard."""
    other = {**told, "tokens": torch.where(told["mask"][..., None], told["tokens"], 9.0)}
    torch.testing.assert_close(network(X, T, **other), network(X, T, **told), atol=1e-6, rtol=1e-5)
    for mask in (told["mask"].float(), told["mask"].long(), told["mask"][:, :3]):
        with pytest.raises(ValueError, match=r"expected a boolean mask \(2, 5\), came"):
            network(X, T, **{**told, "mask": mask})


@pytest.mark.parametrize("lacks", ["tokens", "vector"])
def test_a_condition_that_lacks_a_part_is_refused(network, told, lacks):
    with pytest.raises(TypeError):  # what the library says
        library(network, X, T, {**told, lacks: None})
    with pytest.raises(ValueError, match=f"expected {lacks} .*, came None; of no condition give its learned embedding"):
        network(X, T, **{**told, lacks: None})


def test_the_vector_is_one_token_and_no_more(network, told):
    """Of two the library would leave the second in the prediction, which is then a frame longer than x."""
    with pytest.raises(ValueError, match=r"expected vector \(b, 10\), came \(2, 2, 10\)"):
        network(X, T, **{**told, "vector": told["vector"][:, None].expand(-1, 2, -1)})


@torch.no_grad()
def test_times_stay_float32_where_weights_do_not(network, told):
    """Two of 1,000 steps are one in bfloat16; here they are two, and under autocast as well."""
    near = torch.tensor([0.898, 0.899])
    assert near.bfloat16()[0] == near.bfloat16()[1]
    half = copy.deepcopy(network).to(torch.bfloat16)
    assert half.dtype == torch.bfloat16 and half.net.time_proj.weight.dtype == half.net.timestep_proj[0].weight.dtype == torch.float32
    x, one = X[:1].expand(2, -1, -1), {name: part[:1].expand(2, *part.shape[1:]) for name, part in told.items()}
    for model, autocast in ((half, False), (network, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = model(x, near, **one)
        assert found.dtype == torch.float32 and not torch.equal(found[0], found[1])
        torch.testing.assert_close(found, network(x, near, **one), atol=0.1 * float(network(x, near, **one).std()), rtol=0.1)
    with pytest.raises(ValueError, match="expected t in float32"):
        network(X, T.bfloat16(), **told)


def test_checkpointing_changes_no_gradient(network, told):
    found = []
    for checkpointing in (False, True):
        model = copy.deepcopy(network).train()
        model.config = replace(SHAPE, checkpointing=checkpointing)
        model(X, T, **told).square().mean().backward()
        found.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    torch.testing.assert_close(found[0], found[1])


@torch.no_grad()
def test_it_takes_any_length_and_begins_as_nothing(network, told):
    for frames in (1, 8, 1030):
        x = torch.randn(2, 4, frames)
        torch.testing.assert_close(network(x, T, **told), library(network, x, T, told), atol=1e-5, rtol=1e-4)
    fresh = StableAudioDiT(SHAPE)
    assert torch.equal(fresh(X, T, **told), fresh(X, T, **{**told, "tokens": -told["tokens"]}))


def test_a_shape_that_cannot_be_is_refused():
    for change, message in (
        ({"kv_heads": 3}, "kv_heads: expected a divisor of heads"),
        ({"head_features": 6}, "head_features a multiple of 4"),
        ({"layers": 0}, "layers: expected at least 1, came 0"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(SHAPE, **change)
