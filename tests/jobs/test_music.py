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
        return rendering.piece, rendering.conditions[0].numbers

    piece, numbers = told("techno")
    beat = 60 / clip.recipe["bpm"]
    assert (piece.bpm, piece.key, piece.metre) == tuple(clip.recipe[name] for name in ("bpm", "key", "metre"))
    assert (float(numbers["downbeat"]) + 3.1) / (4 * beat) == pytest.approx(round((float(numbers["downbeat"]) + 3.1) / (4 * beat)), abs=1e-4)
    piece, numbers = told("techno, 99 bpm")
    assert piece.bpm == 99 and piece.key == clip.recipe["key"] and numbers["downbeat"] == 0
