"""The practice set's compositions as scores: straight, from their first bar on, with key, metre, sections and chords."""

from __future__ import annotations

from mousai.data.synth.score import Score as Composed
from mousai.data.synth.voices import DRUM_KEYS, VOICES
from mousai.symbolic.harmony import signature
from mousai.symbolic.score import Part, Score, notes_of

TICKS = 480  # a quarter
PROGRAMS = {  # General MIDI's of voices that no SoundFont plays
    "acid bass": 38, "deep bass": 39, "reese bass": 38, "drone": 95, "narrow pulse": 80, "thin pulse": 80, "square pulse": 80, "triangle": 38,
}  # fmt: skip
CHIP_KEYS = {"low": 36, "noise": 38, "high": 42}
UNPITCHED = ("air", "vinyl crackle")  # which are no notes
DENOMINATORS = {2: 4, 3: 8}  # by how many eighths a beat has


def score_of(composed: Composed) -> Score:
    """The score of a composition; its swing is left out, as musicians write it."""
    metre, quarters = composed.metre, composed.metre.division / 2  # of a beat

    def ticks(beats: float) -> int:
        return round(beats * quarters * TICKS)

    parts = []
    for name, notes in composed.parts.items():
        voice = composed.voices[name]
        if voice in UNPITCHED or not notes:
            continue
        drums = VOICES[voice].kit is not None
        bank, program = VOICES[voice].programs[0] if VOICES[voice].programs else (0, PROGRAMS.get(voice, 0))
        rows = ((ticks(note.start), max(ticks(note.start + note.length) - ticks(note.start), 1), key_of(note.pitch), max(1, round(127 * note.velocity))) for note in notes)
        parts.append(Part(name, program, drums or bank == 128, notes_of(rows)))
    numerator = metre.beats * (metre.division if metre.division == 3 else 1)
    return Score(
        TICKS, tuple(parts), ((0, round(composed.bpm * quarters, 3)),), ((0, numerator, DENOMINATORS[metre.division]),),
        ((0, signature(composed.root, composed.mode), composed.mode == "minor"),),
        tuple((ticks(bar.start), bar.section) for bar in composed.bars if bar.place == 0),
        tuple((ticks(span.start), span.chord.symbol(composed.flats)) for span in composed.spans),
    )  # fmt: skip


def key_of(pitch: int | str) -> int:
    """The MIDI key of a pitch or of a drum's name."""
    return pitch if isinstance(pitch, int) else CHIP_KEYS.get(pitch) or DRUM_KEYS[pitch]
