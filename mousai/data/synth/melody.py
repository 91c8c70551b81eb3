"""Tunes over chords: motifs that come back, chord tones on strong beats, steps between, a long note to close a phrase."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mousai.data.synth.score import Note, Score, Span
from mousai.data.synth.theory import nearest, scale_over, step

Rhythm = tuple[float, ...]  # lengths in beats that fill a bar; a negative one is a rest

_THIRD = 1 / 3
RHYTHMS: dict[str, dict[tuple[int, int], tuple[Rhythm, ...]]] = {  # by beats of the bar and division of the beat
    "lyric": {
        (4, 2): ((2, 1, 1), (1, 1, 2), (1.5, 0.5, 2), (3, 1), (1, 0.5, 0.5, 2), (-1, 1, 1, 1), (1.5, 0.5, 1, 1)),
        (3, 2): ((2, 1), (1, 1, 1), (1.5, 0.5, 1), (1, 2), (2, 0.5, 0.5)),
        (2, 3): ((1, 2 * _THIRD, _THIRD), (2 * _THIRD, _THIRD, 1), (1, _THIRD, _THIRD, _THIRD), (2,)),
    },
    "lively": {
        (4, 2): (
            (1, 0.5, 0.5, 1, 1), (0.5, 0.5, 1, 0.5, 0.5, 1), (1.5, 0.5, 1, 1), (0.5, 1, 0.5, 1, 1), (0.5, 0.5, 0.5, 1, 0.5, 1),
            (1.5, 1.5, 1), (-0.5, 0.5, 0.5, 0.5, 1, 1), (0.75, 0.75, 0.5, 1, 1),
        ),
        (3, 2): ((1, 0.5, 0.5, 1), (0.5, 0.5, 1, 1), (1.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5, 1)),
        (2, 3): ((_THIRD,) * 3 + (2 * _THIRD, _THIRD), (2 * _THIRD, _THIRD, _THIRD, _THIRD, _THIRD), (_THIRD,) * 6),
    },
    "syncopated": {
        (4, 2): (
            (0.75, 0.75, 0.5, 0.5, 0.5, 1), (-0.5, 0.5, 0.25, 0.75, 1, 1), (0.5, 0.25, 0.75, 0.5, 1, 1), (1.5, 0.25, 0.25, 1, -1),
            (0.75, 0.25, 0.5, 0.5, 2), (-1, 0.5, 0.5, 0.75, 0.25, 1),
        ),
    },
    "solo": {
        (4, 2): (
            (0.5,) * 8, (1, 0.5, 0.5, 0.5, 0.5, 1), (-0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1), (0.5, 0.5, 0.5, 1, 0.5, 0.5, -0.5),
            (_THIRD, _THIRD, _THIRD, 0.5, 0.5, 1, 1),
        ),
        (3, 2): ((0.5,) * 6, (1, 0.5, 0.5, 0.5, 0.5), (-0.5, 0.5, 0.5, 0.5, 1)),
    },
    "broad": {
        (4, 2): ((4,), (2, 2), (3, 1), (2, 1, 1)), (3, 2): ((3,), (2, 1)), (2, 3): ((2,), (1, 1)),
    },
}  # fmt: skip


@lru_cache
def rhythms(kind: str, beats: int, division: int) -> tuple[Rhythm, ...]:
    """The rhythms of a kind for a bar; 12/8 is two bars of 6/8, and what a metre has none of falls back to "lively"."""
    table = RHYTHMS[kind]
    if (beats, division) == (4, 3):
        half = table.get((2, 3), RHYTHMS["lively"][2, 3])
        return tuple(a + b for a in half for b in half)
    return table.get((beats, division), RHYTHMS["lively"].get((beats, division), ()))


def melody(
    score: Score,
    rng: np.random.Generator,
    kind: str,
    center: int,
    span: int = 9,
    rest: float = 0.08,
    sections: tuple[str, ...] | None = None,
) -> list[Note]:
    """A tune through the piece, or through the named sections alone, within `span` semitones of `center`.

    In each phrase of four bars the third takes up the first, and the fourth closes on a long chord tone. A section
    that comes back brings its motifs along.
    """
    motifs: dict[str, _Motif] = {}
    notes: list[Note] = []
    pitch = center
    for bar in score.bars:
        if sections and bar.section not in sections:
            continue
        motif = motifs.setdefault(bar.section, _Motif(score, rng, kind))
        start = bar.start
        for i, length in enumerate(motif.rhythm(bar.place, bar.last)):
            end = start + abs(length)
            if length > 0 and not (i and rng.random() < rest):
                pitch = _next(pitch, center, span, _chord_at(bar.spans, start), score, bar.shift, start, motif.turn(bar.place, i))
                accent = 0.1 * (start == bar.start) - 0.04 * (start % 1 > 0)
                rise = 0.08 * np.sin(np.pi * (bar.place % 4 + (start - bar.start) / score.metre.beats) / 4)
                notes.append(Note(start, length, pitch, 0.5 + 0.25 * bar.energy + accent + rise + 0.04 * rng.standard_normal()))
            start = end
    return notes


class _Motif:
    """What a section's phrases are made of: two rhythms, a closing one, and a contour."""

    def __init__(self, score: Score, rng: np.random.Generator, kind: str) -> None:
        choice = rhythms(kind, score.metre.beats, score.metre.division)
        self.first, self.second = (choice[rng.integers(len(choice))] for _ in range(2))
        beats = float(score.metre.beats)
        self.closing = (beats,) if kind == "broad" or rng.random() < 0.4 else (beats - 1, -1.0) if beats > 2 else (beats,)
        self.contour = rng.choice([-2, -1, -1, 1, 1, 2], size=48)

    def rhythm(self, place: int, last: bool) -> Rhythm:
        return self.closing if place % 4 == 3 or last else self.second if place % 4 == 1 else self.first

    def turn(self, place: int, i: int) -> int:
        return int(self.contour[(i + 16 * (place % 2)) % len(self.contour)])


