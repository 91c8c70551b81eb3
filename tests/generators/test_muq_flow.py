"""Flow matching of vectors: exact predictors, the published size, guidance, the text-blind floor, and what is refused."""

import importlib.util
import math

import pytest
import torch
from torch.nn import functional as F

from mousai.diffusion.adaptive import dopri5
from mousai.diffusion.process import FLOW
from mousai.diffusion.samplers import sample
from mousai.diffusion.schedules import schedule
from mousai.generators.muq_flow import VectorFlow, VectorFlowConfig, blind_floor
from mousai.networks.flow import VectorNetworkConfig
from mousai.recipe import load_recipe
from mousai.types import Condition, SamplingSettings

SMALL = {"modulated": VectorNetworkConfig("modulated", 16, 2, 2), "decoder": VectorNetworkConfig("decoder", 16, 2, 2)}


def flow(kind="modulated", **changes):
    torch.manual_seed(0)
    made = VectorFlow(VectorFlowConfig(6, 5, max_tokens=4, network=SMALL[kind], **changes)).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # what is nothing at first is something
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    return made


def condition(b=3):
    draw = torch.Generator().manual_seed(1)
    mask = torch.ones(b, 4, dtype=torch.bool)
    mask[0, 2:] = False
    return Condition(torch.randn(b, 4, 5, generator=draw) * mask[..., None], mask)


def exact(mean, root):
    """The velocity of the flow whose data are normal with this mean `(e,)` and covariance root root^T."""
    covariance = root @ root.T

    def predict(x, t):
        t = float(t)
        total = (1 - t) ** 2 * covariance + t**2 * torch.eye(len(mean), dtype=x.dtype)
        slope = (t * torch.eye(len(mean), dtype=x.dtype) - (1 - t) * covariance) @ torch.linalg.inv(total)  # of noise - data on x_t
        return -mean[:, None] + slope @ (x - (1 - t) * mean[:, None])

    return predict


@pytest.mark.parametrize("solver, steps", [("euler", 200), ("midpoint", 30), ("heun", 30), ("dopri5", None)])
def test_a_normal_distribution_is_matched(solver, steps):
    if solver == "dopri5" and importlib.util.find_spec("torchdiffeq") is None:
        pytest.skip("torchdiffeq is not installed")
    mean, root = torch.tensor([1.0, -0.5, 0.2]), torch.tensor([[0.9, 0.0, 0.0], [0.4, 0.3, 0.0], [-0.2, 0.1, 0.5]])
    noise = torch.randn(8000, 3, 1, generator=torch.Generator().manual_seed(0))
    predict = exact(mean, root)
    found = dopri5(FLOW, predict, noise) if steps is None else sample(solver, FLOW, predict, noise, schedule("linear", steps))
    found = found[..., 0]
    torch.testing.assert_close(found.mean(0), mean, atol=0.04, rtol=0)
    torch.testing.assert_close(found.T.cov(), root @ root.T, atol=0.05, rtol=0)


def test_the_published_one_has_its_parameters_and_ours_is_no_larger():
    sizes = {}
    for name in ("muse-271m", "flow", "small", "small_published"):
        part = load_recipe(f"recipes/muse/{name}.yaml").generator
        with torch.device("meta"):
            sizes[name] = sum(parameter.numel() for parameter in part.build().parameters())
    assert round(sizes["muse-271m"] / 1e6, 1) == 271.6
    assert sizes["flow"] <= sizes["muse-271m"] and sizes["small"] < 1.05 * sizes["small_published"]


@pytest.mark.parametrize("kind", SMALL)
def test_a_vector_is_of_unit_length_and_the_same_alone_and_in_a_batch(kind):
    made, told = flow(kind), condition()
    settings = SamplingSettings(steps=3, guidance=2.0)
    found = made.sample(told, 1, seeds=[4, 5, 6], settings=settings)
    assert found.shape == (3, 6, 1)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, 1))
    torch.testing.assert_close(made.sample(told[1:2], 1, seeds=[5], settings=settings), found[1:2], atol=1e-5, rtol=0)
    trimmed = Condition(told.tokens[:1, :2], told.mask[:1, :2])
    torch.testing.assert_close(made.sample(trimmed, 1, seeds=[4], settings=settings), found[:1], atol=1e-5, rtol=0)
    assert not torch.allclose(made.sample(told, 1, seeds=[4, 5, 6], settings=SamplingSettings(steps=3, guidance=1.0)), found, atol=1e-3)
    assert not torch.allclose(made.sample(told, 1, seeds=[4, 5, 6], negative=condition(), settings=settings), found, atol=1e-3)


def test_samplers_come_to_the_same_place_and_dopri5_to_it_alone_or_together():
    if importlib.util.find_spec("torchdiffeq") is None:
        pytest.skip("torchdiffeq is not installed")
    made, told = flow("decoder"), condition()
    fine = made.sample(told, 1, seeds=[1, 2, 3], settings=SamplingSettings(steps=30, sampler="heun"))
    for settings in (SamplingSettings(steps=30, sampler="midpoint"), SamplingSettings(sampler="dopri5")):
        torch.testing.assert_close(made.sample(told, 1, seeds=[1, 2, 3], settings=settings), fine, atol=5e-3, rtol=0)
    alone = made.sample(told[2:], 1, seeds=[3], settings=SamplingSettings(sampler="dopri5"))
    assert torch.equal(alone, made.sample(told, 1, seeds=[1, 2, 3], settings=SamplingSettings(sampler="dopri5"))[2:])


@pytest.mark.parametrize("kind", SMALL)
def test_it_learns_which_vector_belongs_to_which_text(kind):
    torch.manual_seed(0)
    made = VectorFlow(VectorFlowConfig(6, 5, max_tokens=4, network=SMALL[kind], drop=0.0))
    told, vectors = condition(), F.normalize(torch.randn(3, 6, 1, generator=torch.Generator().manual_seed(9)), dim=1)
    optimizer = torch.optim.AdamW(made.parameters(), 1e-2)
    rows = torch.arange(48) % 3
    for step in range(100):
        loss, _ = made.loss(vectors[rows], told[rows], torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = made.eval().sample(told, 1, seeds=[1, 2, 3], settings=SamplingSettings(steps=8))
    assert F.cosine_similarity(found, vectors, dim=1).min() > 0.9


def test_the_floor_is_that_of_the_best_text_blind_network():
    assert blind_floor(torch.full((512,), 1 / 512)) == pytest.approx(0.0694, abs=5e-5)
    variances = torch.tensor([0.3, 1.7])
    t = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    by_hand = sum((s2 / ((1 - t) ** 2 * s2 + t**2)).mean() for s2 in variances.double()) / 2
    assert blind_floor(variances) == pytest.approx(float(by_hand), rel=1e-3)


def test_what_cannot_be_is_refused():
    made = flow()
    with pytest.raises(ValueError, match="a vector is one frame"):
        made.sample(condition(), 2, seeds=[1, 2, 3])
    with pytest.raises(ValueError, match=r"expected condition tokens \(b, at most 4, 5\), came \(1, 2, 7\)"):
        made.sample(Condition(torch.zeros(1, 2, 7), torch.ones(1, 2, dtype=torch.bool)), 1, seeds=[1])
    with pytest.raises(ValueError, match="features, embedding_features and max_tokens"):
        VectorFlowConfig(0, 5)
    assert math.isfinite(made.loss(torch.randn(3, 6, 1), condition(), torch.Generator())[0].item())
