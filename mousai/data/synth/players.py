"""How parts are played: chords held, struck, strummed or broken, bass lines, and drums with fills.

Rhythms are texts, one letter a step, as long as a bar: chords and drums "X" loud, "x" plain, "o" soft, "." nothing, "-"
held on (chords alone). Texts divided by "|" take turns, bar after bar of a section.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mousai.data.synth.score import Bar, Note, Score, Span
from mousai.data.synth.theory import above, nearest, scale_over, step, voicing

Rng = np.random.Generator
LOUDNESS = {"X": 1.0, "x": 0.78, "o": 0.5}


def choose(rng: Rng, options: Sequence):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def level(bar: Bar) -> float:
    """How loud a bar is played: 0.62 where nothing happens to 1 where all does."""
    return 0.62 + 0.38 * bar.energy


def voiced(score: Score, low: int, size: int = 4, rootless: bool = False) -> dict[float, list[int]]:
    """Pitches of each chord by its start, led with little movement; without the root where the bass has it."""
    found: dict[float, list[int]] = {}
    previous = None
    for span in score.spans:
        tones = list(span.chord.tones)
        if rootless and len(tones) > 3:
            tones = tones[1:]
        if len(tones) > size:  # the fifth says least
            tones = [tone for tone in tones if tone != span.chord.fifth][:size]
        previous = voicing(tones, low, previous)
        found[span.start] = previous
    return found


def span_at(bar: Bar, beat: float) -> Span:
    """The chord that sounds at a beat."""
    return next(span for span in reversed(bar.spans) if span.start <= beat + 1e-6)


def bar_text(pattern: str | Callable[[Bar], str], bar: Bar) -> str:
    """The text of a bar: of those divided by "|" in turn, or what a function says."""
    texts = (pattern(bar) if callable(pattern) else pattern).split("|")
    return texts[bar.place % len(texts)]


def play(score: Score, part: str, notes: list[Note], gain: float = 1.0, transpose: int = 0, hold: float = 1.0) -> None:
    for note in notes:
        score.add(part, note.start, note.length * hold, int(note.pitch) + transpose, note.velocity * gain)


def hold_chords(score: Score, part: str, voicings: dict[float, list[int]], velocity: float, overlap: float = 0.1, least: float = 0.0) -> None:
    """Every chord for its whole length, in bars of at least that energy."""
    for bar in score.bars:
        if bar.energy < least:
            continue
        for span in bar.spans:
            for pitch in voicings[span.start]:
                score.add(part, span.start, span.length + overlap, pitch, velocity * level(bar))


def strike_chords(
    score: Score, part: str, voicings: dict[float, list[int]], pattern: str | Callable[[Bar], str], velocity: float, hold: float = 0.9,
    least: float = 0.0,
) -> None:  # fmt: skip
    """Chords in the rhythm of a text, or of one text a bar; a chord sounds `hold` of the way to the next letter."""
    for bar in score.bars:
        if bar.energy < least:
            continue
        text = bar_text(pattern, bar)
        unit = score.metre.beats / len(text)
        for at, length, loud in _hits(text):
            start = bar.start + at * unit
            for pitch in voicings[span_at(bar, start).start]:
                score.add(part, start, length * unit * hold, pitch, velocity * loud * level(bar))


def _hits(text: str) -> list[tuple[int, int, float]]:
    """(step, steps held, loudness) of each letter."""
    found = []
    for i, letter in enumerate(text):
        if letter in LOUDNESS:
            found.append((i, _held(text, i), LOUDNESS[letter]))
    return found


def _held(text: str, i: int) -> int:
    """Steps from a letter to the next that is not "-"."""
    return next((j for j in range(i + 1, len(text)) if text[j] != "-"), len(text)) - i


def strum(score: Score, part: str, voicings: dict[float, list[int]], pattern: str, velocity: float, spread: float = 0.02, hold: float = 1.0) -> None:
    """Guitar strokes: "D" and "d" down, "u" up and softer, "x" damped, "." or "-" none; strings follow each other."""
    for bar in score.bars:
        text = bar_text(pattern, bar)
        unit = score.metre.beats / len(text)
        for i, stroke in enumerate(text):
            if stroke in ".-":
                continue
            start = bar.start + i * unit
            pitches = voicings[span_at(bar, start).start]
            if stroke == "u":
                pitches = pitches[:1:-1] if len(pitches) > 4 else pitches[::-1]
            rings = _held(text, i)
            length = 0.12 if stroke == "x" else rings * unit * hold
            loud = {"D": 1.0, "d": 0.8, "u": 0.62, "x": 0.5}[stroke]
            for string, pitch in enumerate(pitches):
                score.add(part, start + string * spread * score.bpm / 120, length, pitch, velocity * loud * level(bar))


def arpeggiate(
    score: Score, part: str, rungs_of: Callable[[Span], list[int]], order: Sequence[int], velocity: float, ring: float = 1.0, least: float = 0.0
) -> None:
    """Broken chords: `order` names rungs of each chord's ladder of pitches, spread evenly over a bar."""
    unit = score.metre.beats / len(order)
    for bar in score.bars:
        if bar.energy < least:
            continue
        for i, rung in enumerate(order):
            start = bar.start + i * unit
            span = span_at(bar, start)
            ladder = rungs_of(span)
            length = max(unit, min(ring, span.start + span.length - start))
            accent = 1.0 if i == 0 else 0.86 if start % 1 == 0 else 0.74
            score.add(part, start, length, ladder[rung % len(ladder)], velocity * accent * level(bar))


