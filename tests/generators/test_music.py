"""Musical time and pitch as a generator hears them: the metronome goes on across crops and windows, what is not said is silent."""

import math

import pytest
import torch

from mousai.config import from_dict, to_dict
from mousai.diffusion.schedules import schedule
from mousai.generators import latent_diffusion
from mousai.generators.latent_diffusion import LatentDiffusion, LatentDiffusionConfig
from mousai.generators.music import NUMBERS, PULSES, Music, MusicConfig, channels, curve_of, key_tones, metronome, numbers_of
from mousai.networks.dit import DiTConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.theory import METRES
from mousai.types import Condition, SamplingSettings

CONFIG = MusicConfig(hop=4096, points=2)
FRAME = 4096 / 48000


def numbers(**said) -> torch.Tensor:
    return torch.tensor([[said.get(name, math.nan) for name in NUMBERS]], dtype=torch.float64)


def unsaid(count: int, b: int = 1) -> torch.Tensor:
    return torch.zeros(b, 2, count)


def tiny(part: str, **changes) -> LatentDiffusion:
    torch.manual_seed(0)
    unet = UNet1dConfig(
        in_channels=4, channels=(16, 16), factors=(1, 2), items=(1, 1), cross_attentions=(1, 1),
        attention_heads=2, attention_features=8, embedding_features=6, modulation_features=32,
    )  # fmt: skip
    dit = DiTConfig(in_channels=4, features=32, layers=2, heads=2, patch=2, embedding_features=6)
    shape = {"unet": unet} if part == "unet" else {"dit": dit}
    changes = {"music": CONFIG, "max_tokens": 5, "sample": SamplingSettings(steps=4, guidance=2.0)} | changes
    return LatentDiffusion(LatentDiffusionConfig(**shape, **changes))


def told(b: int = 1, chords: torch.Tensor | None = None, **said) -> Condition:
    tokens = torch.randn(b, 3, 6, generator=torch.Generator().manual_seed(1))
    curves = {} if chords is None else {"chords": chords}
    return Condition(tokens, torch.ones(b, 3, dtype=torch.bool), numbers={name: torch.full((b,), float(value)) for name, value in said.items()}, curves=curves)


BEAT = dict(bpm=90, downbeat=0.3, metre=0)


@pytest.mark.parametrize("metre", METRES)
def test_the_hands_are_at_their_beginning_on_each_downbeat(metre):
    """A bar of each metre lasts whole frames here: 6 points at 2 a frame, a beat's worth, times its beats."""
    beat = 6 * 4096 / 48000 / 2
    made = metronome(CONFIG, numbers(bpm=60 / beat, downbeat=2048 / 48000 / 2, metre=list(METRES).index(metre)), unsaid(36), [0])[0]
    hands = made[:-1].unflatten(0, (2, 5, 2)).movedim(2, -1).flatten(-2)  # sine and cosine, pulses, points
    assert torch.equal(made[-1], torch.ones(36))
    for turns, sine, cosine in zip(PULSES[metre], *hands):
        place = 2 * math.pi * turns * torch.arange(72) / 6
        torch.testing.assert_close(torch.stack([sine, cosine]), torch.stack([place.sin(), place.cos()]), atol=1e-4, rtol=0)
    bars = torch.arange(0, 72, 6 * METRES[metre])
    torch.testing.assert_close(hands[1][2:, bars], torch.ones(3, len(bars)), atol=1e-4, rtol=0)


def test_the_phase_goes_on_across_windows_and_crops():
    whole = metronome(CONFIG, numbers(**BEAT), unsaid(60), [0])
    torch.testing.assert_close(metronome(CONFIG, numbers(**BEAT).expand(2, -1), unsaid(20, 2), [17, 40]), torch.cat([whole[..., 17:37], whole[..., 40:]]))
    torch.testing.assert_close(metronome(CONFIG, numbers(**BEAT, start=17 * FRAME), unsaid(20), [0]), whole[..., 17:37])
    late = 24 * 3600 * 48000 // 4096
    bar = 4 * 60 / 90
    again = metronome(CONFIG, numbers(**BEAT | {"downbeat": 0.3 + bar * 2}), unsaid(20), [late])
    torch.testing.assert_close(metronome(CONFIG, numbers(**BEAT), unsaid(20), [late]), again, atol=1e-6, rtol=0)


