"""Names of keys and chords."""

import pytest

from mousai.theory import QUALITIES, chord_tones, key_name, key_of, key_of_chords


@pytest.mark.parametrize(
    ("name", "key"),
    [("F# minor", (6, "minor")), ("f# m", (6, "minor")), ("Gbm", (6, "minor")), ("Bb major", (10, "major")), ("A", (9, "major")), ("C flat major", (11, "major")),
     ("E-flat minor", (3, "minor")), ("B♭", (10, "major")), ("D moll", (2, "minor")), ("CM", (0, "major"))],
)  # fmt: skip
def test_keys_by_their_names(name, key):
    assert key_of(name) == key and key_of(key_name(*key)) == key


@pytest.mark.parametrize("name", ["H minor", "", "A minor 7", "minor", "Amin or"])
def test_what_is_no_key_is_refused(name):
    with pytest.raises(ValueError, match="expected a key such as"):
        key_of(name)


@pytest.mark.parametrize(
    ("symbol", "tones"), [("Am", (9, 0, 4)), ("C/E", (4, 0, 7)), ("F#m7", (6, 9, 1, 4)), ("Bbmaj7", (10, 2, 5, 9)), ("G7sus4", (7, 0, 2, 5)), ("Dadd9", (2, 6, 9, 4)), ("N.C.", ()), ("Cb", (11, 3, 6))]
)
def test_chords_by_their_symbols(symbol, tones):
    assert chord_tones(symbol) == tones


@pytest.mark.parametrize("symbol", ["H", "Am/", "", "Cfoo", "am"])
def test_what_is_no_chord_is_refused(symbol):
    with pytest.raises(ValueError, match="expected a chord such as"):
        chord_tones(symbol)


def test_every_quality_has_a_symbol_that_is_read():
    assert all(chord_tones(f"C{quality}")[0] == 0 for quality in QUALITIES)


@pytest.mark.parametrize(
    ("chords", "key"),
    [("Dm7 G7 Cmaj7 A7", "C major"), ("Am F C G", "A minor"), ("C G Am F", "C major"), ("Em Em Am B7", "E minor"), ("N.C. F# B C#7 F#", "F# major"), ("Bb/D", "Bb major")],
)
def test_chords_have_a_key(chords, key):
    assert key_of_chords(chords.split()) == key