def ladder(low: int, span: Span, rungs: int = 6) -> list[int]:
    """The bass, then chord tones upwards from a fifth above it."""
    bass = above(span.chord.bass, low)
    pitches, tones = [bass], list(span.chord.tones)
    at = bass + 6
    while len(pitches) < rungs:
        at = min(above(tone, at + 1) for tone in tones)
        pitches.append(at)
    return pitches


# Bass


def bass_line(score: Score, part: str, pattern: str | Callable[[Bar], str], low: int, velocity: float, hold: float = 0.92, least: float = 0.0) -> None:
    """A line from a text: "r" root or bass, "5" fifth, "3" third, "8" octave, "a" a step before the next root, "-" held.

    Capitals R and O are accented root and octave.
    """
    bars = score.bars
    for bar, following in zip(bars, [*bars[1:], bars[-1]]):
        if bar.energy < least:
            continue
        text = bar_text(pattern, bar)
        unit = score.metre.beats / len(text)
        for i, letter in enumerate(text):
            if letter in ".-":
                continue
            start = bar.start + i * unit
            chord = span_at(bar, start).chord
            root = above(chord.bass, low)
            pitch = {
                "r": root, "R": root, "8": root + 12, "O": root + 12, "5": nearest(chord.fifth, root + 6), "3": nearest(chord.third, root + 4),
                "a": _approach(score, bar, root, above(following.spans[0].chord.bass, low)),
            }[letter]  # fmt: skip
            loud = 1.0 if letter in "RO" else 0.85
            score.add(part, start, _held(text, i) * unit * hold, pitch, velocity * loud * level(bar))


def _approach(score: Score, bar: Bar, root: int, target: int) -> int:
    """The scale's step towards the next root, from where the line is."""
    scale = scale_over(bar.spans[-1].chord, (score.root + bar.shift) % 12, score.mode)
    return step(target, -1 if target >= root else 1, scale)


def walking_bass(score: Score, part: str, rng: Rng, low: int = 31, high: int = 55, velocity: float = 0.8) -> None:
    """A note a beat: the root where a chord begins, its tones on the way, a half step before the next."""
    spans = score.spans
    at = above(spans[0].chord.bass, low + 5)
    for span, following in zip(spans, [*spans[1:], spans[-1]]):
        beats = int(span.length)
        target = nearest(following.chord.bass, at)
        for beat in range(beats):
            if beat == 0:
                pitch = nearest(span.chord.bass, at)
            elif beat == beats - 1:
                pitch = target + int(choose(rng, (-1, 1, 1, 2, -2)))
            else:
                pitch = nearest(choose(rng, span.chord.tones[:3]), at + int(choose(rng, (-3, 3, 4))))
            while pitch > high:
                pitch -= 12
            while pitch < low:
                pitch += 12
            at = pitch
            target = nearest(following.chord.bass, at)
            score.add(part, span.start + beat, 0.92, pitch, velocity * (1.0 if beat % 2 == 0 else 0.9))
            if rng.random() < 0.08:
                score.add(part, span.start + beat + 0.5, 0.4, pitch, velocity * 0.6)
