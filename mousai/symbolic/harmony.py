"""What a score says of its harmony: key, the chord of each half bar; and moving it to another key.

Keys follow from the notes' pitch classes by how long they sound, by the profiles of Albrecht and Shanahan (2013), among those of the key
signature where there is one. Chords are triads of `CHORDS` classes, by the same weights.
"""

from __future__ import annotations

import numpy as np

from mousai.audio.key import PROFILES
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score
from mousai.theory import MODES, QUALITIES, ROOT_NAMES, chord_tones

TRIADS = ("", "m", "dim")
CHORDS = 12 * len(TRIADS) + 1  # classes: 12 roots of each triad, then "no chord"
NO_CHORD = CHORDS - 1
CLEAR = 0.55  # share of the weight that a chord's tones need
_TEMPLATES = np.zeros((NO_CHORD, 12))
for _kind, _name in enumerate(TRIADS):
    for _root in range(12):
        _TEMPLATES[12 * _kind + _root, [(_root + step) % 12 for step in QUALITIES[_name]]] = (1.2, 1.0, 1.0)


def weights(score: Score, start: int = 0, end: int | None = None) -> np.ndarray:
    """How long each pitch class `(12,)` sounds between two ticks, in quarters; drums have none."""
    found = np.zeros(12)
    for part in score.parts:
        if not part.drums:
            first, last = part.notes[:, START], part.notes[:, START] + part.notes[:, LENGTH]
            sounding = np.minimum(last, last if end is None else end) - np.maximum(first, start)
            np.add.at(found, part.notes[:, PITCH] % 12, np.maximum(sounding, 0) / score.ticks)
    return found


def key_of_score(score: Score) -> tuple[int, str]:
    """Root and mode of the key that a score begins in; C major for one without pitches."""
    if score.keys and score.keys[0][0] == 0 and score.keys[0][2]:
        return (score.keys[0][1] * 7 + 9) % 12, "minor"
    heard = np.sqrt(weights(score))
    if not heard.any():
        return 0, "major"
    keys = [(root, mode) for root in range(12) for mode in MODES]
    if score.keys and score.keys[0][0] == 0:  # many programs write the mode of none
        root = score.keys[0][1] * 7 % 12
        keys = [(root, "major"), ((root + 9) % 12, "minor")]
    return max(keys, key=lambda key: np.corrcoef(heard, np.roll(PROFILES[key[1]], key[0]))[0, 1])


def moved(score: Score, semitones: int) -> Score:
    """A score in another key; drums stay, and what would leave the range of MIDI moves by an octave."""
    if semitones == 0:
        return score
    parts = []
    for part in score.parts:
        notes = part.notes.copy()
        if not part.drums:
            pitch = notes[:, PITCH] + semitones
            notes[:, PITCH] = np.where(pitch > 127, pitch - 12, np.where(pitch < 0, pitch + 12, pitch))
        parts.append(Part(part.name, part.program, part.drums, notes))
    keys = tuple((tick, signature((tonic(sharps, minor) + semitones) % 12, "minor" if minor else "major"), minor) for tick, sharps, minor in score.keys)
    chords = tuple((tick, chord_moved(symbol, semitones)) for tick, symbol in score.chords)
    return Score(score.ticks, tuple(parts), score.tempos, score.metres, keys, score.sections, chords, score.recipe)


def tonic(sharps: int, minor: bool) -> int:
    """The pitch class of a key signature's tonic."""
    return (sharps * 7 + (9 if minor else 0)) % 12


def signature(root: int, mode: str) -> int:
    """Sharps of a key's signature, -5 to 6; negative are flats."""
    return ((root + (3 if mode == "minor" else 0)) * 7 + 5) % 12 - 5


def chord_moved(symbol: str, semitones: int) -> str:
    """A chord symbol so many semitones higher; what is none stays."""
    chord, _, bass = symbol.partition("/")
    try:
        roots = [chord_tones(each)[0] for each in (chord, bass) if each]
    except (ValueError, IndexError):
        return symbol
    length = 2 if chord[1:2] in ("#", "b", "♯", "♭") else 1
    names = [ROOT_NAMES[(root + semitones) % 12] for root in roots]
    return names[0] + chord[length:] + (f"/{names[1]}" if bass else "")


def chord_class(symbol: str) -> int:
    """The class of a chord symbol: its root and the triad that is nearest to it."""
    try:
        tones = chord_tones(symbol.partition("/")[0])
    except ValueError:
        return NO_CHORD
    if not tones:
        return NO_CHORD
    steps = {(tone - tones[0]) % 12 for tone in tones}
    kind = 0 if 4 in steps or 3 not in steps else 2 if 6 in steps and 7 not in steps else 1
    return 12 * kind + tones[0]


def chord_symbol(chord: int) -> str:
    """A class as a symbol."""
    return "N.C." if chord == NO_CHORD else ROOT_NAMES[chord % 12] + TRIADS[chord // 12]


def chords_of(score: Score, spans: list[tuple[int, int]]) -> np.ndarray:
    """The chord class of each span of ticks: what the score's own chord track says, else what its notes make likeliest."""
    if score.chords:
        ticks = [tick for tick, _ in score.chords]
        places = [max(np.searchsorted(ticks, start, side="right") - 1, 0) for start, _ in spans]
        return np.array([chord_class(score.chords[place][1]) for place in places])
    return np.array([_likeliest(weights(score, start, end)) for start, end in spans], dtype=np.int64)


def _likeliest(heard: np.ndarray) -> int:
    if not heard.sum():
        return NO_CHORD
    best = int((_TEMPLATES @ heard).argmax())
    return best if heard[_TEMPLATES[best] > 0].sum() >= CLEAR * heard.sum() else NO_CHORD
