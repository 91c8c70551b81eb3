"""The patch transformer: its parts against slow ones, what it hears, what `cache` keeps."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from mousai.networks.dit import DiT, DiTConfig, angles_of, pooled, rotated

SMALL = dict(in_channels=4, features=32, layers=2, heads=2, patch=2, embedding_features=12)


def network(**changes) -> DiT:
    """One whose zero weights are not zero, so that everything has a say."""
    torch.manual_seed(0)
    made = DiT(DiTConfig(**SMALL | changes)).eval()
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made


def inputs(b=3, length=12):
    g = torch.Generator().manual_seed(1)
    x, tokens, vector = (torch.randn(b, *shape, generator=g) for shape in ((4, length), (5, 12), (32,)))
    return x, torch.tensor([0.3, 0.9, 0.01])[:b], {"tokens": tokens, "vector": vector, "mask": torch.tensor([[True] * 3 + [False] * 2]).expand(b, -1)}


def test_begins_as_zero_and_learns_one_batch():
    torch.manual_seed(0)
    made, (x, t, told) = DiT(DiTConfig(**SMALL, cross_attention=True)), inputs()
    assert torch.equal(made(x, t, **told), torch.zeros_like(x))
    target, optimizer = torch.randn(3, 4, 12), torch.optim.Adam(made.parameters(), lr=1e-2)
    for _ in range(150):
        loss = (made(x, t, **told) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in made.parameters())


@pytest.mark.parametrize("cross_attention", [False, True])
def test_a_cache_is_what_the_network_is_told(cross_attention):
    made, (x, t, told) = network(cross_attention=cross_attention), inputs()
    expected, cache = made(x, t, **told), made.cache(t, **told)
    torch.testing.assert_close(made(x, t, cache=cache), expected, atol=1e-5, rtol=1e-5)
    rows = torch.tensor([2, 0, 2])
    torch.testing.assert_close(made(x[rows], t[rows], cache=cache[rows]), expected[rows], atol=1e-5, rtol=1e-5)
    one = made.cache(t, **{name: part[:1] for name, part in told.items()})
    torch.testing.assert_close(made(x[:1].expand(3, -1, -1), t[0], cache=one), expected[:1].expand(3, -1, -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cross_attention", [False, True])
def test_hears_time_text_and_vector_but_no_padding(cross_attention):
    made, (x, t, told) = network(cross_attention=cross_attention), inputs()
    expected = made(x, t, **told)
    padding = told["tokens"].clone()
    padding[:, 3:] = 7.0
    torch.testing.assert_close(made(x, t, **told | {"tokens": padding}), expected)
    for change in ({"tokens": -told["tokens"]}, {"vector": -told["vector"]}, {"vector": None}):
        assert not torch.allclose(made(x, t, **told | change), expected, atol=1e-2)
    assert not torch.allclose(made(x, t.flip(0), **told), expected, atol=1e-2)


def test_a_patch_is_two_frames_and_places_are_heard():
    made, (x, t, told) = network(), inputs(1)
    moved = made(x.roll(2, -1), t, **told).roll(-2, -1)
    assert not torch.allclose(moved, made(x, t, **told), atol=1e-3)
    with pytest.raises(ValueError, match="a multiple of 2"):
        made(x[..., :-1], t, **told)


def test_attention_scores_follow_from_distances_alone():
    q, k = torch.randn(2, 1, 1, 1, 16).expand(2, 1, 1, 9, 16)
    angles = angles_of(9, 16, q.device)
    scores = (rotated(q, angles) @ rotated(k, angles).transpose(-1, -2))[0, 0]
    for distance in range(9):
        torch.testing.assert_close(scores.diagonal(distance), scores[0, distance].expand(9 - distance), atol=1e-4, rtol=1e-4)
    first, second = q[0, 0, 5, [3, 11]].tolist()  # the fourth pair of the sixth token, by hand
    angle = 5 * math.pi * (2 / 1000) ** (3 / 7)
    expected = torch.tensor([first * math.cos(angle) - second * math.sin(angle), first * math.sin(angle) + second * math.cos(angle)])
    torch.testing.assert_close(rotated(q, angles)[0, 0, 5, [3, 11]], expected, atol=1e-5, rtol=1e-5)


def test_text_is_pooled_over_its_real_tokens():
    _, _, told = inputs()
    expected = torch.stack([F.layer_norm(tokens[:3].mean(0), (12,)) for tokens in told["tokens"]])
    torch.testing.assert_close(pooled(told["tokens"], told["mask"]), expected)


def test_checkpointing_changes_no_gradient_and_a_copy_has_its_own_weights():
    x, t, told = inputs()
    grads = []
    for checkpointing in (False, True):
        made = network(checkpointing=checkpointing, cross_attention=True).train()
        made(x, t, **told).square().mean().backward()
        grads.append([weight.grad for weight in made.parameters()])
    torch.testing.assert_close(grads[0], grads[1])
    other = copy.deepcopy(made)
    torch.nn.init.zeros_(other.leave.weight)
    assert not torch.allclose(made(x, t, **told), other(x, t, **told))


def test_in_bfloat16_it_is_nearly_the_same():
    made, (x, t, told) = network(cross_attention=True), inputs()
    expected = made(x, t, **told)
    made.to(torch.bfloat16)
    assert made.dtype == torch.bfloat16
    got = made(x, t, **told)
    assert got.dtype == torch.float32 and (got - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize(
    ("change", "message"), [({"features": 30}, "multiple of 2 x heads"), ({"layers": 0}, "layers: expected"), ({"embedding_features": 0, "cross_attention": True}, "needs the condition")]
)
def test_shapes_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DiTConfig(**SMALL | change)


def test_times_are_told_apart_from_the_first_step_on():
    torch.manual_seed(0)
    features = DiT(DiTConfig(**SMALL | {"features": 256, "heads": 4})).time(torch.linspace(0, 1, 101))
    assert 0.3 < features.std(0).mean() < 2.0
    near, far = (features[:-1] - features[1:]).norm(dim=1).mean(), (features[:50] - features[50:-1]).norm(dim=1).mean()
    assert near > 0.1 * far
