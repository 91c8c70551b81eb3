"""From seed to sound: composes a clip, plays each part by its voice, and mixes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mousai.data.synth.compose import compose
from mousai.data.synth.instruments import SAMPLE_RATE, filtered
from mousai.data.synth.mix import at_loudness, at_rms, balance, fade_out, limit, mastering_gain, reverberate
from mousai.data.synth.score import Note, Score
from mousai.data.synth.soundfont import Font
from mousai.data.synth.styles import STYLES
from mousai.data.synth.voices import DRUM_KEYS, LEVELS, PANS, VOICES, Voice
from mousai.data.synth.words import describe

BUS_RMS = 0.3  # of a part before its effect
Rng = np.random.Generator


@dataclass(frozen=True)
class Clip:
    """A rendered piece: stereo audio (2, s), its metadata, and its parts (2, s) by name where asked for."""

    audio: np.ndarray
    metadata: dict
    stems: dict[str, np.ndarray]


def render(score: Score, room: float, seconds: float, rng: Rng, font: Font | None = None, stems: bool = False) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Play a score: (2, seconds · 48000) float32 at LOUDNESS_LUFS, every sample within ±0.98; and its parts if asked.

    Parts carry their share of the reverberation and sum to the mix, save where that is bent under full scale.
    """
    num_samples = round(seconds * SAMPLE_RATE)
    dry, send = np.zeros((2, num_samples), np.float32), np.zeros((2, num_samples), np.float32)
    parts: dict[str, np.ndarray] = {}
    for name, notes in score.parts.items():
        voice = VOICES[score.voices[name]]
        bus = _part(name, voice, notes, score, num_samples, rng, font)
        dry += bus
        send += voice.reverb * bus
        if stems:
            parts[name] = finish(bus + reverberate(voice.reverb * bus, room))
    mix = finish(dry + reverberate(send, room))
    gain = mastering_gain(mix)
    return fade_out(limit(gain * mix)), {name: fade_out(gain * part) for name, part in parts.items()}


def finish(audio: np.ndarray) -> np.ndarray:
    """A mix without what is too low to be heard."""
    return filtered(audio, "high", low=25.0)


def _part(name: str, voice: Voice, notes: list[Note], score: Score, num_samples: int, rng: Rng, font: Font | None) -> np.ndarray:
    """A part's bus (2, s) at its level and place."""
    seed = int(rng.integers(2**31))  # a part's chances are its own, whoever plays the others
    rng = np.random.default_rng(seed)
    own = rng.random() < voice.own or not voice.programs or font is None
    program = voice.programs[int(rng.integers(len(voice.programs)))] if voice.programs else (0, 0)
    if own or font is None:
        bus = play_own(voice, notes, score, num_samples, rng)
    else:
        bus = font.play(*program, _hits(voice, notes, score, rng), num_samples)
    for effect in (voice.amp if own else None, voice.effect):
        if effect:
            bus = effect(at_rms(bus, BUS_RMS), score, rng)
    bus = at_loudness(bus, LEVELS[name] - 30 + float(rng.normal(0, 1)))
    return balance(bus, PANS.get(name, 0.0))


def _times(voice: Voice, note: Note, score: Score, rng: Rng) -> tuple[float, float]:
    """When a note is played and let go, in seconds of the clip; before its beginning only what is meant to be."""
    start, end = score.seconds_of(note.start), score.seconds_of(note.start + note.length)
    played = start + voice.late + voice.jitter * float(rng.standard_normal())
    return (played if start < -1e-6 else max(played, 0.0)), end


def _hits(voice: Voice, notes: list[Note], score: Score, rng: Rng) -> list[tuple[int, int, int, int]]:
    hits = []
    for note in notes:
        start, end = _times(voice, note, score, rng)
        key = DRUM_KEYS[note.pitch] if isinstance(note.pitch, str) else note.pitch
        velocity = int(np.clip(round(127 * note.velocity * rng.uniform(0.93, 1.07)), 1, 127))
        hits.append((round(start * SAMPLE_RATE), round(end * SAMPLE_RATE), key, velocity))
    return hits


def play_own(voice: Voice, notes: list[Note], score: Score, num_samples: int, rng: Rng) -> np.ndarray:
    """A part's notes by its voice's own tones: a bus (2, num_samples), not yet levelled."""
    bus = np.zeros((2, num_samples), np.float32)
    kit: dict[str, np.ndarray] = {}
    for note in notes:
        start, end = _times(voice, note, score, rng)
        if start * SAMPLE_RATE >= num_samples:
            continue
        if voice.kit:
            name = str(note.pitch)
            make_hit, gain, pan = voice.kit[name]
            if name not in kit:
                kit[name] = make_hit(np.random.default_rng([int(rng.integers(2**31))]))
            tone = kit[name] * np.float32(gain * note.velocity**1.3 * rng.uniform(0.92, 1.08))
        else:
            assert voice.tone, note
            length = min(end - start, num_samples / SAMPLE_RATE - start + 0.1)
            tone = voice.tone(float(note.pitch), max(length, 0.03), note.velocity * float(rng.uniform(0.95, 1.05)), rng)
            pan = voice.width * (int(note.pitch) - 60) / 24
        _place(bus, tone, int(start * SAMPLE_RATE), pan)
    return bus


def _place(bus: np.ndarray, tone: np.ndarray, start: int, pan: float) -> None:
    """Add a tone to a bus (2, s) at a sample, with equal-power panning; what lies outside the bus is left out."""
    tone = tone[..., max(-start, 0) : max(bus.shape[-1] - start, 0)]
    start = max(start, 0)
    angle = (np.clip(pan, -1, 1) + 1) * np.pi / 4
    end = start + tone.shape[-1]
    for channel, gain in enumerate((np.cos(angle), np.sin(angle))):
        bus[channel, start:end] += np.float32(gain * 1.414) * (tone if tone.ndim == 1 else tone[channel])


def describe_clip(seed: int, index: int, seconds: float) -> dict:
    """Metadata of clip `index` without rendering it."""
    score, rng = compose(seed, index, seconds)
    return describe(_style(index), score, seconds, rng)


def make_clip(seed: int, index: int, seconds: float, font: Font | None = None, stems: bool = False) -> Clip:
    """Clip `index` of the set of a seed; depends on these arguments alone. As many clips in a row as there are styles
    hold each once.
    """
    score, rng = compose(seed, index, seconds)
    metadata = describe(_style(index), score, seconds, rng)
    audio, parts = render(score, _style(index).room, seconds, np.random.default_rng([seed, index, 1]), font, stems)
    return Clip(audio, metadata, parts)


def make(seed: int, index: int, seconds: float, font: Font | None = None) -> tuple[np.ndarray, dict]:
    """Audio (2, s) and metadata of a clip, as `make_clip`."""
    clip = make_clip(seed, index, seconds, font)
    return clip.audio, clip.metadata


def _style(index: int):
    return list(STYLES.values())[index % len(STYLES)]