def test_a_curve_of_beats_moves_the_hands_as_numbers_do_and_goes_before_them():
    by_numbers = metronome(CONFIG, numbers(**BEAT), unsaid(40), [0])
    beats = (torch.arange(41, dtype=torch.float64) * FRAME - BEAT["downbeat"]) * BEAT["bpm"] / 60
    curve = torch.stack([beats[:-1] % 12, beats.diff()])[None]
    torch.testing.assert_close(metronome(CONFIG, numbers(bpm=70, downbeat=0.1, metre=0), curve, [0]), by_numbers, atol=1e-6, rtol=0)
    torch.testing.assert_close(metronome(CONFIG, numbers(), curve[..., 7:20].half(), [0]), by_numbers[..., 7:20], atol=0.06, rtol=0)
    curve[..., 20:] = 0  # said by nothing but the numbers
    torch.testing.assert_close(metronome(CONFIG, numbers(**BEAT), curve, [0]), by_numbers, atol=1e-6, rtol=0)
    assert metronome(CONFIG, numbers(), curve, [0])[0, -1].tolist() == [1.0] * 20 + [0.0] * 20


def test_what_is_not_said_is_zero():
    assert metronome(CONFIG, numbers(bpm=90), unsaid(8), [0]).count_nonzero() == 0
    assert channels(CONFIG, numbers(), torch.zeros(1, 12, 8), unsaid(8), [0]).count_nonzero() == 0
    assert channels(CONFIG, numbers(**BEAT), torch.zeros(1, 12, 8), unsaid(8), [0]).shape == (1, CONFIG.channels, 8)


def test_tones_of_a_key_and_chords():
    assert key_tones(numbers(root=9, mode=1))[0, :, 0].tolist() == [1, 0, 1, 0, 1, 1, 0, 1, 0, 2, 0, 1, 1]  # A minor: the white keys
    assert key_tones(numbers(root=9)).count_nonzero() == 0
    curve = torch.zeros(1, 12, 6)
    curve[:, [0, 4, 7], 3:] = 1.0
    heard = channels(CONFIG, numbers(), curve_of(told(chords=curve), "chords", 2, 8), unsaid(8), [2])[0, -13:]
    assert heard[-1].tolist() == [0, 1, 1, 1, 1, 1, 1, 1] and heard[:12, 7].nonzero()[:, 0].tolist() == [0, 4, 7]


def test_numbers_of_a_condition_and_of_none():
    torch.testing.assert_close(numbers_of(told(**BEAT)), numbers(**BEAT), equal_nan=True, atol=1e-6, rtol=0)
    assert numbers_of(None, 3).isnan().all() and numbers_of(None, 3).shape == (3, 6)


def test_parts_are_dropped_apart_and_together():
    music = Music(MusicConfig(hop=4096, drop_tempo=0.5, drop_key=0.5, drop_chords=0.5), 8)
    many, everything = numbers(**BEAT, root=2, mode=0, start=1.0).expand(400, -1), torch.arange(400) < 100
    found, chords, beat = music.dropped(many, torch.ones(400, 12, 4), torch.ones(400, 2, 4), everything, torch.Generator().manual_seed(0))
    assert torch.equal(beat[:, 0, 0] == 0, found[:, 0].isnan())
    tempo, key, curve = found[:, 0].isnan(), found[:, 3].isnan(), chords[:, 0, 0] == 0
    for gone in (tempo, key, curve):
        assert gone[:100].all() and 0.4 < gone[100:].float().mean() < 0.85
    assert (tempo[100:] & ~key[100:]).any() and (key[100:] & ~tempo[100:]).any() and (curve[100:] & ~key[100:]).any()
    assert not (key & ~curve).any() and (found[:, -1] == 1.0).all() and not many.isnan().any()


