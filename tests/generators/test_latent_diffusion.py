import pytest
import torch

from mousai.diffusion.schedules import schedule
from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.types import Condition, SamplingSettings


def tiny(**changes) -> LatentDiffusion:
    torch.manual_seed(0)
    unet = UNet1dConfig(
        in_channels=4, channels=(16, 16), factors=(1, 2), items=(1, 1), attentions=(0, 1), cross_attentions=(1, 1),
        attention_heads=2, attention_features=8, embedding_features=6, modulation_features=32,
    )  # fmt: skip
    return LatentDiffusion(LatentDiffusionConfig(unet, max_tokens=5, sample=SamplingSettings(steps=4, guidance=3.0), **changes))


def condition(b=2, n=3) -> Condition:
    generator = torch.Generator().manual_seed(1)
    return Condition(torch.randn(b, n, 6, generator=generator), torch.ones(b, n, dtype=torch.bool))


def test_an_item_is_the_same_alone_and_in_a_batch():
    model, told = tiny().eval(), condition()
    both = model.sample(told, 17, seeds=[3, 4])
    assert both.shape == (2, 4, 17)
    torch.testing.assert_close(model.sample(told[1:], 17, seeds=[4]), both[1:], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model.sample(told[1:], 17, seeds=[5]), both[1:], atol=1e-2)


def test_guidance_negative_prompt_and_condition_are_heard():
    model, told = tiny().eval(), condition(1)
    plain = model.sample(told, 8, seeds=[0])
    other = Condition(-told.tokens, told.mask)
    assert not torch.allclose(plain, model.sample(other, 8, seeds=[0]), atol=1e-3)
    assert not torch.allclose(plain, model.sample(told, 8, seeds=[0], negative=other), atol=1e-3)
    assert not torch.allclose(plain, model.sample(told, 8, seeds=[0], settings=SamplingSettings(steps=4, guidance=1.0)), atol=1e-3)


def test_guidance_equals_two_passes():
    """The batched, cached predictor against the formula, at one time."""
    model, told = tiny().eval(), condition(1)
    times, x = torch.tensor([0.7, 0.0]), torch.randn(1, 4, 8)
    predict = model._predictor(told, None, SamplingSettings(steps=1, guidance=3.0).over(model.sampling), times, x)
    padded = torch.nn.functional.pad(told.tokens, (0, 0, 0, 2))
    mask = torch.tensor([[True, True, True, False, False]])
    with torch.no_grad():
        cond = model.unet(x, times[0], tokens=padded, mask=mask)
        uncond = model.unet(x, times[0], tokens=model.null.weight[None], mask=torch.ones_like(mask))
        torch.testing.assert_close(predict(x, times[0]), uncond + 3 * (cond - uncond), atol=1e-5, rtol=1e-4)


TIMES = schedule("linear", 4)


def told_by_row(model, settings, negative=None):
    """`rows` of three conditions, then none and the negative one, and the conditions themselves."""
    three = condition(3)
    return model.predictor([three[:1], three[1:2], three[2:], None, negative], settings, TIMES), three


@pytest.mark.parametrize("subtract_input", [False, True])
@pytest.mark.parametrize("with_negative", [False, True])
@pytest.mark.parametrize("change", [{}, {"guidance": 1.0}, {"rescale": 0.7}, {"interval": (0.3, 0.9)}, {"guidance": 0.0}], ids=str)
@torch.no_grad()
def test_rows_of_one_time_are_those_of_a_plain_sample(change, with_negative, subtract_input):
    model, x = tiny(subtract_input=subtract_input).eval(), torch.randn(3, 4, 8)
    settings = SamplingSettings(**{"steps": 4, "guidance": 3.0} | change).over(model.sampling)
    other = Condition(torch.randn(1, 2, 6), torch.tensor([[True, False]])) if with_negative else None
    rows, three = told_by_row(model, settings, other)
    negative = None if other is None else Condition(other.tokens.expand(3, -1, -1), other.mask.expand(3, -1))
    plain = model._predictor(three, negative, settings, TIMES, x)
    for t in TIMES[:-1]:
        found = rows(x, t.expand(3), torch.arange(3), torch.full((3,), 4 if with_negative else 3), [0] * 3)
        torch.testing.assert_close(found, plain(x, t), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
@torch.no_grad()
def test_rows_that_differ_in_all_are_each_as_alone(rescale):
    """In time (in and out of the guidance interval), condition, negative condition and order."""
    model = tiny().eval()
    settings = SamplingSettings(steps=4, guidance=3.0, rescale=rescale, interval=(0.4, 0.9)).over(model.sampling)
    rows, three = told_by_row(model, settings, Condition(-2 * condition(1).tokens, condition(1).mask))
    x, t = torch.randn(6, 4, 8), TIMES[[2, 0, 1, 3, 1, 2]]
    item, negative = torch.tensor([2, 0, 2, 1, 0, 1]), torch.tensor([3, 4, 4, 3, 3, 3])
    together = rows(x, t, item, negative, [0] * 6)
    for i in range(6):
        alone = rows(x[i : i + 1], t[i : i + 1], item[i : i + 1], negative[i : i + 1], [0])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-5)
        if negative[i] == 3:
            plain = model._predictor(three[int(item[i]) : int(item[i]) + 1], None, settings, TIMES, x)
            torch.testing.assert_close(together[i : i + 1], plain(x[i : i + 1], t[i]), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(rows(x, t, item, torch.full_like(item, 3), [0] * 6), together, atol=1e-3)


@torch.no_grad()
def test_rows_outside_the_guidance_interval_cost_half(monkeypatch):
    model, sizes = tiny().eval(), []
    rows, _ = told_by_row(model, SamplingSettings(steps=4, guidance=3.0, interval=(0.4, 0.9)))
    network = model._network
    monkeypatch.setattr(model, "_network", lambda x, *rest, **more: sizes.append(len(x)) or network(x, *rest, **more))
    item = torch.zeros(4, dtype=torch.long)
    for times in ([0, 3, 3, 0], [1, 2, 1, 1], [0, 1, 2, 3]):
        rows(torch.randn(4, 4, 8), TIMES[times], item, item + 3, [0] * 4)
    assert sizes == [4, 8, 6]


def test_rows_of_a_time_that_was_not_said_are_refused():
    rows, _ = told_by_row(tiny(), SamplingSettings(steps=4))
    item = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="t = 0.3.* is not among the 4 times"):
        rows(torch.randn(2, 4, 8), torch.tensor([0.5, 0.3]), item, item + 3, [0] * 2)


