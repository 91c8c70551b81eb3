from types import SimpleNamespace

import pytest
import torch

from mousai.config import from_dict, to_dict
from mousai.diffusion.guidance import HELD
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import PLAIN, predict_for
from mousai.diffusion.schedules import schedule
from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from mousai.networks.step_cache import StepCache
from mousai.networks.unet1d import UNet1dConfig
from mousai.types import Condition, SamplingSettings


def tiny(**changes) -> LatentDiffusion:
    torch.manual_seed(0)
    unet = UNet1dConfig(
        in_channels=4, channels=(16, 16), factors=(1, 2), items=(1, 1), attentions=(0, 1), cross_attentions=(1, 1),
        attention_heads=2, attention_features=8, embedding_features=6, modulation_features=32,
    )  # fmt: skip
    return LatentDiffusion(LatentDiffusionConfig(unet, max_tokens=5, sample=SamplingSettings(steps=4, guidance=3.0, rescale=0.0), **changes))


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


TIMES = schedule("linear", 4)


@torch.no_grad()
def plainly(model, told, negative, settings, x, t):
    """The guided prediction by two passes of the network, nothing prepared, for each item alone."""
    rows = []
    for index in range(len(x)):
        cond = Condition(torch.nn.functional.pad(told.tokens[index : index + 1], (0, 0, 0, 2)), torch.tensor([[True] * 3 + [False] * 2]))
        other = Condition(model.null.weight[None], torch.ones(1, 5, dtype=torch.bool))
        if negative is not None:
            lacks = 5 - negative.tokens.shape[1]
            other = Condition(torch.nn.functional.pad(negative.tokens, (0, 0, 0, lacks)), torch.nn.functional.pad(negative.mask, (0, lacks)))
        y, o = (model.predict(x[index : index + 1], t[index], tokens=each.tokens, mask=each.mask) for each in (cond, other))
        low, high = settings.interval
        if settings.guidance != 1 and low <= t[index] <= high:
            guided = o + settings.guidance * (y - o)
            y = guided * (settings.rescale * y.std() / guided.std() + 1 - settings.rescale) if settings.guidance else guided
        rows.append(y)
    return torch.cat(rows)


