"""Musical time from a manifest to a trained generator, and what must fit together."""

import json

import pytest
import torch

from mousai import config
from mousai.data.latents import LatentCrops
from mousai.data.loader import batches
from mousai.jobs.cache import cache
from mousai.jobs.train import train
from mousai.pipelines.cascade import load
from mousai.pipelines.long_form import Rendering
from mousai.recipe import load_recipe
from mousai.request.piece import Piece, Section
from mousai.types import Condition

MUSIC = {"type": "music_text", "max_length": 16}
GENERATOR = {
    "type": "latent_diffusion", "max_tokens": 16, "sample": {"steps": 2}, "stratified": True,
    "dit": {"in_channels": 4, "features": 16, "layers": 1, "heads": 2, "patch": 2, "embedding_features": 32}, "music": {"hop": 64, "sample_rate": 16000},
}  # fmt: skip


@pytest.fixture
def recipe(generator_recipe, music):
    """Of four files, of 1, 1.5, 2 and 2.5 s, the first has no tempo; segments are of a second."""
    rows = [json.loads(line) for line in music.read_text().splitlines()]
    for row in rows[1:]:
        row |= {"bpm": 90, "key": "D minor", "metre": "3/4", "downbeats": [0.25, 2.25], "chords": [[0.0, "Dm"], [1.0, "A7"]]}
    music.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = config.read_yaml(generator_recipe)
    config.write_yaml(generator_recipe, data | {"conditioner": data["conditioner"] | MUSIC, "generator": GENERATOR})
    return generator_recipe


def test_windows_know_where_they_are_in_the_music(recipe, tmp_path):
    cache(recipe)
    windows = LatentCrops(load_recipe(recipe).data, None, 0)
    seconds = {item["id"]: 64 * item["frames"] / 16000 for item in windows.items}
    batch = next(batches(windows, 32))
    known = ~batch["numbers.bpm"].isnan()
    assert known.any() and not known.all()
    assert (batch["numbers.bpm"][known] == 90).all() and (batch["numbers.root"][known] == 2).all() and (batch["numbers.metre"][known] == 1).all()
    assert batch["numbers.downbeat"][~known].isnan().all() and (batch["curves.chords"][~known] == 0).all()
    assert (batch["numbers.start"] <= max(seconds.values()) - 64 * 64 / 16000).all() and batch["numbers.start"].unique().numel() > 4
    downbeats = {round(value, 4) for value in batch["numbers.downbeat"][known].tolist()}
    assert downbeats == {0.25, -0.75} or downbeats >= {0.25, -0.75, -1.0}  # of the first segment and of the second, of 2 and of 2.5 s
    row = int(known.nonzero()[0])
    middle = batch["numbers.start"][row] + 32.5 * 64 / 16000
    heard = batch["curves.chords"][row, :, 32].nonzero()[:, 0].tolist()
    chord_begins = 0.75 + batch["numbers.downbeat"][row]
    assert heard == ([1, 4, 7, 9] if middle > chord_begins else [2, 5, 9])


def test_a_generator_is_trained_with_it_and_makes_music(recipe, tmp_path, monkeypatch):
    cache(recipe)
    outcome = train(recipe, tmp_path / "run")
    assert outcome.reason == "done"
    cascade = load(tmp_path / "run/model")
    assert cascade.generator.accepts.numbers and cascade.conditioner.gives.numbers
    assert cascade.generate("piano, 90 bpm, D minor", 0.5).shape == (1, 2, 8000)

    real, against = cascade.generator.sample, []
    monkeypatch.setattr(cascade.generator, "sample", lambda *told, negative=None, **how: against.append(negative) or real(*told, negative=negative, **how))
    cascade.generate(["piano, 90 bpm", "piano, 60 bpm"], 0.5, guidance=2.0, negative="drums")
    assert against[0].numbers["bpm"].tolist() == [90, 60] and against[0].numbers["downbeat"].tolist() == [0, 0]
    rendering = Rendering(cascade, Piece([Section("piano, 75 bpm", 2.0, "drums")], guidance=2.0, window=1.0))
    assert [each.numbers["bpm"].item() for each in (*rendering.conditions, *rendering._negatives)] == [75, 75]


def test_frames_of_another_length_are_refused_in_one_line(recipe, tmp_path):
    cache(recipe)
    with pytest.raises(ValueError, match=r"reckons with latent frames of 0.008 s, the codec's last 0.004 s \(64 samples of 16000 Hz\)"):
        train(recipe, tmp_path / "run", ["generator.music.hop=128"])


