"""Tempo, key and metre as asked for, in words, and drawn."""

import pytest

from mousai.request.music import Music, in_bars, in_words, settled, style_of


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("techno, 132 bpm, F# minor", {"bpm": 132.0, "key": "F# minor"}),
        ("92.5 beats per minute, in Bb", {"bpm": 92.5, "key": "Bb major"}),
        ("a slow waltz in Am, sad", {"key": "A minor", "metre": "3/4"}),
        ("jazz in 12/8, c sharp minor", {"key": "C# minor", "metre": "12/8"}),
        ("F#m, 4/4", {"key": "F# minor", "metre": "4/4"}),
        ("played in A church in Europe, 5000 bpm, 13/4", {}),
        ("Am I dreaming, in Dublin", {}),
        ("jazz in a minor key", {}),
        ("jazz in a minor, slow", {"key": "A minor"}),
    ],
)
def test_words(prompt, said):
    assert in_words(prompt).said() == said


def test_what_is_not_said_is_drawn_by_what_fits():
    drawn = [settled(Music(), "slow sad jazz", seed) for seed in range(60)]
    assert all(not 88 <= each.bpm and each.key.endswith("minor") for each in drawn)  # slow goes before jazz, whose tempos are 88 to 212
    assert {each.metre for each in drawn} == {"4/4", "3/4"} and len({each.key for each in drawn}) > 8 and len({each.bpm for each in drawn}) > 20
    assert all(120 <= settled(Music(), "techno", seed).bpm <= 142 for seed in range(20))
    assert settled(Music(), "slow sad jazz", 3) == drawn[3] != drawn[4] and drawn[3].chords is None


def test_a_mode_may_be_said_without_a_key():
    for prompt, mode in (("happy folk in a minor key", "minor"), ("metal, major key", "major"), ("piano in minor", "minor")):
        keys = {settled(Music(), prompt, seed).key for seed in range(30)}
        assert len(keys) > 8 and all(key.endswith(mode) for key in keys)


def test_what_is_said_goes_first_and_changes_nothing_else():
    plain = settled(Music(), "techno", 5)
    told = settled(Music(bpm=99, chords="Am F|C, G"), "techno in G major", 5)
    assert (told.bpm, told.key, told.chords, told.metre) == (99.0, "G major", "Am F C G", plain.metre)
    assert settled(Music(key="dbm"), "techno", 5) == Music(bpm=plain.bpm, key="C# minor", metre=plain.metre)


def test_no_beat_is_drawn_where_there_is_to_be_none():
    drawn = settled(Music(), "rubato piano", 0)
    assert drawn.bpm is None and drawn.metre is None and drawn.key is not None
    assert settled(Music(bpm=60), "rubato piano", 0).bpm == 60


def test_the_longest_words_name_the_style():
    assert style_of("liquid drum and bass").name == "drum_and_bass" and style_of("jazz, bossa nova with nylon guitar").name == "bossa_nova"
    assert style_of("solo piano").name == "piano" and style_of("the sea").name == ""


@pytest.mark.parametrize(
    ("said", "message"),
    [({"bpm": 10}, "bpm: expected a number from 20 to 400"), ({"key": "H"}, "key: expected a key such as"), ({"metre": "5/4"}, "metre: expected 4/4"), ({"metre": ["3/4"]}, "metre: expected 4/4"),
     ({"chords": "Am H"}, "chords: expected a chord such as .* came 'H'"), ({"bpm": "fast"}, "bpm: expected a number")],
)  # fmt: skip
def test_what_cannot_be_is_refused(said, message):
    with pytest.raises(ValueError, match=message):
        Music(**said)


def test_bars_last_as_long_as_their_tempo_says():
    assert in_bars(8, "slow waltz", {"bpm": 60.0}) == (24.0, {"bpm": 60.0, "metre": "3/4"})
    seconds, music = in_bars(16, "techno", {"seed": 3})
    assert seconds == 16 * 4 * 60 / music["bpm"] and music["bpm"] == settled(Music(), "techno", 3).bpm
    with pytest.raises(ValueError, match="bars: the prompt says that there is no beat"):
        in_bars(8, "rubato piano", {})
    with pytest.raises(ValueError, match="bars: expected a whole number"):
        in_bars(0, "techno", {})