@pytest.mark.parametrize("subtract_input", [False, True])
@pytest.mark.parametrize("with_negative", [False, True])
@pytest.mark.parametrize("change", [{}, {"guidance": 1.0}, {"rescale": 0.7}, {"interval": (0.3, 0.9)}, {"guidance": 0.0}], ids=str)
@torch.no_grad()
def test_guidance_is_two_passes_of_the_network(change, with_negative, subtract_input):
    model, three, x = tiny(subtract_input=subtract_input).eval(), condition(3), torch.randn(3, 4, 8)
    settings = SamplingSettings(**{"steps": 4, "guidance": 3.0} | change).over(model.sampling)
    negative = Condition(torch.randn(1, 2, 6), torch.tensor([[True, False]])) if with_negative else None
    predict = predict_for(model, three, None if negative is None else negative.expand(3), settings, TIMES)
    for t in TIMES[:-1]:
        torch.testing.assert_close(predict(x, t), plainly(model, three, negative, settings, x, t.expand(3)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
@torch.no_grad()
def test_rows_that_differ_in_all_are_each_as_alone(rescale):
    """In time (in and out of the guidance interval), condition, negative condition and order."""
    model, three = tiny().eval(), condition(3)
    settings = SamplingSettings(steps=4, guidance=3.0, rescale=rescale, interval=(0.4, 0.9)).over(model.sampling)
    negatives = [None, Condition(-2 * condition(1).tokens, condition(1).mask)]
    rows = model.predictor([three[:1], three[1:2], three[2:], *negatives], settings, TIMES)
    x, t = torch.randn(6, 4, 8), TIMES[[2, 0, 1, 3, 1, 2]]
    item, negative = torch.tensor([2, 0, 2, 1, 0, 1]), torch.tensor([3, 4, 4, 3, 3, 3])
    together = rows(x, t, item, negative, [0] * 6)
    for i in range(6):
        alone = plainly(model, three[item[i : i + 1]], negatives[negative[i] - 3], settings, x[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(rows(x, t, item, torch.full_like(item, 3), [0] * 6), together, atol=1e-3)


@torch.no_grad()
def test_rows_outside_the_guidance_interval_cost_half(monkeypatch):
    model, sizes = tiny().eval(), []
    rows = model.predictor([condition(1), None], SamplingSettings(steps=4, guidance=3.0, interval=(0.4, 0.9)), TIMES)
    network = model.predict
    monkeypatch.setattr(model, "predict", lambda x, *rest, **more: sizes.append(len(x)) or network(x, *rest, **more))
    item = torch.zeros(4, dtype=torch.long)
    for times in ([0, 3, 3, 0], [1, 2, 1, 1], [0, 1, 2, 3]):
        rows(torch.randn(4, 4, 8), TIMES[times], item, item + 1, [0] * 4)
    assert sizes == [4, 8, 6]


@torch.no_grad()
def test_clips_use_the_step_cache_as_it_is(monkeypatch):
    model = tiny().eval()
    monkeypatch.setattr(StepCache, "__getitem__", lambda *_: pytest.fail("nothing is to be gathered"))
    for settings in (SamplingSettings(guidance=3.0), SamplingSettings(guidance=1.0)):
        assert model.sample(condition(3), 8, seeds=[0, 1, 2], settings=settings).isfinite().all()


@pytest.mark.parametrize("objective", PROCESSES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_and_objective_runs_through_the_step_cache(objective, sampler):
    model, told = tiny(objective=objective).eval(), condition()
    assert model.process.name == objective and sampler in model.samplers
    for steps in (1, 3):
        settings = SamplingSettings(steps=steps, sampler=sampler, guidance=2.0, apg=0.5, apg_norm=0.5)
        assert model.sample(told, 9, seeds=[1, 2], settings=settings).isfinite().all()


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


def test_emphasis_weighs_the_errors_of_latent_channels_as_the_codec_says():
    codec = SimpleNamespace(latent_strengths=torch.tensor([8.0, 4.0, 2.0, 2.0]))
    latents, told = torch.randn(2, 4, 8), condition()

    def loss(model: LatentDiffusion, latents: torch.Tensor = latents) -> float:
        return model.loss(latents, told, torch.Generator().manual_seed(0))[0].item()

    plain, weighed = tiny(), tiny(emphasis=1.0)
    weighed.load_state_dict(plain.state_dict())
    plain.prepare(codec)
    assert loss(weighed) == loss(plain)  # until it is prepared
    weighed.prepare(codec)
    assert weighed.channel_weights.flatten().tolist() == [2.0, 1.0, 0.5, 0.5]
    more = [latents + 3 * torch.eye(4)[channel, :, None] for channel in (0, 3)]
    gain = [(loss(weighed, each) - loss(weighed)) / (loss(plain, each) - loss(plain)) for each in more]
    assert gain[0] > gain[1]


def test_emphasis_needs_a_codec_that_knows():
    with pytest.raises(ValueError, match=r"^generator\.emphasis: object does not say how strong its latents are; expected 0, came 1\.0$"):
        tiny(emphasis=1.0).prepare(object())


def test_dropped_conditions_are_the_learned_one():
    model, latents = tiny(drop=0.999999), torch.randn(2, 4, 16)
    losses = [model.loss(latents, told, torch.Generator().manual_seed(0))[0] for told in (condition(), Condition(9 * torch.ones(2, 3, 6), condition().mask))]
    torch.testing.assert_close(losses[0], losses[1])
    losses[0].backward()
    assert model.null.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("objective", PROCESSES)
def test_a_tiny_model_learns_what_each_condition_means(objective):
    model = tiny(drop=0.1, objective=objective).train()
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


def test_a_config_without_an_objective_is_that_of_v_and_another_is_said():
    data = to_dict(tiny().config)
    assert data.pop("objective") == "v"
    assert from_dict(LatentDiffusionConfig, data).objective == "v"
    assert from_dict(LatentDiffusionConfig, data | {"objective": "flow"}).objective == "flow"
    with pytest.raises(ValueError, match="objective: expected one of 'v', 'flow', 'epsilon', came 'velocity'"):
        from_dict(LatentDiffusionConfig, data | {"objective": "velocity"})
    with pytest.raises(ValueError, match="subtract_input: belongs to objective v"):
        from_dict(LatentDiffusionConfig, data | {"objective": "flow", "subtract_input": True})


def test_a_config_that_says_nothing_of_what_tempers_guidance_has_what_holds_it():
    unet = tiny().config.unet
    for said in ({}, {"guidance": 2.0}):
        sample = LatentDiffusionConfig(unet, sample=SamplingSettings(**said)).sample
        assert sample == SamplingSettings(guidance=said.get("guidance", 5.0)).over(HELD).over(PLAIN)
    plain = LatentDiffusionConfig(unet, sample=SamplingSettings(guidance=1.5, rescale=0.0, interval=(0.0, 1.0))).sample  # as models before APG say it
    assert plain == SamplingSettings(guidance=1.5).over(PLAIN)
