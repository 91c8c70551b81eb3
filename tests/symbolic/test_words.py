"""Prompts of scores: every word that stands for another does so, named instruments play, and what a density asks for is done; as before where a file says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mousai.jobs.compose import KEPT, Composed, heard_in, in_words, kept_by, new_seconds
from mousai.jobs.compose_again import replay
from mousai.pipelines.symbolic import Symbolic, load
from mousai.request.instruments import NAMES, programs
from mousai.request.music import PACES, mode_words
from mousai.request.score import DENSITY_WORDS, ScoreRequest, Words, style_named, words_of
from mousai.request.score_piece import ScorePiece
from mousai.request.vocabulary import PACES_IMPLIED, SYNONYMS, in_known_words
from mousai.symbolic import midi
from mousai.symbolic.composer import Composer, Sketch
from mousai.symbolic.material import BACK, NEW, REST, Track
from mousai.symbolic.plan import METRES, plan_of
from mousai.symbolic.players import instruments_in, player_of
from mousai.symbolic.score import Part, Score, notes_of
from mousai.symbolic.sections import plans_of


@pytest.fixture(scope="module")
def composer(untrained: Path) -> Symbolic:
    return load(untrained)


def test_every_synonym_stands_for_a_word_that_is_known() -> None:
    for words in {*SYNONYMS.values(), *PACES_IMPLIED.values()}:
        found = words_of(words, instruments_in(words))
        assert found.heard and not found.unheard and in_known_words(words)[0] == (f"{words}, {PACES_IMPLIED[words]}" if words in PACES_IMPLIED else words), words
        assert words in PACES or words in DENSITY_WORDS or words in METRES or style_named(words) or instruments_in(words) or mode_words(words, "minor") != mode_words(words, "major") or "metre" in found.heard
    for words in SYNONYMS:
        assert heard_in(ScoreRequest(prompt=words)).unheard == (), words


@pytest.mark.parametrize("prompt, heard, unheard", [
    ("relaxed jazz", {"style": "jazz", "mode": "major"}, ()), ("bossa nova with nylon guitar", {"style": "bossa_nova"}, ()), ("jazz with nylon guitar", {"style": "jazz", "instruments": ["nylon guitar"]}, ()),
    ("gloomy Andante for violoncello", {"instruments": ["cello"], "tempo": "moderate", "mode": "minor"}, ()), ("calm, sad ukulele in 3/4", {"metre": "3/4", "instruments": ["nylon guitar"], "tempo": "slow"}, ("sad",)),
    ("energetic jazz piano without drums", {"style": "jazz", "instruments": ["piano"], "tempo": "fast", "without": ["drums"]}, ()), ("energetic presto", {"tempo": "fast"}, ()), ("upbeat 80 bpm zydeco", {"bpm": 80.0, "mode": "major"}, ("zydeco",)),
])  # fmt: skip
def test_words_become_controls(prompt: str, heard: dict, unheard: tuple) -> None:
    words = heard_in(ScoreRequest(prompt=prompt))
    assert words.heard == heard and words.unheard == unheard
    assert heard_in(ScoreRequest(prompt="relaxed jazz", key="D minor")).unheard == ()  # jazz is, in whichever mode


def test_what_an_instrument_is_called_stands_for_itself(composer: Symbolic, untrained: Path, tmp_path: Path) -> None:
    assert not SYNONYMS.keys() & programs().keys()
    for name in programs():
        for form in (name, f"{name}s"):
            assert in_known_words(form)[0] == form
        assert player_of(name, ()).name == name == player_of(name, (), in_voices=False).name and player_of(name, ()).program == programs()[name]
    assert plan_of(ScoreRequest(prompt="jazz with fretless bass")).players[1].program == NAMES.index("fretless bass") and heard_in(ScoreRequest(prompt="orchestra hits")).heard == {"instruments": ["orchestra hit"]}
    assert player_of("ukuleles", ()).program == 24
    for words in ("lullaby", "ukulele"):  # which was no instrument before
        with pytest.raises(ValueError, match=f"'{words}' is none"):
            player_of(words, (), in_voices=False)
    with pytest.raises(ValueError, match="'lullaby' is none"):
        player_of("lullaby", ())
    midi.write(tmp_path / "a.mid", composer.compose(ScoreRequest(prompt="", instruments="classical guitar, orchestra hit", bars=2, reading=1)))
    assert replay(tmp_path / "a.mid", untrained).same and {part.name for part in midi.read(tmp_path / "a.mid").parts} <= {"classical guitar", "orchestra hit"}


@pytest.mark.parametrize("prompt, names, without, unheard", [
    ("rock without electric guitar", {"drums", "bass"}, ["electric guitar"], ()), ("jazz without tenor sax", {"drums", "bass", "comp", "lead"}, ["tenor sax"], ()), ("jazz, no drums and bass", {"comp", "lead"}, ["drums", "bass"], ()),
    ("rock without bass guitar", {"drums", "guitar left", "guitar right", "lead"}, ["bass guitar"], ()), ("jazz, no drums, comp", {"bass", "comp", "lead"}, ["drums"], ("comp",)),
    ("jazz, no drums or strings and a flute", {"bass", "comp", "flute"}, ["drums", "strings"], ()), ("solo violin, no piano", {"violin"}, ["piano"], ("solo",)), ("no piano", {"piano"}, None, ("piano",)),
    ("string quartet without violin", {"cello", "viola"}, ["violin"], ()), ("strings without harp", {"basses", "cellos", "violas", "violins"}, ["harp"], ()), ("no brass band, oboe", {"oboe"}, ["brass"], ("band",)),
    ("orchestral strings without violins", {"basses", "cellos", "violas", "harp"}, ["violins"], ()), ("metal no guitars", {"drums", "bass"}, ["guitar"], ()), ("jazz without the ukulele", {"drums", "bass", "comp", "lead"}, ["nylon guitar"], ()),
    ("jazz without drums, brass band", {"bass", "horns", "trombones", "second cornets", "cornets"}, ["drums"], ("jazz",)),
])  # fmt: skip
def test_who_is_not_wanted_does_not_play(prompt: str, names: set[str], without: list[str] | None, unheard: tuple) -> None:
    request = ScoreRequest(prompt=prompt, seed=1)
    words = heard_in(request)
    assert {player.name for player in plan_of(request).players} == names
    assert sorted(words.heard.get("without", [])) == sorted(without or []) and words.unheard == unheard


def test_what_is_heard_is_what_is_done() -> None:
    for kept in (KEPT, kept_by(ScoreRequest(prompt="calm jazz, no drums"))):
        words = heard_in(ScoreRequest(prompt="calm jazz, no drums"), kept)
        assert "without" not in words.heard and "tempo" not in words.heard and "drums" in words.unheard
    calm = [{"prompt": "fast rock", "bars": 1}, {"prompt": "calm", "bars": 1}, {"prompt": "adagio", "bars": 1}]
    fast, same, slow = (plan.quarters for plan in plans_of(ScorePiece.from_dict({"sections": calm})))
    assert fast == same > 80 > slow
    assert heard_in(ScoreRequest(prompt="oboe, tenor sax and harp")).heard["instruments"] == ["oboe", "tenor sax", "harp"]
    assert heard_in(ScoreRequest(prompt="happy sad piano")).unheard == ("happy", "sad") and heard_in(ScoreRequest(prompt="sad piano")).unheard == ()
    nine = "rock with flute, oboe, harp, horn, cello, choir, tuba, sitar and koto"
    with pytest.raises(ValueError, match="at most 8 play together, the prompt names 9"):
        plan_of(ScoreRequest(prompt=nine))
    assert len(plan_of(ScoreRequest(prompt=nine.replace("rock", ""), reading=1)).players) == 9


def test_nothing_of_a_file_comes_again_where_a_density_is_asked_for(composer: Symbolic, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, backs = composer.compose(ScoreRequest(prompt="jazz", bars=9, seed=3)), []
    sketch = Composer.sketch

    def seen(self: Composer, known: Sketch | None = None, *metre: tuple[int, int]) -> Sketch:
        bar, made = self.memory.bar, sketch(self, known, *metre)
        backs.extend(bar - BACK[act - 2] for act in made.acts if act not in (REST, NEW) and known is None)
        return made

    monkeypatch.setattr(Composer, "sketch", seen)
    for prompt, comes in (("jazz", True), ("busy jazz", False)):
        backs.clear()
        composer.compose(prompt, bars=9, going_on=begun, seed=1, temperature=2.0)
        assert backs and any(bar < 9 for bar in backs) == comes
    assert "candidates" not in composer.infill(begun, (3, 3), prompt="busy").recipe["compose"]


def test_who_is_named_plays() -> None:
    def programs(prompt: str, **how: int) -> list[int | str]:
        return ["drums" if player.drums else player.program for player in plan_of(ScoreRequest(prompt=prompt, seed=1, **how)).players]

    assert programs("sad violin and piano") == [0, 40] and programs("sad violin and piano", reading=1) == [0] == programs("piano")
    assert programs("jazz") == ["drums", 32, 4, 11] and programs("jazz piano with tenor sax, no drums") == [32, 0, 66]
    assert set(programs("funky slap bass")) == {"drums", 36, 16, 61, 52} and programs("rock with distorted electric guitar") == programs("rock")
    assert programs("village brass band") == programs("brass band") and len(programs("rock with flute, oboe, harp, horn, cello and choir")) == 8
    assert programs("without piano", reading=2) == [0]  # for somebody has to play
    harp, celesta = plan_of(ScoreRequest(prompt="harp and celesta")).players
    assert (harp.track.density, harp.track.polyphony) == (6, 3) and (harp.low, harp.high) == (40, 74) and celesta.track.register > harp.track.register
    assert plan_of(ScoreRequest(prompt="harp", reading=1)).players[0].track == Track(5, 10, 4)


def test_a_density_is_followed_and_told_alone_where_a_file_says_so(composer: Symbolic, untrained: Path, tmp_path: Path) -> None:
    def off(request: ScoreRequest) -> tuple[float, float]:
        """How far, in octaves, new phrases are from what is wanted, and how many notes there are."""
        plan, wanted = plan_of(request), plan_of(replace(request, candidates=8)).wanted
        counts = [(len(phrase) / (4 * notes), len(phrase)) for bar in Composer(composer.phrases, composer.prior, plan).bars() for phrase, notes in zip(bar.phrases, wanted, strict=True) if len(phrase)]
        return np.mean([abs(np.log2(share)) for share, _ in counts]), sum(count for _, count in counts)

    how = {"prompt": "jazz", "bars": 6, "seed": 3, "metre": "4/4"}
    (far, _), (near, thick), (_, thin) = (off(ScoreRequest(**how, density=density, candidates=candidates)) for density, candidates in ((2.0, 1), (2.0, 8), (0.5, 8)))
    assert near < 0.9 * far and thick > 1.1 * thin
    assert plan_of(ScoreRequest(**how)).wanted == () == plan_of(ScoreRequest(**how, density=2.0, candidates=1)).wanted
    begun = composer.compose(ScoreRequest(**how))
    for request in (ScoreRequest(prompt="busy gloomy jazz with a flute", bars=3, candidates=1, reading=1), ScoreRequest(prompt="busy gloomy jazz with a flute", bars=3)):
        score = composer.compose(request)
        said = {name: value for name, value in score.recipe["compose"].items() if (name, value) not in (("candidates", 1), ("reading", 1))}  # as files have it that were made before
        midi.write(tmp_path / "a.mid", replace(score, recipe={**score.recipe, "compose": said}))
        again = replay(tmp_path / "a.mid", untrained)
        assert again.same and again.path.read_bytes() == (tmp_path / "a.mid").read_bytes()
    assert composer.compose("busy", bars=2, going_on=begun).num_notes > begun.num_notes


def test_speed_counts_what_was_made(tmp_path: Path) -> None:
    made = Composed(Path("a.mid"), None, Path("a.flac"), None, (), 96, 500, 192.0, 2.0, 4.0, 64.0, (("drums", "drums"), ("lead", "tenor sax"), ("slap bass", "slap bass 1")), Words({"density": 1.6}, ("zydeco",)), {"key": "C major", "metre": "4/4", "bpm": 120.0})
    assert in_words(made).splitlines() == [
        "heard: density 1.6; not heard: zydeco", "tracks: 1 drums, 2 lead (tenor sax), 3 slap bass",
        "in C major, 4/4, 120 bpm: 96 bars, 500 notes, 192.0 s, 64.0 s of it new in 2.0 s: 32x real time, rendered in 4.0 s: 48x real time",
    ]  # fmt: skip
    score = Score(480, (Part("", 0, False, notes_of([(0, 1920, 60, 80), (3000, 840, 60, 80)])),), ((0, 120.0),))
    assert new_seconds(score, None) == 4.0
