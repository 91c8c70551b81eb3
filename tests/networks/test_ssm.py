"""Mamba-2: its three forms against one another, against transformers', and what it remembers."""

import pytest
import torch
from torch import nn

from mousai.networks.ssm import PUBLISHED, WIDE, Mamba2, Mamba2Config, ssd_chunked, ssd_parallel, ssd_steps

SMALL = Mamba2Config(features=16, layers=2, state=5, head_features=8, chunk=4)


def inputs(b=2, length=23, h=3, p=4, n=5):
    g = torch.Generator().manual_seed(0)
    x, B, C, state = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((b, length, h, p), (b, length, n), (b, length, n), (b, h, p, n)))
    dt, A = torch.rand(b, length, h, generator=g, dtype=torch.float64), -torch.rand(h, generator=g, dtype=torch.float64) * 5
    return x, dt, A, B, C, state


def test_all_forms_are_one():
    given = inputs()
    y, state = ssd_steps(*given)
    for other in (ssd_parallel(*given), ssd_chunked(*given, chunk=4), ssd_chunked(*given, chunk=100)):
        torch.testing.assert_close(other, (y, state), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("cuts", [[23], [1] * 23, [5, 1, 1, 9, 7]])
def test_a_sequence_in_pieces_is_the_whole(cuts):
    torch.manual_seed(0)
    made, x = Mamba2(SMALL).double(), torch.randn(2, 23, 16, dtype=torch.float64)
    whole, last = made(x)
    state, outputs = made.initial(2), []
    for piece in x.split(cuts, dim=1):
        y, state = made(piece, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(state, last, atol=1e-12, rtol=1e-12)
    assert all(now.shape == before.shape for layer, first in zip(state, made.initial(2)) for now, before in zip(layer, first))


def test_the_future_is_not_heard():
    torch.manual_seed(0)
    made, x = Mamba2(SMALL), torch.randn(1, 12, 16)
    changed = x.clone()
    changed[:, 7:] += 1
    assert torch.equal(made(x)[0][:, :7], made(changed)[0][:, :7]) and not torch.allclose(made(x)[0][:, 7:], made(changed)[0][:, 7:])


@pytest.mark.parametrize("config", [PUBLISHED, WIDE, SMALL], ids=["published", "wide", "small"])
def test_equals_transformers(config):
    from transformers import Mamba2Config as TheirConfig, Mamba2Model

    torch.manual_seed(0)
    theirs = Mamba2Model(TheirConfig(
        num_heads=config.heads, head_dim=config.head_features, hidden_size=config.features, state_size=config.state, num_hidden_layers=config.layers,
        expand=config.expand, conv_kernel=config.conv, n_groups=1, chunk_size=8, vocab_size=4,
    )).eval()  # fmt: skip
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    ours = Mamba2(config)
    ours.load_state_dict({name: value for name, value in theirs.state_dict().items() if not name.startswith("embeddings.")})
    x = torch.randn(2, 37, config.features)
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], theirs(inputs_embeds=x).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_gradients_and_sizes():
    torch.manual_seed(0)
    made = Mamba2(SMALL)
    made(torch.randn(2, 9, 16))[0].square().sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0 for weight in made.parameters())
    assert [round(sum(p.numel() for p in Mamba2(shape).parameters()) / 1e6, 1) for shape in (PUBLISHED, WIDE)] == [3.3, 5.7]
    with pytest.raises(ValueError, match="head_features: expected a divisor"):
        Mamba2Config(features=10, head_features=7)
