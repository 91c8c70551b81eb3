"""Keys, chords as Roman numerals, and voicings. Pitches are MIDI numbers, pitch classes 0 (C) to 11."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mousai.theory import QUALITIES, SCALES

SHARP_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLAT_NAMES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
_FLAT_KEYS = {"major": (1, 3, 5, 8, 10), "minor": (0, 2, 3, 5, 7, 10)}  # whose signature has flats

_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_LOWER = {"": "m", "5": "5", "7": "m7", "9": "m9", "6": "m6", "add9": "madd9", "o": "dim", "o7": "dim7", "ø7": "m7b5"}
_ROMAN = re.compile(r"([b#]?)([IiVv]+)([a-zø0-9]*)(?:/(?:([b#]?[IiVv]+)|([357])))?")


@dataclass(frozen=True)
class Chord:
    """A chord at its own pitch: root and bass as pitch classes, quality as in `theory.QUALITIES`."""

    root: int
    quality: str
    bass: int

    @property
    def tones(self) -> tuple[int, ...]:
        """Pitch classes, the root first."""
        return tuple((self.root + interval) % 12 for interval in QUALITIES[self.quality])

    @property
    def third(self) -> int:
        """The third, or what stands in for it (a fourth in sus4, the fifth in a power chord)."""
        return self.tones[1]

    @property
    def fifth(self) -> int:
        return self.tones[-1] if self.quality == "5" else self.tones[2]

    def symbol(self, flats: bool) -> str:
        """As on a lead sheet: "C#m7", or "Dbm7" where a key has flats; "C/E" over another bass."""
        names = FLAT_NAMES if flats else SHARP_NAMES
        return names[self.root] + self.quality + (f"/{names[self.bass]}" if self.bass != self.root else "")

    def moved(self, semitones: int) -> Chord:
        return Chord((self.root + semitones) % 12, self.quality, (self.bass + semitones) % 12)


def roman(text: str, root: int) -> Chord:
    """A chord by its numeral above the major scale on `root`, in either mode: "i", "bVImaj7", "iiø7", "V7/ii", "I/3".

    Lower case is minor; o and ø7 diminish; a slash and a numeral is a dominant of that degree, a slash and 3, 5 or 7 the
    inversion with that tone in the bass.
    """
    match = _ROMAN.fullmatch(text)
    assert match, text
    accidental, numeral, suffix, target, inversion = match.groups()
    degree = _NUMERALS[numeral.lower()] + {"": 0, "b": -1, "#": 1}[accidental]
    if target:
        degree += _NUMERALS[target.lstrip("b#").lower()] + (target[0] == "#") - (target[0] == "b")
    if numeral.islower():
        quality = _LOWER[suffix]
    else:
        quality = suffix
    chord = Chord((root + degree) % 12, quality, (root + degree) % 12)
    bass = chord.tones[{"3": 1, "5": 2, "7": 3}[inversion]] if inversion else chord.root
    return Chord(chord.root, quality, bass)


def has_flats(root: int, mode: str) -> bool:
    """Whether a key is written with flats."""
    return root % 12 in _FLAT_KEYS[mode]


def scale_over(chord: Chord, root: int, mode: str) -> set[int]:
    """Pitch classes to move by over a chord: the key's, but the chord's own where it leaves the key."""
    scale = {(root + step) % 12 for step in SCALES[mode]}
    foreign = set(chord.tones) - scale
    kept = {tone for tone in scale if tone in chord.tones or not {(tone + 1) % 12, (tone - 1) % 12} & foreign}
    return kept | set(chord.tones)


def nearest(pitch_class: int, around: int) -> int:
    """The pitch of a class that lies nearest to `around`."""
    return around + (pitch_class - around + 6) % 12 - 6


def above(pitch_class: int, low: int) -> int:
    """The lowest pitch of a class that is not below `low`."""
    return low + (pitch_class - low) % 12


def voicing(pitch_classes: Iterable[int], low: int, previous: list[int] | None = None) -> list[int]:
    """Close voicing with its lowest note in [low, low + 12): the inversion that moves least from `previous`."""
    classes = list(pitch_classes)
    inversions = []
    for shift in range(len(classes)):
        order = classes[shift:] + classes[:shift]
        pitches = [above(order[0], low)]
        for pitch_class in order[1:]:
            pitches.append(above(pitch_class, pitches[-1] + 1))
        inversions.append(pitches)
    inversions = [pitches for pitches in inversions if pitches[-1] - pitches[0] <= 16] or inversions
    if previous is None:
        return inversions[0]
    return min(inversions, key=lambda pitches: movement(previous, pitches))


def movement(one: list[int], two: list[int]) -> int:
    """Semitones that the voices of one chord move to the nearest tones of another, and back."""
    there = sum(min(abs(a - b) for b in two) for a in one)
    return there + sum(min(abs(a - b) for a in one) for b in two)


def step(pitch: int, steps: int, scale: set[int]) -> int:
    """Move by scale steps, up or down."""
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        pitch += direction
        while pitch % 12 not in scale:
            pitch += direction
    return pitch