@pytest.mark.parametrize("network", ["dit", "unet"])
def test_the_starter_s_recipes_are_read_and_their_networks_fit(network):
    made = load_recipe(f"recipes/starter/generator_{network}.yaml").generator.build(seed=0)
    assert made.latent_channels == 128 and made.frame_seconds == 4096 / 48000
    assert 6e6 < sum(weight.numel() for weight in made.parameters()) < 16e6
    latents, tokens = torch.randn(2, 128, 16), torch.randn(2, 4, 384)
    loss, _ = made.loss(latents, Condition(tokens, torch.ones(2, 4, dtype=torch.bool)), torch.Generator().manual_seed(0))
    assert 0.5 < loss < 2.0


def test_tempo_and_key_are_asked_for_said_drawn_and_replayed(recipe, tmp_path):
    from mousai.audio import io
    from mousai.jobs.generate import generate
    from mousai.jobs.replay import replay
    from mousai.request.clip import Request

    cache(recipe)
    train(recipe, tmp_path / "run")
    model, out = tmp_path / "run/model", tmp_path / "out"
    clips = list(generate(Request(("techno, 130 bpm", "slow waltz"), 0.5, key="F#m", chords="Am F", batch=1), model, out))
    assert [(clip.recipe["bpm"], clip.recipe["metre"], clip.recipe["key"]) for clip in clips][0] == (130.0, "4/4", "F# minor")
    assert clips[1].recipe["bpm"] < 80 and clips[1].recipe["metre"] == "3/4" and clips[1].recipe["chords"] == "Am F"
    assert io.read_metadata(clips[1].path)["bpm"] == clips[1].recipe["bpm"]
    again = replay(clips[1].path, model)
    assert again.same and not again.differs

    cascade = load(model)
    plain, faster = (cascade.generate("techno, 130 bpm", 0.5, **more) for more in ({}, {"bpm": 150}))
    assert torch.equal(cascade.generate("techno, 130 bpm", 0.5, bpm=130), plain) and not torch.allclose(plain, faster, atol=1e-5)


def test_a_long_piece_keeps_its_beat_over_windows_and_sections(recipe, tmp_path):
    from mousai.pipelines.long_form import Rendering
    from mousai.request.piece import Piece, Section

    cache(recipe)
    train(recipe, tmp_path / "run")
    cascade = load(tmp_path / "run/model")
    piece = Piece((Section("techno", 4.0), Section("piano", 4.0), Section("jazz, 100 bpm", 4.0)), seed=1, chords="Am F", window=2.0)
    rendering = Rendering(cascade, piece)
    first, second, third = rendering.conditions
    assert rendering.piece.bpm == first.numbers["bpm"] == second.numbers["bpm"] and 120 <= rendering.piece.bpm <= 142
    assert first.numbers["downbeat"] == second.numbers["downbeat"] == 0 and third.numbers["downbeat"] == 8 and third.numbers["bpm"] == 100
    bar = 240 / rendering.piece.bpm
    for frame, tones in ((0, [0, 4, 9]), (round(1.5 * bar / 0.004), [0, 5, 9]), (round(2.5 * bar / 0.004), [0, 4, 9])):
        assert first.curves["chords"][0, :, frame].nonzero()[:, 0].tolist() == tones
    assert Piece.from_dict(rendering.piece.to_dict()) == rendering.piece
    loop = Rendering(cascade, Piece((Section("techno", 16.3),), loop=True, window=2.0))
    beats = loop.piece.bpm * 16.3 / 60
    assert beats / 4 == pytest.approx(round(beats / 4)) and loop.conditions[0].numbers["start"] == pytest.approx(-loop.lead * 0.004)
    assert sum(block.shape[-1] for block in cascade.render(Piece((Section("techno", 3.0),), window=2.0))) == 3 * 16000


def test_what_goes_on_from_a_clip_keeps_its_music_and_its_bars(recipe, tmp_path):
    from mousai.jobs.generate import generate
    from mousai.pipelines.long_form import Rendering, lead_of
    from mousai.request.clip import Request
    from mousai.request.piece import Piece, Section

    cache(recipe)
    train(recipe, tmp_path / "run")
    cascade = load(tmp_path / "run/model")
    [clip] = generate(Request("techno", 3.1), tmp_path / "run/model", tmp_path)

    def told(prompt: str, **said):
        piece = Piece((Section(prompt, 4.0),), extend=str(clip.path), window=2.0, **said)
        rendering = Rendering(cascade, piece, lead_of(cascade, piece)[0])
        return rendering.piece, rendering.conditions[0] and rendering.conditions[0].numbers

    piece, numbers = told("techno")
    beat = 60 / clip.recipe["bpm"]
    assert (piece.bpm, piece.key, piece.metre) == tuple(clip.recipe[name] for name in ("bpm", "key", "metre"))
    assert (float(numbers["downbeat"]) + 3.1) / (4 * beat) == pytest.approx(round((float(numbers["downbeat"]) + 3.1) / (4 * beat)), abs=1e-4)
    piece, numbers = told("techno, 99 bpm")
    assert piece.bpm == 99 and piece.key == clip.recipe["key"] and numbers["downbeat"] == 0


