"""Scores of all styles: chords, form, beat grid and words agree with the notes."""

from __future__ import annotations

import numpy as np
import pytest

from mousai.data.captions import tempo_word
from mousai.data.synth.compose import ARRANGERS, arrange, compose
from mousai.data.synth.form import ENERGY, FORMS, build
from mousai.data.synth.melody import melody, rhythms
from mousai.data.synth.players import bass_line, strike_chords
from mousai.data.synth.score import METRES, Bar, Score, Span
from mousai.data.synth.styles import STYLES
from mousai.data.synth.theory import roman, scale_over
from mousai.data.synth.voices import DRUM_KEYS, LEVELS, VOICES
from mousai.data.synth.words import describe
from mousai.request.music import in_words
from mousai.theory import chord_tones, key_of

SECONDS = 20.0
FREE = ("lead", "pulse lead", "violins", "violin 1", "cornets", "trombones", "piano", "pulse chords")  # parts with tunes in them


@pytest.fixture(scope="module", params=STYLES)
def scores(request) -> tuple[str, list[Score]]:
    """Eight pieces of a style."""
    return request.param, [arrange(STYLES[request.param], SECONDS, np.random.default_rng(seed)) for seed in range(8)]


def pitched(score: Score):
    """(part, note, its chord, its bar) of what is no drum."""
    for part, notes in score.parts.items():
        for note in notes:
            if isinstance(note.pitch, int) and part not in ("air", "crackle"):
                bar = score.bar_at(note.start)
                yield part, note, next(s.chord for s in reversed(bar.spans) if s.start <= note.start + 1e-6), bar


def bars_of(*numerals: str, metre: str = "4/4", section: str = "verse") -> list[Bar]:
    """A bar of each numeral in C."""
    beats = METRES[metre].beats
    spans = [Span(float(i * beats), float(beats), roman(numeral, 0)) for i, numeral in enumerate(numerals)]
    return [Bar(span.start, section, i, i == len(spans) - 1, 1.0, 0, (span,)) for i, span in enumerate(spans)]


def test_there_are_at_least_sixteen_styles_that_somebody_can_play() -> None:
    assert len(STYLES) >= 16 and set(ARRANGERS) == set(STYLES)


def test_tempo_key_and_length_are_as_drawn(scores) -> None:
    name, pieces = scores
    for score in pieces:
        assert STYLES[name].bpm[0] <= score.bpm <= STYLES[name].bpm[1]
        assert score.metre.name in STYLES[name].metres and score.seconds_of(score.beats) >= SECONDS
        assert all(21 <= note.pitch <= 108 and 0 < note.velocity <= 1 for _, note, _, _ in pitched(score))


def test_accompaniment_sounds_the_chord_and_tunes_keep_to_its_scale(scores) -> None:
    name, pieces = scores
    in_chord, in_scale = [], []
    for score in pieces:
        for part, note, chord, bar in pitched(score):
            in_scale.append(note.pitch % 12 in scale_over(chord, (score.root + bar.shift) % 12, score.mode))
            if part not in FREE:
                in_chord.append(note.pitch % 12 in chord.tones)
    assert np.mean(in_scale) > (0.94 if name == "jazz" else 0.999)  # a walking bass passes by half steps
    assert not in_chord or np.mean(in_chord) > (0.85 if name == "jazz" else 0.94)


def test_chords_are_of_the_key(scores) -> None:
    _, pieces = scores
    inside = []
    for score in pieces:
        for bar in score.bars:
            home = scale_over(roman("I" if score.mode == "major" else "i", (score.root + bar.shift) % 12), (score.root + bar.shift) % 12, score.mode)
            inside += [tone in home for span in bar.spans for tone in span.chord.tones]
    assert np.mean(inside) > 0.8


def test_every_voice_and_drum_can_be_played_and_mixed(scores) -> None:
    _, pieces = scores
    for score in pieces:
        assert set(score.voices) == set(score.parts) <= set(LEVELS)
        for part, notes in score.parts.items():
            kit = VOICES[score.voices[part]].kit
            assert all(note.pitch in kit and (note.pitch in DRUM_KEYS or not VOICES[score.voices[part]].programs) for note in notes) if kit else True