@pytest.mark.parametrize("part", ["unet", "dit"])
@torch.no_grad()
def test_every_part_is_heard_and_rows_of_windows_are_as_alone(part):
    model, times, x = stirred(tiny(part)).eval(), schedule("linear", 4), torch.randn(2, 4, 8)
    plain = told(**BEAT, root=2, mode=0)
    others = [told(**BEAT | {"bpm": 120}, root=2, mode=0), told(**BEAT, root=3, mode=0), told(**BEAT | {"metre": 1}, root=2, mode=0), told()]
    curve = torch.zeros(1, 12, 20)
    curve[:, [2, 6, 9], 10:] = 1.0
    conditions = [plain, *others, told(**BEAT, root=2, mode=0, chords=curve), None]
    rows = model.predictor(conditions, SamplingSettings(steps=4, guidance=1.0), times)

    def at(which: int, first: int) -> torch.Tensor:
        return rows(x[:1], times[:1], torch.tensor([which]), torch.tensor([which]), [first])

    expected = at(0, 0)
    for which in (1, 2, 3, 4, 6):
        assert not torch.allclose(at(which, 0), expected, atol=1e-4), which
    torch.testing.assert_close(at(5, 0), expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(at(5, 8), at(0, 8), atol=1e-4)
    both = rows(x[:1].expand(2, -1, -1), times[[0, 0]], torch.tensor([5, 1]), torch.tensor([5, 1]), [8, 3])
    torch.testing.assert_close(both, torch.cat([at(5, 8), at(1, 3)]), atol=1e-5, rtol=1e-4)


def stirred(model: LatentDiffusion) -> LatentDiffusion:
    """With weights that begin as zero made otherwise, so that everything has a say."""
    for weight in model.parameters():
        weight.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("part", ["unet", "dit"])
def test_a_tiny_model_learns_the_beat_and_keeps_it_over_a_crop(part):
    """The data are the beat itself: only the metronome tells where it is."""
    model = tiny(part, music=MusicConfig(hop=4096, points=2, drop_tempo=0.1), sample=SamplingSettings(steps=8, guidance=1.0)).train()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def batch(b: int) -> tuple[torch.Tensor, Condition]:
        bpm, start = 60 + 40 * torch.rand(b, generator=generator), 9 * torch.rand(b, generator=generator)
        condition = told(b, downbeat=0.0, metre=0)
        condition = Condition(condition.tokens, condition.mask, numbers={**condition.numbers, "bpm": bpm, "start": start})
        seconds = start[:, None] + (torch.arange(16) + 0.5) * 4096 / 48000
        return torch.sin(2 * math.pi * seconds * bpm[:, None] / 60)[:, None].expand(-1, 4, -1) * 1.4, condition

    losses = []
    for _ in range(160):
        latents, condition = batch(16)
        loss, _ = model.loss(latents, condition, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    latents, condition = batch(4)
    made = model.eval().sample(condition, 16, seeds=[0, 1, 2, 3])
    assert sum(losses[-20:]) < 0.6 * sum(losses[:20])
    assert torch.nn.functional.cosine_similarity(made.flatten(1), latents.flatten(1)).mean() > 0.8


def test_what_is_told_beside_is_made_once_for_all_steps(monkeypatch):
    made = []
    monkeypatch.setattr(latent_diffusion, "channels", lambda *given: made.append(given) or channels(*given))
    tiny("unet").eval().sample(told(2, **BEAT), 8, seeds=[0, 1], settings=SamplingSettings(steps=3, guidance=2.0))
    assert len(made) == 4  # two prompts, each against "no condition"


@pytest.mark.parametrize("part", ["unet", "dit"])
def test_a_config_comes_back_and_a_model_without_music_has_none_of_it(part):
    config = tiny(part).config
    assert from_dict(LatentDiffusionConfig, to_dict(config)) == config
    plain = tiny(part, music=None)
    assert not any(name.startswith("music") for name in plain.state_dict()) and plain.accepts.numbers == ()
    assert plain.sample(told(**BEAT), 9, seeds=[0]).shape == (1, 4, 9)
    with pytest.raises(ValueError, match="one of unet, dit and stable_audio"):
        LatentDiffusionConfig(None)


def test_the_u_net_that_hands_x_on_still_does_with_channels_beside():
    model = tiny("unet", subtract_input=True)
    adapter = model.unet.levels[0].skip_adapter
    x = torch.randn(1, 4 + CONFIG.channels, 6)
    torch.testing.assert_close(adapter(x), x[:, :4])