@pytest.fixture
def trained(recipe, tmp_path):
    """The folder of a model that is told musical time."""
    cache(recipe)
    train(recipe, tmp_path / "run")
    return tmp_path / "run/model"


def clicks(bpm: float, first: float, seconds: float) -> torch.Tensor:
    """A recording `(2, s)` at 16 kHz with a click a beat."""
    audio, n = torch.zeros(2, round(seconds * 16000)), torch.arange(2000)
    for beat in range(int((seconds - first - 0.2) * bpm / 60) + 1):
        place = round((first + beat * 60 / bpm) * 16000)
        audio[:, place : place + 2000] += 0.5 * torch.exp(-n / 200) * torch.sin(2 * torch.pi * 900 * n / 16000)
    return audio


def test_tempo_glides_over_windows_and_sections_without_a_jump_of_the_beat(trained):
    from mousai.generators.music import metronome, numbers_of
    from mousai.pipelines.long_form import Rendering
    from mousai.request.piece import Piece, Section

    cascade = load(trained)
    sections = (Section("techno", 6.0, bpm=100), Section("techno", 6.0, bpm=140, transition=4.0), Section("jazz, 90 bpm", 6.0, transition=2.0))
    plain, whole = (Rendering(cascade, Piece(sections, window=2.0, metre="4/4", glide=glide)) for glide in (None, True))
    assert all("beat" not in each.curves for each in plain.conditions) and plain.conditions[1].numbers["downbeat"] == 6
    first, *others = (each.curves["beat"] for each in whole.conditions)
    assert all(torch.equal(first, other) for other in others)
    assert [each.numbers["bpm"] for each in whole.conditions] == [100, 140, 90]
    place, passes = first[0].double()
    torch.testing.assert_close(((place + passes)[:-1] - place[1:] + 6) % 12, torch.full((len(place) - 1,), 6.0, dtype=torch.float64), atol=1e-4, rtol=0)
    tempo = passes / 0.004 * 60
    assert tempo[:900].sub(100).abs().max() < 0.1 and tempo[2100:4100].max() < 140.1 and tempo[-500:].sub(90).abs().max() < 0.1
    assert tempo.diff().abs().max() < 0.2
    config, told = cascade.generator.config.music, whole.conditions[0]
    everything = metronome(config, numbers_of(told), told.frames(0, 4400).curves["beat"], [0])
    some = metronome(config, numbers_of(told), told.frames(1300, 400).curves["beat"], [1300])
    torch.testing.assert_close(some, everything[..., 1300:1700])
    with pytest.raises(ValueError, match="bpm: expected"):
        Piece.from_dict({"sections": [{"prompt": "a", "seconds": 5, "bpm": 7}]})
    assert Piece.from_dict(whole.piece.to_dict()) == whole.piece


def test_a_short_loop_goes_round_in_one_window_and_is_replayed(trained, tmp_path):
    from mousai.diffusion.ring import Ring
    from mousai.jobs.render.job import render
    from mousai.jobs.replay import replay
    from mousai.pipelines.long_form import Rendering
    from mousai.pipelines.settled import resolved
    from mousai.request.piece import Piece, Section

    cascade = load(trained)
    one, several, free = (Piece((Section("techno", seconds),), loop=True, bpm=120, metre="4/4") for seconds in (1.0, 2.0, 2.1))
    cascade.crop_frames = 2500  # 10 s
    for piece, seconds in ((several, 4 * 2 + 2.0), (free, 2.1 + 2.1)):
        assert resolved(cascade, piece)[0].window == pytest.approx(seconds)
    rendering = Rendering(cascade, several)
    assert isinstance(rendering.denoiser(), Ring) and rendering.grid.count == 1
    again = Rendering(cascade, rendering.piece)
    assert again.grid == rendering.grid and again.piece == rendering.piece
    blocks = torch.cat(list(cascade.render(several)), dim=-1)
    assert blocks.shape == (2, 32000)
    jump = (blocks[:, 0] - blocks[:, -1]).abs().max()
    assert jump <= blocks.diff(dim=-1).abs().max()
    render([one], trained, tmp_path / "loop.flac")
    assert replay(tmp_path / "loop.flac", trained).same


