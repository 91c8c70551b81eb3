"""Composing: what always holds, that the same is the same again, that it can go on for ever, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mousai import checkpoint
from mousai.cli.main import main
from mousai.jobs import compose as job, info
from mousai.jobs.compose_again import replay
from mousai.jobs.train import train
from mousai.pipelines.symbolic import Symbolic, load
from mousai.recipe import load_part
from mousai.request.instruments import programs
from mousai.request.music import Music
from mousai.request.score import ScoreRequest, words_of
from mousai.request.score_piece import ScorePiece
from mousai.symbolic import midi
from mousai.symbolic.composer import Composer
from mousai.symbolic.limits import BASS
from mousai.symbolic.plan import plan_of
from mousai.symbolic.players import instruments_in
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score, notes_of
from mousai.theory import SCALES, chord_tones, key_of


@pytest.fixture(scope="module")
def composer(untrained: Path) -> Symbolic:
    return load(untrained)


@pytest.mark.parametrize("prompt, settings", [
    ("slow melancholic piano in F minor, 3/4", {}),
    ("bossa nova", {"key": "Eb major", "bpm": 132, "metre": "4/4"}),
    ("jig", {"instruments": "flute, cello, drums", "key": "B minor", "metre": "6/8", "density": 2.0}),
    ("rock", {"chords": "F#m D A E7", "metre": "2/4"}),
])  # fmt: skip
def test_what_always_holds(composer: Symbolic, prompt: str, settings: dict) -> None:
    request = ScoreRequest(prompt=prompt, bars=9, seed=3, temperature=1.5, **settings)
    plan, score = plan_of(request), composer.compose(request)
    starts = [start for start, _ in score.bars(plan.bar_length * 40 * 9)]
    assert len(starts) == 9 and score.metres == ((0, *plan.metre),) and score.tempos == ((0, plan.quarters),)
    assert score.keys[0][1:] == (score.keys[0][1], plan.mode == "minor") and score.end <= 9 * plan.bar_length * 40  # nothing is left hanging
    played = np.concatenate([part.notes[:, START] for part in score.parts]) // (plan.bar_length * 40)
    assert set(played.tolist()) == set(range(9))  # somebody plays in every bar
    ticks = np.array([tick for tick, _ in score.chords])
    for part, player in zip(score.parts, plan.players, strict=True):
        notes = part.notes
        assert ((notes[:, PITCH] >= player.low) & (notes[:, PITCH] <= player.high)).all() and (notes[:, LENGTH] > 0).all()
        if part.drums:
            continue
        scale = {(plan.root + step) % 12 for step in SCALES[plan.mode]}
        for note in notes:
            chord = score.chords[int(np.searchsorted(ticks, note[START], side="right")) - 1][1]
            given = chord_tones(plan.chords[int(note[START]) // (plan.bar_length * 40) % len(plan.chords)]) if plan.chords else ()
            assert int(note[PITCH]) % 12 in scale | set(chord_tones(chord)) | set(given)
            if player.track.family == BASS and int(note[START]) % (plan.bar_length * 40) in (0, plan.half * 40):
                assert int(note[PITCH]) % 12 in set(given or chord_tones(chord))
    if plan.chords:
        assert [symbol for _, symbol in score.chords][:4] == ["F#m", "D", "A", "E"]
    else:
        assert key_of(score.chords[-1][1]) == (plan.root, plan.mode)  # it ends on its tonic


def test_the_same_again_is_the_same_and_another_seed_is_not(composer: Symbolic) -> None:
    one, other, third = (composer.compose("jazz", bars=6, seed=seed) for seed in (1, 1, 2))
    assert midi.encoded(one) == midi.encoded(other) != midi.encoded(third)
    assert one.recipe["compose"] == {"prompt": "jazz", "bars": 6, "seed": 1, "guidance": 1.5, "temperature": 0.9, "spread": 0.6, "reading": 2}


def test_without_end_in_memory_of_one_size_and_from_any_bar(composer: Symbolic) -> None:
    plan = plan_of(ScoreRequest(prompt="string quartet", seed=5), endless=True)
    going = Composer(composer.phrases, composer.prior, plan)

    def size() -> int:
        memory = going.memory
        tensors = [*memory.latents, *(part for state in memory.states for part in state)]
        return sum(tensor.numel() for tensor in tensors) + len(memory.chords) + len(memory.phrases)

    bars, sizes, kept = [], [], None
    for bar in going.bars():
        bars.append(bar)
        sizes.append(size())
        if len(bars) == 16:
            kept = going.memory.copied()
        if len(bars) == 40:
            break
    assert sizes[8] == sizes[-1]
    again = Composer(composer.phrases, composer.prior, plan, kept)
    for bar, other in zip(bars[16:], again.bars()):
        assert bar.chords == other.chords and all(np.array_equal(a, b) for a, b in zip(bar.phrases, other.phrases, strict=True))
    streamed = next(iter(composer.stream("string quartet", seed=5)))
    assert sum(len(phrase) for phrase in bars[0].phrases) >= streamed.num_notes > 0


def test_words_say_what_they_became() -> None:
    prompt = "slow melancholic piano in F minor, 3/4, with a glass harmonica"
    words = words_of(prompt, instruments_in(prompt))
    assert words.heard | {"instruments": 0} == {"key": "F minor", "metre": "3/4", "style": "piano", "tempo": "slow", "mode": "minor", "instruments": 0}
    assert words.unheard == ("glass",) and set(words.heard["instruments"]) == {"piano", "harmonica"}
    assert words_of("busy brass band at 96 bpm in Bb major", {}).unheard == ()
    assert words_of("500 bpm, 11/8, rubato", {}).unheard == ("500", "11/8", "rubato")
    assert words_of("slow rock", {}).alone("style").unheard == ("slow",)
    words = job.heard_in(ScoreRequest(prompt="melancholic waltz in F minor, slow oboe", key="C major", bpm=90.0))
    assert words.heard == {"instruments": ["oboe"], "bpm": 90.0, "key": "C major", "metre": "3/4"} and set(words.unheard) == {"in F minor", "melancholic", "slow"}
    assert job.heard_in(ScoreRequest(prompt="slow sad rock with a flute"), job.KEPT).unheard == ("flute", "slow", "sad")


@pytest.mark.parametrize("wrong, said", [
    ({"key": "H minor"}, "key: expected a key"), ({"metre": "7/8"}, "metre: expected"), ({"instruments": "kazoo"}, "instruments: expected names"), ({"prompt": "march in 7/8"}, "the prompt says 7/8"), ({"bars": 0}, "bars: expected"),
    ({"key": ""}, "^key: expected a key such as .* came ''$"), ({"instruments": ""}, "^instruments: is empty; name who plays"), ({"chords": " "}, "^chords: is empty; name them"), ({"instruments": "kazoofon"}, "'kazoofon' is none: General MIDI has"),
    ({"bars": 4, "seconds": 9.0}, "give one"), ({"density": 9.0}, "density: expected"), ({"chords": "Q7"}, "chords: expected a chord"), ({"downbeat": 1.0}, "begins with a bar"),
    ({"instruments": "piano," * 8 + "piano"}, "at most 8"), *(({"instruments": wrong}, "instruments: expected names, such as") for wrong in (5, ["piano", 3], {"a": 1})),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(wrong: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        plan_of(ScoreRequest(**{"prompt": "piano", **wrong}))
    assert "\n" not in str(error.value)


def test_parts_that_do_not_belong_together_are_refused(untrained: Path, make_composer: Callable[[Path, int], Path], tmp_path: Path) -> None:
    other = make_composer(tmp_path / "other", 1)
    settings, state = checkpoint.load_model(untrained)
    _, foreign = checkpoint.load_model(other)
    mixed = {name: (foreign if name.startswith("phrases.") else state)[name] for name in state}
    checkpoint.save_model(tmp_path / "mixed", {name: settings[name] for name in ("phrases", "prior", "grid", "trained_for")}, mixed, "")
    with pytest.raises(ValueError, match=f"was trained for the phrase VAE {settings['trained_for']}, the one in the folder is"):
        load(tmp_path / "mixed")
    with pytest.raises(ValueError, match="composes no scores"):
        load("starter")


def test_the_command_line_composes_replays_and_tells(untrained: Path, practice: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code or 0, capsys.readouterr().out

    code, out = run("compose", "lofi, sparse", "--bars", 4, "--seed", 3, "--out", tmp_path / "a.mid", "--render", tmp_path / "a.flac", "--stems", "--model", untrained, "--json")
    assert code == 0
    made = json.loads(out)["scores"][0]
    assert {Path(made[name]).name for name in ("path", "picture", "audio")} == {"a.mid", "a.png", "a.flac"} and made["heard"] == {"style": "lofi", "density": 0.5}
    score = midi.read(tmp_path / "a.mid")
    assert made["bars"] == 4 and [track["name"] for track in made["tracks"]] == [part.name for part in score.parts] and len(made["stems"]) == len(score.parts) and all(Path(stem).is_file() for stem in made["stems"])
    code, out = run("replay", tmp_path / "a.mid", "--model", untrained)
    assert code == 0 and "the same bytes" in out and (tmp_path / "a-replay.mid").read_bytes() == (tmp_path / "a.mid").read_bytes()
    assert info.describe(tmp_path / "a.mid")["made_by"]["compose"]["prompt"] == "lofi, sparse"
    midi.write(tmp_path / "plain.mid", replace(score, recipe=None))
    for wrong in (["compose", "x", "--bars", 4, "--key", "H"], ["compose", "x", "--stems"], ["compose"], ["replay", tmp_path / "plain.mid"], ["compose", "x", "--out", tmp_path / "b.mid", "--render", tmp_path / "c.wav"]):
        code, _ = run(*wrong, "--model", untrained)
        assert code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-replay.mid", "a-stems", "a.flac", "a.mid", "a.png", "plain.mid"]
    (tmp_path / "left-stems").mkdir()
    code, out = run("compose", "solo piano", "--bars", 1, "--out", tmp_path / "left.mid", "--render", "wav", "--stems", "--no-picture", "--model", untrained, "--json")
    assert code == 0 and Path(json.loads(out)["scores"][0]["path"]).name == "left-2.mid" and not list((tmp_path / "left-stems").iterdir())
    for wrong in (["--loudness", 3], ["--seconds", 3600], ["--continue", tmp_path / "left-2.mid", "--seconds", 3600]):
        code, _ = run("compose", "solo piano", "--out", tmp_path / "long.mid", "--render", "wav", *wrong, "--model", untrained)
        assert code == 2 and not list(tmp_path.glob("long*"))
    assert run("data", "scan", practice, "--workers", 2)[0] == 2
    several = list(job.compose([ScoreRequest(prompt="jazz", bars=2, seed=seed) for seed in (0, 1)], untrained, tmp_path / "two", picture=False))
    assert [made.path.name for made in several] == ["jazz-0.mid", "jazz-1.mid"]


def test_a_run_from_recipes_to_music_and_one_that_was_stopped(practice: Path, tiny: tuple[dict, dict, dict], tmp_path: Path) -> None:
    how = {"batch_size": 1, "lr": 1e-3, "valid_every": 2, "valid_batches": 1, "save_every": 2, "ema": {"beta": 0.5}}
    phrases = {"format": 1, "phrases": tiny[0], "data": {"sources": [str(practice)], "pack": 256, "infilling": 1, "autoencoding": 1}, "train": {"steps": 4, **how}}
    (tmp_path / "phrases.yaml").write_text(json.dumps(phrases))
    assert train(tmp_path / "phrases.yaml", tmp_path / "vae").reason == "done"
    prior = {
        "format": 1, "phrases": {"path": str(tmp_path / "vae/model")}, "prior": tiny[1],
        "data": {"sources": [str(practice)], "cache": str(tmp_path / "latents.safetensors"), "elements": 32}, "train": {"steps": 4, **how, "batch_size": 2},
    }  # fmt: skip
    (tmp_path / "prior.yaml").write_text(json.dumps(prior))
    for name, overrides in (("whole", ([],)), ("parts", (["train.steps=2"], []))):
        for override in overrides:
            train(tmp_path / "prior.yaml", tmp_path / name, override)
    whole, parts = (checkpoint.load_model(tmp_path / name / "model")[1] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    made = load(tmp_path / "whole/model")
    assert made.compose("piano", bars=2).num_notes > 0
    described = info.describe(tmp_path / "whole")
    assert described["trains"] == "prior" and described["done"]
    del prior["prior"]
    (tmp_path / "grid.yaml").write_text(json.dumps({**prior, "grid": tiny[2], "train": {**prior["train"], "steps": 2}}))
    assert train(tmp_path / "grid.yaml", tmp_path / "grid").reason == "done" and info.describe(tmp_path / "grid")["trains"] == "grid"
    assert load_part("grid", tmp_path / "grid/model").scale.ne(1).any()  # it has looked at the latents
    with pytest.raises(ValueError, match="composes no scores"):
        load(tmp_path / "grid/model")
    with pytest.raises(ValueError, match="has no prior of the grid"):
        made.infill(made.compose("piano", bars=2), (1, 1))


def test_it_goes_on_from_a_score_which_stays_as_it_is(composer: Symbolic, untrained: Path, tmp_path: Path) -> None:
    begun = composer.compose("rock", bars=5, seed=2, key="Eb minor", metre="3/4", bpm=90)
    odd = replace(begun, ticks=96, parts=tuple(replace(part, notes=notes_of(part.notes // np.array([5, 5, 1, 1]) + np.array([0, 1, 0, 0]))) for part in begun.parts))
    odd = replace(odd, recipe=None, metres=((0, 3, 4),), chords=())
    midi.write(tmp_path / "begun.mid", odd)
    made = next(job.compose([ScoreRequest(prompt="rock, busy", bars=4, seed=3)], untrained, tmp_path / "on.mid", going_on=tmp_path / "begun.mid", picture=False))
    score = midi.read(made.path)
    end = 5 * 3 * 96
    assert made.bars == 9 and score.ticks == 96 and [part.name for part in score.parts] == [part.name for part in odd.parts]
    for part, before in zip(score.parts, odd.parts, strict=True):
        own = part.notes[part.notes[:, START] < end]
        assert np.array_equal(own[:, [START, PITCH]], before.notes[:, [START, PITCH]]) and (own[:, LENGTH] <= before.notes[:, LENGTH]).all()
        allowed = {(3 + step) % 12 for step in SCALES["minor"]}.union(*(chord_tones(symbol) for _, symbol in score.chords))
        assert part.drums or set((part.notes[part.notes[:, START] >= end][:, PITCH] % 12).tolist()) <= allowed
    assert sum(int((part.notes[:, START] >= end).sum()) for part in score.parts) > 0
    again = replay(made.path, untrained)
    assert again.same and again.path.read_bytes() == made.path.read_bytes()
    with pytest.raises(ValueError, match="key: what is made for a score keeps that of the score"):
        composer.compose("rock in C major", bars=2, going_on=odd)
    for wrong in ("begun.mid", {"file": "begun.mid"}, {**score.recipe["continues"], "at": 5}):
        midi.write(tmp_path / "foreign.mid", replace(score, recipe={**score.recipe, "continues": wrong}))
        with pytest.raises(ValueError, match="does not say by file, hash and at"):
            replay(tmp_path / "foreign.mid", untrained)
    (tmp_path / "begun.mid").unlink()
    with pytest.raises(FileNotFoundError, match="was made from begun.mid"):
        replay(made.path, untrained)
    fives = replace(odd, metres=((0, 5, 4),))
    with pytest.raises(ValueError, match="ends in 5/4"):
        composer.compose("rock", bars=2, going_on=fives)


def test_an_instrument_that_is_not_wanted_does_not_play():
    assert list(instruments_in("no drums, just solo flute and harp").values()) == ["flute", "harp"]
    assert list(instruments_in("a song without any piano, violin only").values()) == ["violin"]
    assert "drums" in words_of("no drums, harp", instruments_in("no drums, harp")).unheard


def test_every_programme_has_a_name_and_prompts_are_not_taken_for_sounds() -> None:
    assert set(programs().values()) == set(range(128)) and programs()["koto"] == 107 and programs()["tenor sax"] == 66
    assert list(instruments_in("warm rain, a soundtrack of applause for tenor sax and church organ").values()) == ["church organ", "tenor sax"]
    assert plan_of(ScoreRequest(prompt="x", instruments="fx 1 (rain), koto")).players[0].program in (96, 107)


def test_sections_change_on_the_way(composer: Symbolic, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sections = [
        {"name": "intro", "prompt": "slow rock in E minor", "bars": 3}, {"prompt": "fast, busy", "bars": 2}, {"name": "turn", "key": "A major", "chords": "A D7", "bars": 3},
        {"name": "out", "metre": "3/4", "bpm": 90, "seconds": 6, "density": 0.5},
    ]  # fmt: skip
    (tmp_path / "piece.yaml").write_text(json.dumps({"title": "Four rooms", "seed": 3, "sections": sections}))
    with pytest.raises(SystemExit) as ended:
        main(["compose", "--sections", str(tmp_path / "piece.yaml"), "--count", "2", "--out", str(tmp_path / "out"), "--model", str(untrained), "--json"])
    assert not ended.value.code
    made = json.loads(capsys.readouterr().out)["scores"]
    assert [Path(each["path"]).name for each in made] == ["four-rooms.mid", "four-rooms-2.mid"] and made[0]["sections"][1] == {"name": "section 2", "heard": {"density": 1.6, "tempo": "fast"}, "unheard": []}
    score, other = (midi.read(each["path"]) for each in made)
    assert score != other and score.sections == ((0, "intro"), (3 * 1920, "section 2"), (5 * 1920, "turn"), (8 * 1920, "out")) and made[0]["bars"] == 11
    assert [each[0] for each in score.tempos] == [0, 3 * 1920, 8 * 1920] and score.tempos[0][1] < 80 < 119 < score.tempos[1][1] and score.tempos[2][1] == 90
    assert score.metres == ((0, 4, 4), (8 * 1920, 3, 4)) and score.keys == ((0, 1, True), (5 * 1920, 3, False))
    turn = [symbol for tick, symbol in score.chords if 5 * 1920 <= tick < 8 * 1920]
    assert turn == ["A", "D", "A"]
    for part in score.parts:
        inside = part.notes[(part.notes[:, START] >= 5 * 1920) & (part.notes[:, START] < 8 * 1920)]
        scale = {(9 + step) % 12 for step in SCALES["major"]} | set(chord_tones("D7"))
        assert part.drums or set((inside[:, PITCH] % 12).tolist()) <= scale
        assert (inside[:, START] + inside[:, LENGTH] <= 8 * 1920).all()
    again = replay(made[1]["path"], untrained)
    assert again.same and again.path.read_bytes() == Path(made[1]["path"]).read_bytes()
    told = info.describe(made[0]["path"])
    assert told["sections"] == [{"bar": 1, "name": "intro"}, {"bar": 4, "name": "section 2"}, {"bar": 6, "name": "turn"}, {"bar": 9, "name": "out"}] and told["chords"].split(" | ")[5:8] == ["A", "D", "A"]
    assert told["keys"] == [{"bar": 1, "key": "E minor"}, {"bar": 6, "key": "A major"}] and [each["bar"] for each in told["tempos"]] == [1, 4, 9] and told["metres"] == ["4/4", "3/4"]
    assert [(part["track"], part["name"]) for part in told["parts"]] == list(enumerate((track["name"] for track in made[0]["tracks"]), 1)) and told["parts"][0]["instrument"] == "drums"
    for wrong, said in (
        ({"sections": [{"prompt": "x"}]}, "section 1: missing key 'bars'"), ({"sections": [{"bars": 2, "kye": "C"}]}, "section 1: unknown key 'kye'"), ({"sections": []}, "sections, a list of them"),
        ({"sections": [{"bars": 2}, {"bars": 2, "prompt": "5/8"}]}, "the prompt says 5/8"), ({"pieces": [{"sections": [{"bars": 2}]}, 7]}, "piece 2, expected a mapping"), ({"reading": 1, "sections": [{"bars": 2}]}, "unknown key 'reading'"),
    ):  # fmt: skip
        (tmp_path / "wrong.yaml").write_text(json.dumps(wrong))
        with pytest.raises(SystemExit) as ended:
            main(["compose", "--sections", str(tmp_path / "wrong.yaml"), "--out", str(tmp_path / "no"), "--model", str(untrained)])
        assert ended.value.code == 2 and said in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_a_sound_goes_through_the_cascade_and_chords_come_from_a_file(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mousai.jobs import compose_sound

    asked = []
    monkeypatch.setattr("mousai.pipelines.cascade.load", lambda model: SimpleNamespace(name=model, hears_music=model == "starter"))
    monkeypatch.setattr("mousai.jobs.generate.clips_of", lambda request, cascade, folder, name, format: asked.append((request, cascade, folder / f"{name}.{format}")) or iter([SimpleNamespace(path=asked[-1][2])]))
    rendering = compose_sound.Rendering("wav", cascade=compose_sound.Cascading(strength=0.3))
    made = next(job.compose([ScoreRequest(prompt="jazz", bars=2, seed=4, key="F major", metre="6/8", bpm=100, chords="F C7")], untrained, tmp_path / "a.mid", rendering=rendering, picture=False))
    request, model, place = asked[0]
    assert made.varied == place == tmp_path / "a-varied.wav" and model.name == "starter" and request.prompts == ("jazz",) and (request.init, request.strength, request.seed) == (str(made.audio), 0.3, 4)
    assert (request.bpm, request.key, request.metre, request.downbeat, request.chords) == (100, "F major", "6/8", 0.0, "F C")
    assert job.chords_said(str(made.path)) == "F C" and job.chords_said("Am F") == "Am F" and job.chords_said(None) is None
    with pytest.raises(ValueError, match="prompt: is empty"):
        next(job.compose([ScoreRequest(prompt="")], untrained, tmp_path))
    monkeypatch.setattr("mousai.pipelines.cascade.check_model", lambda model: None)
    deaf = compose_sound.Rendering("wav", cascade=compose_sound.Cascading("deaf"))
    piece = ScorePiece.from_dict({"title": "Nocturne", "sections": [{"bars": 1, "prompt": "slow jazz"}, {"bars": 1, "prompt": "fast rock"}]})
    next(job.compose([piece], untrained, tmp_path / "b.mid", rendering=deaf, picture=False))
    request = asked[1][0]
    assert request.prompts == ("slow jazz",) and request.music() == Music()
    there = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ValueError, match="through-cascade: an audio model varies at most 597.5 s in one go, the score has about 720 s"):
        next(job.compose([ScoreRequest(prompt="jazz", bars=180, bpm=60, metre="4/4")], untrained, tmp_path, rendering=rendering))
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_stems_have_the_numbers_that_tracks_have(untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mousai.jobs.compose_sound import Rendering

    harp, cello = (Part(name, program, False, notes_of([(0, 480, 60, 80)])) for name, program in (("harp", 46), ("cello", 42)))
    silent = Part("flute", 73, False, notes_of(()))
    monkeypatch.setattr(job, "composed", lambda *how: Score(480, (harp, silent, cello), ((0, 120.0),), recipe={}))
    made = next(job.compose([ScoreRequest(prompt="harp", bars=1)], untrained, tmp_path / "a.mid", rendering=Rendering("wav", stems=True), picture=False))
    assert [stem.stem for stem in made.stems] == ["1-harp", "2-cello"] and [name for name, _ in made.tracks] == ["harp", "cello"] == [part.name for part in midi.read(made.path).parts]


def test_sections_are_chapters_of_the_sound(tmp_path: Path) -> None:
    from mousai.audio import io
    from mousai.jobs import compose_sound

    score = Score(480, (Part("piano", 0, False, notes_of([(0, 480, 60, 80), (960, 480, 64, 80)])),), ((0, 120.0),), sections=((0, "intro"), (960, "é" * 99), (10**6, "beyond")))
    for format in ("flac", "wav", "ogg"):
        sound, _ = compose_sound.render(score, tmp_path / "a.mid", compose_sound.Rendering(format), None, 0)
        found = io.info(sound)
        assert [(chapter.sample / found.sample_rate, chapter.title) for chapter in found.chapters] == [(0.0, "intro"), (1.0, "é" * 60)]
    sound, _ = compose_sound.render(replace(score, sections=((0, "alone"),)), tmp_path / "b.mid", compose_sound.Rendering("flac"), None, 0)
    assert io.info(sound).chapters == ()


def test_an_audio_model_is_told_what_it_can_be(tmp_path: Path) -> None:
    from mousai.jobs.compose_sound import told_of

    bars = notes_of((1920 * bar + 1, 1900, pitch, 80) for bar in range(4) if bar not in (0, 2) for pitch in ((60, 64, 67) if bar == 1 else (57, 60, 64)))
    score = Score(480, (Part("", 0, False, bars),), ((0, 120.0),), ((0, 4, 4),), chords=((0, "C"), (3840, "Am")))
    assert told_of(score) == {"metre": "4/4", "downbeat": 0.0, "bpm": 120.0, "chords": "C C Am Am"}
    for tempos in (((0, 120.0), (1920, 90.0)), ((0, 12.0),), ((0, 500.0),)):
        assert told_of(replace(score, tempos=tempos)) == {"metre": "4/4", "downbeat": 0.0}
    long = Part("", 0, False, notes_of([(0, 1920 * 20_000, 60, 80)]))
    assert "chords" not in told_of(replace(score, parts=(long,))) and told_of(replace(score, parts=(long,)))["bpm"] == 120.0
    midi.write(tmp_path / "quiet.mid", replace(score, chords=()))
    assert job.chords_said(str(tmp_path / "quiet.mid")) == "C C C Am"  # a bar without a chord keeps its place
