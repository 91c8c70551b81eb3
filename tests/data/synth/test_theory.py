"""Chords by numeral, their names, voicings and scales: against what a textbook says."""

from __future__ import annotations

import pytest

from mousai.data.synth.harmony import PROGRESSIONS
from mousai.data.synth.theory import Chord, above, has_flats, movement, nearest, roman, scale_over, step, voicing


@pytest.mark.parametrize(
    ("numeral", "root", "symbol", "tones"),
    [
        ("I", 0, "C", (0, 4, 7)),
        ("vi7", 0, "Am7", (9, 0, 4, 7)),
        ("bVImaj7", 9, "Fmaj7", (5, 9, 0, 4)),  # in A minor
        ("iiø7", 9, "Bm7b5", (11, 2, 5, 9)),
        ("V7/ii", 0, "A7", (9, 1, 4, 7)),
        ("viio7", 2, "C#dim7", (1, 4, 7, 10)),
        ("I/3", 7, "G/B", (7, 11, 2)),
        ("iv6", 0, "Fm6", (5, 8, 0, 2)),
        ("bII7", 0, "C#7", (1, 5, 8, 11)),
        ("i5", 4, "E5", (4, 11)),
    ],
)
def test_numerals_are_chords(numeral, root, symbol, tones) -> None:
    chord = roman(numeral, root)
    assert chord.symbol(flats=False) == symbol and chord.tones == tones


def test_keys_with_flats_spell_flats() -> None:
    assert has_flats(3, "major") and has_flats(0, "minor") and not has_flats(4, "minor") and not has_flats(9, "major")
    assert roman("I", 3).symbol(flats=True) == "Eb" and roman("bVII/3", 8).symbol(flats=True) == "Gb/Bb"


def test_every_progression_is_of_known_chords_in_phrases_of_two_four_or_eight_bars() -> None:
    for modes in PROGRESSIONS.values():
        assert set(modes) == {"major", "minor"}
        for text in (text for texts in modes.values() for text in texts):
            bars = text.split("|")
            assert len(bars) in (2, 4, 8), text
            assert all(len(roman(numeral, 5).tones) >= 2 for bar in bars for numeral in bar.split())


def test_a_scale_bends_to_a_foreign_chord() -> None:
    assert scale_over(roman("IV", 0), 0, "major") == {0, 2, 4, 5, 7, 9, 11}
    assert scale_over(roman("V7", 9), 9, "minor") == {11, 0, 2, 4, 5, 8}  # E7 in A minor: G# for G and A
    assert scale_over(roman("V7/V", 0), 0, "major") == {0, 2, 4, 6, 7, 9, 11} - {7} | {6, 2, 9, 0}


def test_steps_and_neighbours() -> None:
    c_major = {0, 2, 4, 5, 7, 9, 11}
    assert step(60, 2, c_major) == 64 and step(60, -1, c_major) == 59 and step(61, 1, c_major) == 62
    assert nearest(11, 60) == 59 and nearest(6, 60) in (54, 66) and above(11, 60) == 71


def test_voicings_hold_the_chord_and_move_little() -> None:
    first = voicing([0, 4, 7], 48)
    second = voicing([5, 9, 0], 48, first)
    assert first == [48, 52, 55] and sorted(p % 12 for p in second) == [0, 5, 9]
    assert movement(first, second) <= 6 and movement(first, first) == 0


def test_a_chord_moves_with_its_bass() -> None:
    assert Chord(0, "m7", 7).moved(2) == Chord(2, "m7", 9)