def test_a_foreign_recording_gives_tempo_bars_and_key(trained, tmp_path):
    from mousai.audio import io
    from mousai.jobs.generate import generate
    from mousai.jobs.replay import replay
    from mousai.pipelines.long_form import Rendering, lead_of
    from mousai.request.clip import Request
    from mousai.request.piece import Piece, Section

    cascade, place, lines = load(trained), tmp_path / "take.wav", []
    io.write(place, clicks(110, 0.3, 20.11), 16000)
    beat = 60 / 110

    def told(**said):
        piece = Piece((Section(said.pop("prompt", ""), 4.0),), extend=str(place), window=2.0, guidance=1.0, **said)
        rendering = Rendering(cascade, piece, lead_of(cascade, piece)[0])
        return rendering.piece, rendering.conditions[0] and rendering.conditions[0].numbers

    piece, numbers = told()
    assert piece.bpm == numbers["bpm"] == 110
    off = ((float(numbers["downbeat"]) + 20.11 - 0.3) / beat + 0.5) % 1 - 0.5
    assert abs(off) < 0.02, off
    assert told(bpm=90)[0].downbeat is None and told(bpm=90)[1]["downbeat"] == 0
    assert told(prompt="techno, 90 bpm")[0].bpm == 90 and told(listen=False)[1] is None
    assert told(bpm=110, downbeat=0.3)[1]["downbeat"] == pytest.approx((0.3 - 20.11) % (4 * beat), abs=1e-3)

    [clip] = generate(Request("piano", init=place, strength=0.5), trained, tmp_path, say=lines.append)
    assert clip.recipe["bpm"] == clip.recipe["heard"]["bpm"] == 110 and abs(((clip.recipe["downbeat"] - 0.3) / beat + 0.5) % 1 - 0.5) < 0.02
    assert lines == [f"{place} has 110 bpm"]
    assert replay(clip.path, trained, recording=place).same
    [clip] = generate(Request("piano", init=place, strength=0.5, listen=False), trained, tmp_path)
    assert "bpm" not in clip.recipe and "heard" not in clip.recipe
    io.write(place, 0.1 * torch.randn(2, 160000, generator=torch.Generator().manual_seed(0)), 16000)
    assert told()[0].bpm is None


def test_a_recording_is_heard_once_a_request_by_what_the_words_say(trained, tmp_path, monkeypatch):
    from mousai.jobs.generate import generate
    from mousai.pipelines import recording
    from mousai.request.clip import Request

    calls, real, lines = [], recording.hear_audio, []
    monkeypatch.setattr(recording, "hear_audio", lambda audio, rate, *said: calls.append(said) or real(audio, rate, *said))
    take = clicks(110, 0.3, 20.11).bfloat16().requires_grad_()
    made = list(generate(Request(["piano", "calm", "techno, 90 bpm"], init=take, strength=0.5, steps=1, guidance=1.0), trained, tmp_path, say=lines.append))
    assert calls == [(None, None), (90.0, None)]
    assert [clip.recipe["bpm"] for clip in made] == [110, 110, 90] and [clip.recipe["heard"]["bpm"] for clip in made] == [110, 110, 110]
    assert lines == ["the recording has 110 bpm"]


def test_what_a_piece_says_that_it_heard_is_what_it_plays(trained, tmp_path, monkeypatch):
    from mousai.audio import io
    from mousai.jobs.render.job import render
    from mousai.pipelines import recording

    calls, real = [], recording.hear
    monkeypatch.setattr(recording, "hear", lambda *given: calls.append(given[1:]) or real(*given))
    io.write(tmp_path / "take.wav", clicks(110, 0.3, 20.11), 16000)
    piece = Piece((Section("", 4.0),), extend=str(tmp_path / "take.wav"), window=2.0, guidance=1.0, title="on")
    [done] = render([piece], trained, tmp_path / "out").results
    recipe = io.read_metadata(done.file)
    assert calls == [(None, None)] and recipe["heard"]["bpm"] == recipe["piece"]["bpm"] == 110
    assert recipe["heard"]["downbeat"] == recipe["piece"]["downbeat"]


def test_an_older_cache_goes_on_without_beats_as_a_curve(recipe, monkeypatch, capsys):
    from mousai.conditioners import music
    from mousai.config import read_yaml

    with monkeypatch.context() as before:
        before.setattr(music, "CURVES", {"chords": 12})
        before.setattr(music.MusicTextConditioner, "of_recording", lambda self, *given, real=music.MusicTextConditioner.of_recording: {
            name: part for name, part in real(self, *given).items() if name != "curves.beat"
        })  # fmt: skip
        first = cache(recipe)
    folder = read_yaml(recipe)["data"]["cache"]
    second = cache(recipe)
    assert second.added == 0 and second.items == first.items and "curves.beat" in capsys.readouterr().err
    assert "beat" not in LatentCrops(load_recipe(recipe).data, None, 0).gives.curves and folder