def test_sections_differ(scores) -> None:
    _, pieces = scores
    assert any(len({bar.section for bar in score.bars}) > 1 for score in pieces)


def test_drums_play_another_bar_where_a_section_ends() -> None:
    def bar_of(score: Score, bar: Bar) -> set:
        within = [note for note in score.parts["drums"] if bar.start <= note.start < bar.start + score.metre.beats]
        return {(note.start - bar.start, note.pitch) for note in within if note.pitch != "crash"}

    fills = 0
    for seed in range(10):
        score = arrange(STYLES["rock"], SECONDS, np.random.default_rng(seed))
        for before, last in zip(score.bars, score.bars[1:]):
            fills += last.last and before.section == last.section and bar_of(score, before) != bar_of(score, last)
    assert fills > 10


def test_the_manifest_says_where_beats_and_chords_are(scores) -> None:
    name, pieces = scores
    for score in pieces:
        said = describe(STYLES[name], score, SECONDS, np.random.default_rng(0))
        beat = 60 / said["bpm"]
        assert 0 <= said["first_beat"] < beat + 1e-3
        count = (np.array(said["downbeats"]) - said["first_beat"]) / beat
        assert np.abs(count - np.round(count)).max() < 1e-2
        assert np.allclose(np.diff(said["downbeats"]), beat * score.metre.beats, atol=1e-3)
        for rows in (said["chords"], said["sections"]):
            starts = [row[0] for row in rows]
            assert starts[0] == 0 and starts == sorted(starts) and starts[-1] < SECONDS
        assert {row[1] for row in said["sections"]} <= set(ENERGY)
        sounding = {frozenset((span.chord.bass, *span.chord.tones)) for span in score.spans}
        assert {frozenset(chord_tones(symbol)) for _, symbol in said["chords"]} <= sounding
        on_time = [abs(start - score.seconds_of(span.start)) < 1e-3 for start, _ in said["chords"][1:] for span in score.spans]
        assert sum(on_time) == len(said["chords"]) - 1
        assert key_of(said["key"]) == (score.root, score.mode) and said["pace"] == tempo_word(said["bpm"])
        assert said["metre"] == score.metre.name and said["parts"] == list(score.parts)


def test_captions_say_what_is_true_in_changing_words() -> None:
    said = []
    for index in range(400):
        score, rng = compose(1, index, 8.0)
        style = list(STYLES.values())[index % len(STYLES)]
        fields = describe(style, score, 8.0, rng)
        caption = fields["caption"]
        assert any(phrase in caption for phrase in style.phrases), caption
        numbers = [int(word) for word in caption.replace(",", " ").split() if word.isdigit()]
        assert numbers in ([], [fields["bpm"]]), caption
        asked = in_words(caption)  # as a prompt
        assert asked.bpm in (None, fields["bpm"]) and asked.metre in (None, fields["metre"]), caption
        assert asked.key is None or key_of(asked.key) == (score.root, score.mode), caption
        other = "minor" if score.mode == "major" else "major"
        assert f" {other}" not in caption
        assert ("slow" in caption) <= (fields["pace"] == "slow") and ("fast" in caption) <= (fields["pace"] == "fast")
        assert ("3/4" in caption or "waltz" in caption) <= (fields["metre"] == "3/4")
        said.append((bool(numbers), " major" in caption or " minor" in caption, "3/4" in caption or "6/8" in caption))
    shares = np.mean(said, axis=0)
    assert 0.3 < shares[0] < 0.7 and 0.3 < shares[1] < 0.8 and 0.02 < shares[2] < 0.3


# Closed forms