def test_the_known_part_of_an_inpainting_stays():
    model, told = tiny().eval(), condition(1)
    init = torch.randn(1, 4, 15)
    keep = torch.arange(15)[None, None] < 9
    made = model.sample(told, 15, seeds=[0], init=init, keep=keep, settings=SamplingSettings(steps=2, resamples=2))
    assert torch.equal(made[..., :9], init[..., :9]) and not torch.allclose(made[..., 9:], init[..., 9:], atol=1e-2)


def test_little_strength_stays_near_the_start():
    model, told = tiny().eval(), condition(1)
    init = torch.randn(1, 4, 16)
    distances = [float((model.sample(told, 16, seeds=[0], init=init, strength=s) - init).norm()) for s in (0.05, 0.9)]
    assert distances[0] < 0.5 * distances[1]


def test_padding_counts_for_nothing():
    model, told = tiny(), condition(2)
    latents = torch.randn(2, 4, 16)
    spoilt = latents.clone()
    spoilt[1, :, 10:] += 100
    frames = torch.tensor([16, 10])

    def weights(value):
        """The share of the loss that each frame has, by its gradient with respect to the network's output."""
        model.zero_grad()
        loss, _ = model.loss(value, told, torch.Generator().manual_seed(0), frames)
        return loss

    assert torch.isfinite(weights(spoilt)) and weights(spoilt) < 1000
    assert model.loss(spoilt, told, torch.Generator().manual_seed(0))[0] > 100


def test_dropped_conditions_are_the_learned_one():
    model, latents = tiny(drop=0.999999), torch.randn(2, 4, 16)
    losses = [model.loss(latents, told, torch.Generator().manual_seed(0))[0] for told in (condition(), Condition(9 * torch.ones(2, 3, 6), condition().mask))]
    torch.testing.assert_close(losses[0], losses[1])
    losses[0].backward()
    assert model.null.weight.grad.abs().sum() > 0


def test_a_tiny_model_learns_what_each_condition_means():
    model = tiny(drop=0.1).train()
    told = Condition(torch.stack([torch.ones(1, 6), -torch.ones(1, 6)]).repeat(4, 1, 1), torch.ones(8, 1, dtype=torch.bool))
    latents = torch.cat([torch.ones(1, 4, 8), -torch.ones(1, 4, 8)]).repeat(4, 1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(150):
        loss, _ = model.loss(latents, told, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = model.eval().sample(told[:2], 8, seeds=[0, 1], settings=SamplingSettings(steps=10, guidance=1.0))
    assert made[0].mean() > 0.5 and made[1].mean() < -0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": [1]}, "one seed an item"),
        ({"seeds": [1, 2], "strength": 0.5}, "needs init"),
        ({"seeds": [1, 2], "init": torch.zeros(2, 4, 9)}, "init: expected"),
    ],
)
def test_wrong_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny().sample(condition(), 8, **arguments)


def test_too_many_tokens_are_refused():
    with pytest.raises(ValueError, match="at most 5"):
        tiny().sample(condition(n=6), 8, seeds=[0, 1])
