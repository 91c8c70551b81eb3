"""How each class of the practice set is played: a function a style that writes its parts into a score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mousai.data.synth.compose import JAZZ_PROGRESSIONS, Note, Score, chord, melody, nearest, progression, voicing
from mousai.data.synth.styles import Style

LYRIC = ((2.0, 1.0, 1.0), (1.0, 1.0, 2.0), (1.5, 0.5, 2.0), (3.0, 1.0), (1.0, 0.5, 0.5, 2.0))
LIVELY = ((1.0, 0.5, 0.5, 1.0, 1.0), (0.5, 0.5, 1.0, 0.5, 0.5, 1.0), (1.5, 0.5, 1.0, 1.0), (0.5, 1.0, 0.5, 1.0, 1.0))
BROAD = ((4.0,), (2.0, 2.0), (3.0, 1.0))


def arrange(style: Style, seconds: float, rng: np.random.Generator) -> Score:
    """Compose a piece of at least `seconds` in a style: key, tempo, progression and all parts come from `rng`."""
    bpm = float(rng.integers(style.bpm[0], style.bpm[1] + 1))
    mode = "minor" if rng.random() < style.minor else "major"
    bars = int(np.ceil(seconds * bpm / 240)) + 1
    score = Score(bpm=bpm, root=int(rng.integers(12)), mode=mode, beats=4.0 * bars)
    _ARRANGERS[style.name](score, bars, rng)
    return score


def _play(score: Score, part: str, notes: list[Note], gain: float = 1.0, transpose: int = 0, hold: float = 1.0) -> None:
    for note in notes:
        score.add(part, note.start, note.length * hold, note.pitch + transpose, note.velocity * gain)


def _piano(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, bars)
    patterns = ((0, 2, 4, 2, 3, 2, 4, 2), (0, 2, 3, 4, 5, 4, 3, 2), (0, 2, 4, 5), (0, 3, 2, 3))
    pattern = patterns[rng.integers(len(patterns))]
    step = 4.0 / len(pattern)
    for bar, degree in enumerate(degrees):
        tones = chord(score.root, score.mode, degree)
        bass = 36 + (tones[0] - 36) % 12
        ladder = [bass, bass + 7, bass + 12, nearest(tones[1], bass + 15), bass + 19, bass + 24]
        for i, rung in enumerate(pattern):
            start = i * step
            velocity = 0.48 + 0.12 * (i == 0) + 0.05 * rng.standard_normal()
            score.add("piano", bar * 4 + start, 4.0 - start, ladder[rung], velocity)  # pedal down until the bar's end
    _play(score, "piano", melody(rng, score, degrees, LYRIC, int(rng.integers(69, 77))), hold=1.4)


def _folk_guitar(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, bars)
    patterns = ((0, 2, 1, 3, 0, 2, 4, 3), (0, 3, 2, 4, 1, 3, 2, 4), (0, 2, 3, 4, 1, 4, 3, 2))
    pattern = patterns[rng.integers(len(patterns))]
    for bar, degree in enumerate(degrees):
        tones = chord(score.root, score.mode, degree)
        bass = 40 + (tones[0] - 40) % 12
        strings = [bass, bass + 7] + [p for p in voicing(tones, 55)]
        for i, string in enumerate(pattern):
            velocity = 0.6 + 0.2 * (i in (0, 4)) + 0.07 * rng.standard_normal()
            score.add("guitar", bar * 4 + i / 2, 2.2 if string < 2 else 1.5, strings[string], velocity)
    if rng.random() < 0.6:
        _play(score, "guitar_melody", melody(rng, score, degrees, LIVELY, 71, rest=0.25), hold=1.3)


def _ambient(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, bars)
    bright = score.mode == "major"  # major: higher, with shimmer; minor: lower and darker
    previous = None
    score.add("air", -3.0, score.beats + 3, 96 if bright else 84, 0.8)
    for bar, degree in enumerate(degrees):
        tones = chord(score.root, score.mode, degree, size=4 if rng.random() < 0.5 else 3)
        previous = voicing(tones, 53 if bright else 46, previous if previous and len(previous) == len(tones) else None)
        start = bar * 4.0 if bar else -3.0  # the clip opens within the sound
        score.add("drone", start, bar * 4 + 4.2 - start, 36 + (tones[0] - 36) % 12, 0.7)
        for pitch in previous:
            score.add("pad", start, bar * 4 + 4.2 - start, pitch, 0.6 + 0.08 * rng.standard_normal())
        for _ in range(2 if bright else 1):
            if rng.random() < (0.8 if bright else 0.25):
                pitch = previous[rng.integers(len(previous))] + 24
                score.add("shimmer", bar * 4 + float(rng.integers(0, 4)), 2.0, pitch, 0.4)


def _techno(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, -(-bars // 2))
    bass_steps = rng.random(16) < 0.55
    bass_steps[[0, 4, 8, 12]] = rng.random() < 0.3
    bass_steps[[2, 6, 10, 14]] = True  # the off-beat bass
    octaves = rng.random(16) < 0.2
    stab_steps = sorted(rng.choice(np.array([3, 6, 7, 10, 11, 14]), 3, replace=False))
    claps = rng.random() < 0.8
    for bar in range(bars):
        tones = chord(score.root, score.mode, degrees[bar // 2])
        chord_pitches = voicing(tones, 55)
        for beat in range(4):
            at = bar * 4 + beat
            score.add("kick", at, 0.5, "kick", 1.0)
            score.add("hat", at + 0.5, 0.5, "open", 0.75)
            if claps and beat % 2:
                score.add("clap", at, 0.5, "clap", 0.8)
        for step in range(16):
            at = bar * 4 + step / 4
            score.add("hat", at, 0.2, "closed", 0.5 if step % 2 == 0 else 0.3)
            if bass_steps[step]:
                score.add("synth_bass", at, 0.22, 33 + (tones[0] - 33) % 12 + 12 * int(octaves[step]), 0.85)
            if step in stab_steps:
                for pitch in chord_pitches:
                    score.add("stab", at, 0.35, pitch, 0.6)


def _rock(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, bars)
    kicks = ((0.0, 2.0, 2.5), (0.0, 1.5, 2.0, 3.5), (0.0, 0.5, 2.0, 2.5), (0.0, 2.0, 3.5))[rng.integers(4)]
    riffs = ((0.5,) * 8, (1.0, 0.5, 0.5, 1.0, 0.5, 0.5), (1.5, 0.5, 1.5, 0.5), (2.0, 0.5, 0.5, 0.5, 0.5))
    riff = riffs[rng.integers(len(riffs))]
    hold = rng.uniform(0.6, 0.95)  # palm-muted to ringing
    cymbal = "ride" if rng.random() < 0.3 else "closed" if rng.random() < 0.6 else "open"
    for bar, degree in enumerate(degrees):
        root = 38 + (chord(score.root, score.mode, degree)[0] - 38) % 12
        start = 0.0
        for length in riff:
            for side in ("guitar_left", "guitar_right"):
                for interval in (0, 7, 12):
                    score.add(side, bar * 4 + start, length * hold, root + interval, 0.8 + 0.05 * rng.standard_normal())
            start += length
        for eighth in range(8):
            at = bar * 4 + eighth / 2
            score.add("bass_guitar", at, 0.48, root - 12 if root >= 43 else root, 0.75 + 0.1 * (eighth % 2 == 0))
            score.add("cymbals", at, 0.5, cymbal, 0.8 if eighth % 2 == 0 else 0.55)
        for at in kicks:
            score.add("kick", bar * 4 + at, 0.5, "kick", 0.95)
        for at in (1.0, 3.0):
            score.add("snare", bar * 4 + at, 0.5, "snare", 0.95)
        if bar % 4 == 0:
            score.add("cymbals", bar * 4, 2.0, "crash", 0.9)
        if bar % 4 == 3:
            for i, drum in enumerate(("tom_high", "tom_high", "tom_low", "tom_low")):
                score.add("toms", bar * 4 + 3 + i / 4, 0.4, drum, 0.75 + 0.05 * i)


def _strings(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, bars)
    marcato = rng.random() < 0.35  # repeated eighths below the tune instead of long chords
    previous = None
    for bar, degree in enumerate(degrees):
        tones = chord(score.root, score.mode, degree)
        previous = voicing(tones, 52, previous)
        low = 36 + (tones[0] - 36) % 12
        score.add("cellos", bar * 4, 4.0, low, 0.75)
        if marcato:
            for eighth in range(8):
                for pitch in previous[:2]:
                    score.add("violas_short", bar * 4 + eighth / 2, 0.38, pitch, 0.6 + 0.15 * (eighth % 4 == 0))
        else:
            for pitch in previous:
                score.add("violas", bar * 4, 4.0, pitch, 0.5)
    tune = melody(rng, score, degrees, BROAD + LYRIC, 74, rest=0.0)
    _play(score, "violins", tune)
    if rng.random() < 0.5:
        _play(score, "violins", tune, gain=0.6, transpose=12)


def _chiptune(score: Score, bars: int, rng: np.random.Generator) -> None:
    degrees = progression(rng, score.mode, bars)
    tune = melody(rng, score, degrees, LIVELY, 76)
    _play(score, "pulse_lead", tune, hold=0.85)
    arpeggio = ((0, 1, 2, 1), (0, 1, 2, 3), (2, 1, 0, 1))[rng.integers(3)]
    for bar, degree in enumerate(degrees):
        tones = voicing(chord(score.root, score.mode, degree), 60)
        tones.append(tones[0] + 12)
        bass = 40 + (chord(score.root, score.mode, degree)[0] - 40) % 12
        for step in range(16):
            score.add("pulse_arpeggio", bar * 4 + step / 4, 0.23, tones[arpeggio[step % 4]], 0.5)
        for eighth in range(8):
            score.add("triangle_bass", bar * 4 + eighth / 2, 0.42, bass + 12 * (eighth % 2), 0.8)
        for beat in range(4):
            at = bar * 4 + beat
            score.add("chip_noise", at, 0.3, "low" if beat % 2 == 0 else "snare", 0.8)
            score.add("chip_noise", at + 0.5, 0.2, "high", 0.4)


def _jazz(score: Score, bars: int, rng: np.random.Generator) -> None:
    score.swing = 0.16 if score.bpm < 150 else 0.12
    degrees = progression(rng, score.mode, bars, JAZZ_PROGRESSIONS)
    comps = ((0.0, 1.5), (1.5, 3.5), (0.5, 2.5), (0.0, 2.5), (1.5, 2.0))
    walk, previous = 40 + (chord(score.root, score.mode, degrees[0])[0] - 40) % 12, None
    for bar, degree in enumerate(degrees):
        tones = chord(score.root, score.mode, degree, size=4)
        following = chord(score.root, score.mode, degrees[(bar + 1) % bars])[0]
        previous = voicing(tones[1:] + [(tones[0] + 2) % 12], 53, previous)  # rootless, with the ninth
        line = [nearest(tones[0], walk), nearest(tones[1], walk + 3), nearest(tones[2], walk + 5)]
        target = nearest(following, line[2])
        line.append(target + int(rng.choice([-1, 1, 2])))
        for beat, pitch in enumerate(line):
            pitch = pitch - 12 if pitch > 57 else pitch + 12 if pitch < 33 else pitch
            score.add("upright_bass", bar * 4 + beat, 0.92, pitch, 0.8 + 0.06 * rng.standard_normal())
        walk = 40 + (following - 40) % 12
        for at in comps[rng.integers(len(comps))]:
            for pitch in previous:
                score.add(
                    "electric_piano", bar * 4 + at, float(rng.choice([0.4, 1.2])), pitch, 0.5 + 0.08 * rng.standard_normal()
                )
        for beat in range(4):
            at = bar * 4 + beat
            score.add("ride", at, 1.0, "ride", 0.75 if beat % 2 else 0.6)
            if beat % 2:
                score.add("ride", at + 0.5, 0.5, "ride", 0.45)
                score.add("hat", at, 0.2, "closed", 0.5)
            if rng.random() < 0.25:
                score.add("snare", at + 0.5, 0.3, "brush", 0.3)
    if rng.random() < 0.7:
        _play(score, "electric_piano", melody(rng, score, degrees, LIVELY, 74, rest=0.3), hold=0.9)


_ARRANGERS: dict[str, Callable[[Score, int, np.random.Generator], None]] = {
    "piano": _piano,
    "folk_guitar": _folk_guitar,
    "ambient": _ambient,
    "techno": _techno,
    "rock": _rock,
    "strings": _strings,
    "chiptune": _chiptune,
    "jazz": _jazz,
}
