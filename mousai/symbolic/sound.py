"""Scores as sound: each part played by a SoundFont's programme, or by the practice set's own instruments, placed and mixed by ear.

Levels, one room for all and one loudness are those of the practice set (data/synth/mix.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mousai.data.synth.instruments import SAMPLE_RATE
from mousai.data.synth.mix import at_loudness, at_rms, balance, fade_out, limit, mastering_gain, reverberate
from mousai.data.synth.render import BUS_RMS, finish, play_own
from mousai.data.synth.score import METRES, Note, Score as Timed
from mousai.data.synth.soundfont import Font
from mousai.data.synth.voices import DRUM_KEYS, LEVELS, PANS, VOICES, Voice
from mousai.symbolic.score import DRUMS, LENGTH, PITCH, START, VELOCITY, Part, Score

TAIL_SECONDS = 2.5  # that the last notes ring
LONGEST_SECONDS = 3600.0  # of a rendering, which is held in memory whole
ROOM_SECONDS = 1.4
FAMILY_VOICES = (  # who plays a family's programmes that the practice set has no voice for
    "piano", "vibraphone", "organ", "nylon guitar", "double bass", "violin section", "strings", "brass section", "clarinet", "flute", "synth lead", "synth pad",
    "synth pad", "nylon guitar", "music box", "glass bells",
)  # fmt: skip
FAMILY_LEVELS = (-2, -6, -7, -5, -3, -5, -8, -5, -4, -4, -4, -9, -9, -6, -7, -10, -1)  # LU, the drums' last
OTHER_DRUMS = {35: "kick", 40: "snare", 41: "tom_low", 43: "tom_low", 48: "tom_high", 55: "crash", 57: "crash", 54: "tambourine", 62: "conga_high", 69: "shaker", 82: "shaker"}
PARTED = 0.35  # how far to the sides parts are set that nothing else places


@dataclass(frozen=True)
class Sound:
    """A score as stereo audio `(2, s)` at `SAMPLE_RATE`, and its parts `(2, s)` where they were asked for, in the score's order."""

    audio: np.ndarray
    stems: list[np.ndarray]


def voice_of(part: Part) -> Voice:
    """The practice set's voice of a part: one that plays its very programme, else its family's."""
    if part.drums:
        kits = {preset: name for name, voice in reversed(VOICES.items()) if voice.kit for bank, preset in voice.programs}
        return VOICES[kits.get(part.program, "drums")]
    named = {preset: name for name, voice in reversed(VOICES.items()) if voice.tone for bank, preset in voice.programs if bank == 0}
    return VOICES[named.get(part.program) or FAMILY_VOICES[part.family]]


def check_length(seconds: float) -> None:
    """ValueError for a score that lasts longer than can be rendered."""
    if seconds + TAIL_SECONDS > LONGEST_SECONDS:
        raise ValueError(f"the score lasts {seconds / 60:.0f} minutes, at most {LONGEST_SECONDS / 60:.0f} are rendered at once; render parts of it")


def play(score: Score, font: Font | None = None, *, stems: bool = False, seed: int = 0) -> Sound:
    """Plays a score, with its mix at the practice set's loudness and each sample within ±0.98; ValueError for one that is too long.

    Parts carry their share of the room and sum to the mix, save where that is bent under full scale.
    """
    check_length(score.seconds)
    num_samples = round((score.seconds + TAIL_SECONDS) * SAMPLE_RATE)
    dry, send = np.zeros((2, num_samples), np.float32), np.zeros((2, num_samples), np.float32)
    alone = []
    for number, part in enumerate(score.parts):
        voice = voice_of(part)
        bus = balance(at_loudness(_bus(part, voice, score, num_samples, font, np.random.default_rng([seed, number])), level_of(part) - 30), pan_of(number, score))
        dry += bus
        send += voice.reverb * bus
        if stems:
            alone.append(finish(bus + reverberate(voice.reverb * bus, ROOM_SECONDS)))
    mix = finish(dry + reverberate(send, ROOM_SECONDS))
    gain = mastering_gain(mix)
    return Sound(fade_out(limit(gain * mix)), [fade_out(gain * stem) for stem in alone])


def level_of(part: Part) -> float:
    """Loudness of a part where it plays, in LU beside a kit of drums: by its name where the practice set knows it, else its family's."""
    return LEVELS.get(part.name, FAMILY_LEVELS[part.family])


def pan_of(number: int, score: Score) -> float:
    """A part's place: by its name, else drums and basses in the middle and the others in turn to the sides."""
    part = score.parts[number]
    if part.name in PANS:
        return PANS[part.name]
    others = [i for i, each in enumerate(score.parts) if each.family not in (DRUMS, 4)]
    if number not in others or len(others) == 1:
        return 0.0
    return PARTED * (1 if others.index(number) % 2 else -1) * (1 - others.index(number) / (2 * len(others)))


def _bus(part: Part, voice: Voice, score: Score, num_samples: int, font: Font | None, rng: np.random.Generator) -> np.ndarray:
    starts, ends = score.seconds_at(part.notes[:, START]), score.seconds_at(part.notes[:, START] + part.notes[:, LENGTH])
    timed = Timed(score.tempos[0][1] if score.tempos else 120.0, 0, "major", METRES["4/4"], [])
    if font is not None:
        late = voice.late + voice.jitter * rng.standard_normal(len(starts))
        on = np.maximum(np.round((starts + late) * SAMPLE_RATE), 0).astype(int)
        off = np.round(ends * SAMPLE_RATE).astype(int)
        hits = list(zip(on.tolist(), off.tolist(), part.notes[:, PITCH].tolist(), part.notes[:, VELOCITY].tolist(), strict=True))
        bus = font.play(128 if part.drums else 0, part.program, hits, num_samples)
    else:
        beat = 60.0 / timed.bpm
        notes = [Note(start / beat, (end - start) / beat, key, velocity / 127) for start, end, key, velocity in zip(starts, ends, _keys(part, voice), part.notes[:, VELOCITY], strict=True)]
        bus = play_own(voice, notes, timed, num_samples, rng)
    for effect in (voice.amp if font is None else None, voice.effect):
        if effect:
            bus = effect(at_rms(bus, BUS_RMS), timed, rng)
    return bus


def _keys(part: Part, voice: Voice) -> list[int | str]:
    """The pitches of a part, of drums the names that their kit knows."""
    if not voice.kit:
        return part.notes[:, PITCH].tolist()
    names = OTHER_DRUMS | {key: name for name, key in reversed(DRUM_KEYS.items())}
    return [name if (name := names.get(key, "closed")) in voice.kit else next(iter(voice.kit)) for key in part.notes[:, PITCH].tolist()]