def test_time_of_beats_straight_swung_and_cut() -> None:
    def score(**changed) -> Score:
        return Score(120, 0, "major", METRES["4/4"], bars_of("I", "I"), **changed)

    assert [score().seconds_of(beat) for beat in (0, 0.5, 3.25, -2)] == [0, 0.25, 1.625, -1]
    assert [score(swing=1 / 6).seconds_of(beat) for beat in (0, 0.5, 1, 3.75)] == pytest.approx([0, 1 / 3, 0.5, 1.5 + 5 / 12])
    sixteenths = score(swing=1 / 6, swing_unit=0.25)
    assert [sixteenths.seconds_of(beat) for beat in (0.25, 0.5, 0.75)] == pytest.approx([1 / 6, 0.25, 0.25 + 1 / 6])
    cut = score(lead=1.25)
    assert cut.first_beat() == 0.375 and cut.downbeats(10.0) == [1.375] and cut.chords(10.0) == [[0.0, "C"]]


def test_a_bass_line_reads_its_text() -> None:
    score = Score(120, 0, "major", METRES["4/4"], bars_of("I", "V"))
    bass_line(score, score.part("bass", "bass guitar"), "R-5.8.a-", 36, 1.0, hold=1.0)
    assert [(note.start, note.length, note.pitch) for note in score.parts["bass"][:4]] == [(0, 1, 36), (1, 0.5, 43), (2, 0.5, 48), (3, 1, 41)]
    assert score.parts["bass"][4].pitch == 43  # and a step below the G came before it


def test_chords_are_struck_where_the_text_says_bar_after_bar() -> None:
    score = Score(120, 0, "major", METRES["3/4"], bars_of("I", "IV", metre="3/4"))
    strike_chords(score, score.part("keys", "piano"), {0.0: [60, 64, 67], 3.0: [60, 65, 69]}, "x--|.x.", 1.0, hold=1.0)
    assert [(note.start, note.length, note.pitch) for note in score.parts["keys"]] == [
        (0, 3, 60), (0, 3, 64), (0, 3, 67), (4, 1, 60), (4, 1, 65), (4, 1, 69),
    ]  # fmt: skip


def test_a_section_that_comes_back_brings_chords_and_rhythm_along() -> None:
    rng = np.random.default_rng(3)
    bars = build(64, "song", "pop", 0, "major", METRES["4/4"], rng)
    score = Score(100, 0, "major", METRES["4/4"], bars)
    starts = [bar for bar in bars if bar.place == 0 and bar.section == "verse"]
    chords = [[span.chord.moved(-bar.shift) for bar in bars[bars.index(first) : bars.index(first) + 4] for span in bar.spans] for first in starts]
    assert len(starts) >= 2 and all(each == chords[0] for each in chords)
    tune = melody(score, rng, "lively", 72, rest=0.0)
    heard = [[round(note.start - first.start, 3) for note in tune if 0 <= note.start - first.start < 4] for first in starts]
    assert heard[0] and all(each == heard[0] for each in heard)


def test_long_pieces_have_a_whole_form_and_short_ones_a_part_of_it() -> None:
    for name, order in FORMS.items():
        bars = build(200, name, "pop", 0, "minor", METRES["4/4"], np.random.default_rng(0))
        sections = [bar.section for bar in bars if bar.place == 0]
        assert sections[0] == order[0] and sections[-1] == order[-1] and len(sections) > len(order)
        if order[0] == "intro":
            assert sections.count("intro") == 1
        for seed in range(20):
            part = [bar.section for bar in build(9, name, "pop", 0, "minor", METRES["4/4"], np.random.default_rng(seed)) if bar.place == 0]
            assert any(tuple(part) == order[i : i + len(part)] for i in range(len(order))) and len(part) == 3


def test_rhythms_fill_their_bars() -> None:
    for kind in ("lyric", "lively", "syncopated", "solo", "broad"):
        for metre in METRES.values():
            for rhythm in rhythms(kind, metre.beats, metre.division):
                assert sum(map(abs, rhythm)) == pytest.approx(metre.beats), (kind, metre, rhythm)


def test_a_key_changes_seldom_and_by_a_step() -> None:
    assert all(name in ENERGY for order in FORMS.values() for name in order)
    shifts = []
    for seed in range(60):
        bars = build(64, "song", "pop", 0, "major", METRES["4/4"], np.random.default_rng(seed))
        shifts.append(max(bar.shift for bar in bars))
    assert set(shifts) == {0, 1, 2} and np.mean(np.array(shifts) > 0) < 0.5
