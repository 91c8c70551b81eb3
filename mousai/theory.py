"""What music is called, and what it means: pitch classes (0 = C), keys, metres, chord symbols."""

from __future__ import annotations

import re
from collections.abc import Sequence

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
MODES = tuple(SCALES)
ROOT_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")  # as most write them
QUALITIES = {  # of chords: semitones above the root
    "": (0, 4, 7), "m": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8), "5": (0, 7), "sus2": (0, 2, 7), "sus4": (0, 5, 7),
    "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9), "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "m7": (0, 3, 7, 10),
    "m7b5": (0, 3, 6, 10), "dim7": (0, 3, 6, 9), "7sus4": (0, 5, 7, 10), "add9": (0, 4, 7, 14), "madd9": (0, 3, 7, 14),
    "9": (0, 4, 7, 10, 14), "maj9": (0, 4, 7, 11, 14), "m9": (0, 3, 7, 10, 14), "7b9": (0, 4, 7, 10, 13),
    "13": (0, 4, 7, 10, 21),
}  # fmt: skip
METRES = {"4/4": 4, "3/4": 3, "6/8": 2, "12/8": 4, "2/4": 2}  # beats of a bar; in eighths three make a beat

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SIGNS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1, " sharp": 1, "-sharp": 1, " flat": -1, "-flat": -1}
_ROOT = r"([A-Ga-g])(#|♯|b|♭|[ -]sharp|[ -]flat|)"
_KEY = re.compile(rf"{_ROOT}(?:[ -]?(major|maj|minor|min|m|dur|moll))?", re.IGNORECASE)
_CHORD = re.compile(r"([A-G])(#|♯|b|♭|)([^/]*)(?:/([A-G])(#|♯|b|♭|))?")
NO_CHORD = ("N", "N.C.", "NC")


def key_of(name: str) -> tuple[int, str]:
    """Root and mode of a key such as "F# minor", "F#m", "Bb major", "A" (major); ValueError for what is none."""
    match = _KEY.fullmatch(name.strip())
    if not match:
        raise ValueError(f'expected a key such as "F# minor", "Bb major" or "Am", came {name!r}')
    letter, sign, mode = match.groups()
    minor = (mode or "").lower() in ("minor", "min", "m", "moll")
    return (_LETTERS[letter.upper()] + _SIGNS[sign.lower()]) % 12, "minor" if minor and mode != "M" else "major"


def key_name(root: int, mode: str) -> str:
    """A key as `key_of` reads it."""
    return f"{ROOT_NAMES[root % 12]} {mode}"


def chord_tones(symbol: str) -> tuple[int, ...]:
    """The pitch classes of a chord such as "Am7", "C/E", "F#sus4", the bass first; none for "N.C."; ValueError for what is no chord."""
    if symbol in NO_CHORD:
        return ()
    match = _CHORD.fullmatch(symbol.strip())
    quality = match and {"M7": "maj7", "min": "m", "maj": "", "-": "m", "+": "aug", "°": "dim", "o": "dim"}.get(match[3], match[3])
    if not match or quality not in QUALITIES:
        raise ValueError(f'expected a chord such as "Am", "C/E" or "F#m7", came {symbol!r}')
    root = _LETTERS[match[1]] + _SIGNS[match[2]]
    bass = root if match[4] is None else _LETTERS[match[4]] + _SIGNS[match[5]]
    return tuple(dict.fromkeys([bass % 12, *((root + step) % 12 for step in QUALITIES[quality])]))


def key_of_chords(symbols: Sequence[str]) -> str:
    """The key whose scale has most of the chords' tones; of several the one with most chords on its tonic, then on which they begin."""
    chords = [tones for tones in map(chord_tones, symbols) if tones]

    def fit(key: tuple[int, str]) -> tuple[int, int, bool]:
        root, mode = key
        scale = {(root + step) % 12 for step in SCALES[mode]}
        triad = {(root + SCALES[mode][degree]) % 12 for degree in (0, 2, 4)}
        on_tonic = [triad <= set(tones) for tones in chords]
        return sum(tone in scale for tones in chords for tone in tones), sum(on_tonic), bool(on_tonic) and on_tonic[0]

    return key_name(*max(((root, mode) for root in range(12) for mode in MODES), key=fit))
