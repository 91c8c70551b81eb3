"""From a seed to a score: tempo, key, metre and form are drawn, then the style's players write their parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mousai.data.synth.arrangements import acoustic, bands, electronic
from mousai.data.synth.form import build
from mousai.data.synth.score import METRES, Score
from mousai.data.synth.styles import STYLES, Style
from mousai.data.synth.voices import VOICES

QUIET = 0.5  # the energy of a section in which parts may rest
RESTS = 0.3  # how often one does
OPENS_WITHIN = 0.4  # how often a clip opens within a bar, cut out of a piece that goes on
ARRANGERS: dict[str, Callable[[Score, np.random.Generator], None]] = {
    "piano": acoustic.piano,
    "folk_guitar": acoustic.folk_guitar,
    "ambient": electronic.ambient,
    "techno": electronic.techno,
    "rock": bands.rock,
    "strings": acoustic.strings,
    "chiptune": electronic.chiptune,
    "jazz": bands.jazz,
    "lofi": electronic.lofi,
    "house": electronic.house,
    "drum_and_bass": electronic.drum_and_bass,
    "string_quartet": acoustic.string_quartet,
    "brass_band": acoustic.brass_band,
    "bossa_nova": bands.bossa_nova,
    "soul": bands.soul,
    "metal": bands.metal,
}


def arrange(style: Style, seconds: float, rng: np.random.Generator) -> Score:
    """Compose a piece that lasts at least `seconds` in a style; everything comes from `rng`."""
    bpm = float(rng.integers(style.bpm[0], style.bpm[1] + 1))
    mode = "minor" if rng.random() < style.minor else "major"
    metre = METRES[style.metres[int(rng.integers(len(style.metres)))]]
    if metre.division == 3:  # three notes a beat: what is quick in eighths is slower in dotted quarters
        bpm = float(round(style.bpm[0] + (bpm - style.bpm[0]) * 0.6))
    root = int(rng.integers(12))
    lead = float(rng.uniform(0, metre.beats)) if rng.random() < OPENS_WITHIN else 0.0
    num_bars = int(np.ceil((seconds * bpm / 60 + lead) / metre.beats)) + 1
    bars = build(num_bars, style.form, style.family, root, mode, metre, rng)
    score = Score(bpm, root, mode, metre, bars, round(float(rng.uniform(*style.swing)), 3), style.swing_unit, lead)
    ARRANGERS[style.name](score, rng)
    _thin_out(score, rng)
    score.parts = {name: notes for name, notes in score.parts.items() if any(score.seconds_of(note.start) < seconds for note in notes)}
    score.voices = {name: voice for name, voice in score.voices.items() if name in score.parts}
    return score


def _thin_out(score: Score, rng: np.random.Generator) -> None:
    """In quiet sections some parts are silent, but never the last of those with pitches."""
    for section in sorted({bar.section for bar in score.bars if bar.energy <= QUIET}):
        playing = {name for name, notes in score.parts.items() if any(isinstance(note.pitch, int) for note in notes)}
        for name in list(score.parts):
            if rng.random() < RESTS and VOICES[score.voices[name]].words and playing != {name}:
                playing.discard(name)
                score.parts[name] = [note for note in score.parts[name] if score.bar_at(note.start).section != section]


def compose(seed: int, index: int, seconds: float) -> tuple[Score, np.random.Generator]:
    """The score of clip `index` of a seed, and the generator to go on with; the styles take turns."""
    rng = np.random.default_rng([seed, index])
    style = list(STYLES.values())[index % len(STYLES)]
    return arrange(style, seconds, rng), rng
