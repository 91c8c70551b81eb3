"""Notes, keys, progressions, voicings and melodies: the score that the practice set's arrangements are written with.

Time is in beats (quarter notes) while composing; `Score.seconds_of` turns it into seconds. Pitch is MIDI number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PITCH_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}

# One chord a bar, as scale degrees counted from 0; the four-bar phrases of common practice and popular music.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (3, 0, 4, 5), (0, 2, 3, 4), (0, 3, 5, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (0, 3, 6, 2), (0, 5, 3, 4), (5, 6, 0, 0)),
}
JAZZ_PROGRESSIONS = {
    "major": ((1, 4, 0, 5), (0, 5, 1, 4), (2, 5, 1, 4), (0, 3, 1, 4)),
    "minor": ((1, 4, 0, 0), (0, 5, 1, 4), (0, 3, 1, 4), (3, 6, 2, 4)),
}


@dataclass(frozen=True)
class Note:
    """One note of a part: start and length in beats, MIDI pitch (or a drum's name), velocity in (0, 1]."""

    start: float
    length: float
    pitch: int | str
    velocity: float


@dataclass
class Score:
    """A piece: parts by name, each a list of notes; `beats` in all; `swing` delays the second eighth of each beat."""

    bpm: float
    root: int  # pitch class 0..11
    mode: str  # "major" or "minor"
    beats: float
    swing: float = 0.0  # 0 = straight, 1/6 of a beat = triplet swing
    parts: dict[str, list[Note]] = field(default_factory=dict)

    def add(self, part: str, start: float, length: float, pitch: int | str, velocity: float) -> None:
        """Append a note; notes that would start after the piece's end are left out."""
        if start < self.beats:
            self.parts.setdefault(part, []).append(Note(start, length, pitch, float(min(max(velocity, 0.05), 1.0))))

    def seconds_of(self, beat: float) -> float:
        whole, fraction = divmod(beat, 1.0)
        if self.swing:  # piecewise linear: the off-beat eighth moves from 1/2 to 1/2 + swing
            middle = 0.5 + self.swing
            fraction = fraction * 2 * middle if fraction < 0.5 else middle + (fraction - 0.5) * 2 * (1 - middle)
        return (whole + fraction) * 60.0 / self.bpm


def key_name(root: int, mode: str) -> str:
    return f"{PITCH_NAMES[root]} {mode}"


def degree_pitch(root: int, mode: str, degree: int, octave: int) -> int:
    """MIDI pitch of a scale degree (0 = tonic; any integer) above the tonic of `octave` (4 = the octave of middle C)."""
    steps = SCALES[mode]
    return 12 * (octave + 1) + root + 12 * (degree // 7) + steps[degree % 7]


def chord(root: int, mode: str, degree: int, size: int = 3) -> list[int]:
    """Pitch classes of the chord of stacked thirds on a degree; a minor key's fifth degree takes the leading tone."""
    pitches = [degree_pitch(root, mode, degree + 2 * i, 0) % 12 for i in range(size)]
    if mode == "minor" and degree % 7 == 4:
        pitches[1] = (root + 11) % 12
    return pitches


def progression(rng: np.random.Generator, mode: str, bars: int, table: dict = PROGRESSIONS) -> list[int]:
    """One degree a bar: phrases of four bars in the form A A B A."""
    first, second = (table[mode][i] for i in rng.permutation(len(table[mode]))[:2])
    phrases = (first, first, second, first)
    return [phrases[(bar // 4) % 4][bar % 4] for bar in range(bars)]


def voicing(pitch_classes: list[int], low: int, previous: list[int] | None = None) -> list[int]:
    """Close voicing with its lowest note in [low, low + 12): the inversion that moves least from `previous`."""
    inversions = []
    for shift in range(len(pitch_classes)):
        order = pitch_classes[shift:] + pitch_classes[:shift]
        pitches = [low + (order[0] - low) % 12]
        for pitch_class in order[1:]:
            pitches.append(pitches[-1] + 1 + (pitch_class - pitches[-1] - 1) % 12)
        inversions.append(pitches)
    if previous is None:
        return inversions[0]
    return min(inversions, key=lambda pitches: sum(abs(a - b) for a, b in zip(pitches, previous)))


def nearest(pitch_class: int, around: int) -> int:
    """The pitch of a class that lies nearest to `around`."""
    return around + (pitch_class - around + 6) % 12 - 6


def melody(
    rng: np.random.Generator,
    score: Score,
    degrees: list[int],
    rhythms: tuple[tuple[float, ...], ...],
    center: int,
    beats_per_bar: int = 4,
    rest: float = 0.1,
) -> list[Note]:
    """A tune over one chord a bar, in phrases of four bars that repeat a motif.

    rhythms: bars as tuples of note lengths in beats. Bars 1 and 3 of a phrase share rhythm and contour; strong beats are
    chord tones, other notes move by step in the scale; the last bar is one long chord tone.
    """
    motif = rhythms[rng.integers(len(rhythms))]
    answer = rhythms[rng.integers(len(rhythms))]
    contour = rng.choice([-2, -1, -1, 1, 1, 2], size=32)
    notes, pitch = [], center
    scale = {(score.root + step) % 12 for step in SCALES[score.mode]}
    for bar, degree in enumerate(degrees):
        place = bar % 4
        rhythm = (float(beats_per_bar),) if place == 3 else (answer if place == 1 else motif)
        tones = chord(score.root, score.mode, degree)
        start = 0.0
        for i, length in enumerate(rhythm):
            if start % 2 == 0:
                pitch = min((nearest(tone, pitch) for tone in tones), key=lambda p: abs(p - pitch) + abs(p - center) / 3)
            else:
                pitch = _step(pitch, int(contour[(i + 8 * place) % 32]), scale)
            if pitch - center > 9:
                pitch -= 12
            elif center - pitch > 9:
                pitch += 12
            if not (start > 0 and place != 3 and rng.random() < rest):
                accent = 0.12 if start == 0 else 0.0
                notes.append(Note(bar * beats_per_bar + start, length, pitch, 0.65 + accent + 0.1 * rng.standard_normal()))
            start += length
    return notes


def _step(pitch: int, steps: int, scale: set[int]) -> int:
    """Move by scale steps."""
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        pitch += direction
        while pitch % 12 not in scale:
            pitch += direction
    return pitch