def _chord_at(spans: tuple[Span, ...], beat: float) -> Span:
    return next(span for span in reversed(spans) if span.start <= beat + 1e-6)


def _next(pitch: int, center: int, span: int, at: Span, score: Score, shift: int, start: float, turn: int) -> int:
    """Strong beats take the chord tone next to the last note, others a step; the range pulls back to its middle."""
    strong = abs(start - at.start) < 1e-6 or start % 2 == 0
    if strong:
        tones = at.chord.tones[:4]
        wanted = pitch + (turn if abs(pitch - center) < span - 3 else 0)
        pitch = min((nearest(tone, wanted) for tone in tones), key=lambda p: abs(p - wanted) + abs(p - center) / 3)
    else:
        inward = turn if abs(pitch + 2 * turn - center) < span else -abs(turn) if pitch > center else abs(turn)
        pitch = step(pitch, inward, scale_over(at.chord, (score.root + shift) % 12, score.mode))
    while pitch - center > span:
        pitch -= 12
    while center - pitch > span:
        pitch += 12
    return pitch


def counterpoint(score: Score, tune: list[Note], low: int) -> list[Note]:
    """A second voice below a tune: the chord tone a third to a sixth under each of its notes, in its rhythm."""
    notes = []
    for note in tune:
        bar = score.bar_at(note.start)
        tones = _chord_at(bar.spans, note.start).chord.tones[:3]
        under = [nearest(tone, int(note.pitch) - 5) for tone in tones]
        under = [p for p in under if 3 <= int(note.pitch) - p <= 9] or [int(note.pitch) - 12]
        pitch = max(under)
        if pitch < low:
            pitch += 12
        notes.append(Note(note.start, note.length, pitch, note.velocity * 0.85))
    return notes


