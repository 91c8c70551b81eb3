"""From score to sound: each part on its own stereo bus with gain, place and effect, one reverb, one loudness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyloudnorm
import scipy.fft

from mousai.data.synth import drums, instruments
from mousai.data.synth.arrangements import arrange
from mousai.data.synth.compose import Note, Score
from mousai.data.synth.instruments import SAMPLE_RATE, filtered, smooth_random
from mousai.data.synth.styles import STYLES, describe

LOUDNESS_LUFS = -18.0
Rng = np.random.Generator
Tone = Callable[[int, float, float, Rng], np.ndarray]  # (pitch, seconds, velocity, rng) -> (s,) or (2, s)


@dataclass(frozen=True)
class Part:
    """How a part sounds. `tone` plays pitches; a part without one is percussion and plays `kit` hits by name."""

    tone: Tone | None = None
    gain: float = 1.0
    pan: float = 0.0  # -1 left, 1 right
    width: float = 0.0  # how far pitch moves the pan: low left, high right
    reverb: float = 0.1  # send
    jitter: float = 0.006  # seconds, standard deviation of a note's start
    effect: Callable[[np.ndarray, Score, Rng], np.ndarray] | None = None  # on the part's bus (2, s)


def _distort(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """High-gain amplifier: high-pass, soft clip, speaker."""
    driven = np.tanh(5.0 * filtered(bus, "high", low=110.0, order=1))
    return filtered(driven, "low", high=4500.0, order=3)


def _crunch(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    return filtered(np.tanh(2.0 * bus), "low", high=2200.0)


def _duck(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Side chain: the kick on every beat pushes the part down."""
    since = (np.arange(bus.shape[-1]) / SAMPLE_RATE) % (60.0 / score.bpm)
    return bus * (1 - 0.75 * np.exp(-since / 0.09)).astype(np.float32)


def _sweep(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Ducking and a low-pass that opens and closes slowly."""
    amount = 0.5 + 0.5 * smooth_random(bus.shape[-1], 0.3, rng)
    dark = filtered(bus, "low", high=700.0)
    return _duck(dark + amount * (filtered(bus, "low", high=4500.0) - dark), score, rng)


def _tremolo(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Stereo tremolo of an electric piano: the sides breathe against each other."""
    phase = 2 * np.pi * 4.5 * np.arange(bus.shape[-1]) / SAMPLE_RATE
    wave = 0.25 * np.sin(phase).astype(np.float32)
    return bus * np.stack([1 + wave, 1 - wave])


PARTS = {
    "piano": Part(instruments.piano, 1.0, width=0.6, reverb=0.22, jitter=0.012),
    "guitar": Part(instruments.guitar, 0.9, pan=-0.2, width=0.2, reverb=0.12, jitter=0.008),
    "guitar_melody": Part(instruments.guitar, 1.0, pan=0.3, reverb=0.15, jitter=0.01),
    "pad": Part(instruments.pad, 0.8, reverb=0.6, jitter=0.03),
    "drone": Part(instruments.pad, 0.5, reverb=0.4, jitter=0.0),
    "shimmer": Part(instruments.pad, 0.4, reverb=1.0, jitter=0.1),
    "air": Part(instruments.air, 0.05, reverb=0.5, jitter=0.0),
    "synth_bass": Part(lambda p, s, v, rng: instruments.synth_bass(p, s, v), 0.9, reverb=0.0, jitter=0.0, effect=_duck),
    "stab": Part(
        lambda p, s, v, rng: instruments.synth_bass(p, s, v, 2200.0), 0.5, width=2.0, reverb=0.3, jitter=0.0, effect=_sweep
    ),
    "guitar_left": Part(instruments.electric_guitar, 0.24, pan=-0.8, reverb=0.08, jitter=0.008, effect=_distort),
    "guitar_right": Part(instruments.electric_guitar, 0.24, pan=0.8, reverb=0.08, jitter=0.008, effect=_distort),
    "bass_guitar": Part(instruments.electric_guitar, 0.4, reverb=0.0, effect=_crunch),
    "cellos": Part(instruments.bowed, 0.7, pan=0.4, reverb=0.28, jitter=0.02),
    "violas": Part(instruments.bowed, 0.4, pan=0.1, reverb=0.28, jitter=0.03),
    "violas_short": Part(
        lambda p, s, v, rng: instruments.bowed(p, s, v, rng, attack=0.02), 0.6, pan=0.1, reverb=0.28, jitter=0.012
    ),
    "violins": Part(instruments.bowed, 0.95, pan=-0.4, reverb=0.28, jitter=0.02),
    "pulse_lead": Part(lambda p, s, v, rng: instruments.pulse(p, s, v, 25, vibrato=True), 0.8, reverb=0.0, jitter=0.0),
    "pulse_arpeggio": Part(lambda p, s, v, rng: instruments.pulse(p, s, v, 50), 0.5, pan=0.35, reverb=0.0, jitter=0.0),
    "triangle_bass": Part(lambda p, s, v, rng: instruments.triangle(p, s, v), 0.6, pan=-0.1, reverb=0.0, jitter=0.0),
    "upright_bass": Part(instruments.upright_bass, 0.9, reverb=0.06, jitter=0.008),
    "electric_piano": Part(instruments.electric_piano, 0.8, pan=0.1, width=0.4, reverb=0.18, jitter=0.01, effect=_tremolo),
    "kick": Part(gain=0.95, reverb=0.02, jitter=0.001),
    "snare": Part(gain=0.7, reverb=0.15, jitter=0.003),
    "clap": Part(gain=0.5, reverb=0.2, jitter=0.0),
    "hat": Part(gain=0.2, pan=0.2, reverb=0.05, jitter=0.001),
    "cymbals": Part(gain=0.25, pan=0.3, reverb=0.1, jitter=0.004),
    "ride": Part(gain=0.22, pan=-0.2, reverb=0.12, jitter=0.006),
    "toms": Part(gain=0.7, pan=-0.2, reverb=0.15, jitter=0.003),
    "chip_noise": Part(gain=0.3, reverb=0.0, jitter=0.0),
}
ROOM_SECONDS = {
    "ambient": 4.0,
    "strings": 2.2,
    "piano": 1.6,
    "folk_guitar": 1.0,
    "jazz": 0.9,
    "rock": 0.8,
    "techno": 1.2,
    "chiptune": 0.3,
}


def _kit(score_style: str, rng: Rng) -> dict[str, np.ndarray]:
    """The percussion of a style, one hit a name."""
    if score_style == "techno":
        return {
            "kick": drums.kick(rng, 46, 220, 0.2, 0.4),
            "open": drums.hat(rng, True),
            "closed": drums.hat(rng),
            "clap": drums.clap(rng),
        }
    if score_style == "rock":
        return {
            "kick": drums.kick(rng, 55, 120, 0.12, 0.8), "snare": drums.snare(rng, 200, 0.13), "closed": drums.hat(rng),
            "open": drums.hat(rng, True), "ride": drums.ride(rng), "crash": drums.crash(rng),
            "tom_high": drums.tom(rng, 140), "tom_low": drums.tom(rng, 90),
        }  # fmt: skip
    if score_style == "jazz":
        return {"ride": drums.ride(rng), "closed": drums.hat(rng), "brush": drums.snare(rng, 180, 0.08, 1.4)}
    if score_style == "chiptune":
        return {
            "low": drums.chip_noise(rng, 0.03, 48),
            "snare": drums.chip_noise(rng, 0.06, 12),
            "high": drums.chip_noise(rng, 0.02, 2),
        }
    return {}


def _place(bus: np.ndarray, tone: np.ndarray, start: int, pan: float) -> None:
    """Add a tone to a bus (2, s) at a sample, with equal-power panning; what lies outside the bus is left out."""
    tone = tone[..., max(-start, 0) : max(bus.shape[-1] - start, 0)]
    start = max(start, 0)
    angle = (np.clip(pan, -1, 1) + 1) * np.pi / 4
    end = start + tone.shape[-1]
    for channel, gain in enumerate((np.cos(angle), np.sin(angle))):
        bus[channel, start:end] += np.float32(gain * 1.414) * (tone if tone.ndim == 1 else tone[channel])


def _play(part: Part, notes: list[Note], score: Score, kit: dict[str, np.ndarray], num_samples: int, rng: Rng) -> np.ndarray:
    bus = np.zeros((2, num_samples), np.float32)
    for note in notes:
        start = score.seconds_of(note.start)
        if start * SAMPLE_RATE >= num_samples:
            continue
        played = start + part.jitter * rng.standard_normal()
        at = int((played if start < 0 else max(played, 0.0)) * SAMPLE_RATE)  # early is cut, but not by chance
        if part.tone is None:
            tone, pan = kit[str(note.pitch)] * np.float32(note.velocity * rng.uniform(0.9, 1.1)), part.pan
        else:
            seconds = min(score.seconds_of(note.start + note.length) - start, num_samples / SAMPLE_RATE - start + 0.1)
            tone = part.tone(note.pitch, seconds, note.velocity, rng)
            pan = part.pan + part.width * (note.pitch - 60) / 24
        _place(bus, tone, at, pan)
    return part.effect(bus, score, rng) if part.effect else bus


@lru_cache(maxsize=8)
def _room(seconds: float) -> np.ndarray:
    """Impulse response (2, s): decorrelated noise that decays by 60 dB in `seconds`, highs twice as fast."""
    rng = np.random.default_rng(int(seconds * 1000))
    n = int(seconds * SAMPLE_RATE)
    time = np.arange(n, dtype=np.float32) / n
    wet = rng.standard_normal((2, n), dtype=np.float32)
    low = filtered(wet, "low", high=2500.0, order=1)
    response = low * 10 ** (-3 * time) + 0.5 * (wet - low) * 10 ** (-6 * time)
    response = filtered(response, "high", low=150.0)
    response[:, : int(0.008 * SAMPLE_RATE)] = 0  # the direct sound arrives first
    return (response / np.sqrt(np.sum(response**2, axis=-1, keepdims=True))).astype(np.float32)


def _reverberate(send: np.ndarray, seconds: float) -> np.ndarray:
    room = _room(seconds)
    size = scipy.fft.next_fast_len(send.shape[-1] + room.shape[-1], real=True)
    spectrum = scipy.fft.rfft(send, size) * scipy.fft.rfft(room, size)
    return scipy.fft.irfft(spectrum, size)[:, : send.shape[-1]].astype(np.float32)


def _master(audio: np.ndarray) -> np.ndarray:
    """Bring to LOUDNESS_LUFS; what passes 0.7 bends softly towards 0.98; 10 ms fade at the cut end."""
    audio = filtered(audio, "high", low=25.0)
    loudness = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(audio.T.astype(np.float64))
    audio = audio * np.float32(10 ** ((LOUDNESS_LUFS - loudness) / 20))
    over = np.maximum(np.abs(audio) - 0.7, 0)
    audio = np.where(over > 0, np.sign(audio) * (0.7 + 0.28 * np.tanh(over / 0.28)), audio)
    tail = 480
    audio[:, -tail:] *= np.linspace(1, 0, tail, dtype=np.float32)
    return audio.astype(np.float32)


def render(score: Score, style: str, seconds: float, rng: Rng) -> np.ndarray:
    """Play a score: (2, seconds · 48000) float32 at LOUDNESS_LUFS, every sample within ±0.98."""
    num_samples = round(seconds * SAMPLE_RATE)
    kit = _kit(style, rng)
    dry = np.zeros((2, num_samples), np.float32)
    send = np.zeros((2, num_samples), np.float32)
    for name, notes in score.parts.items():
        part = PARTS[name]
        bus = _play(part, notes, score, kit, num_samples, rng)
        dry += part.gain * bus
        if part.reverb:
            send += part.gain * part.reverb * bus
    if send.any():
        dry += _reverberate(send, ROOM_SECONDS[style])
    return _master(dry)


def _compose(seed: int, index: int, seconds: float) -> tuple[Score, dict, Rng]:
    rng = np.random.default_rng([seed, index])
    style = list(STYLES.values())[index % len(STYLES)]  # the classes take turns
    score = arrange(style, seconds, rng)
    return score, describe(style, score, rng), rng


def describe_clip(seed: int, index: int, seconds: float) -> dict:
    """Metadata of clip `index` without rendering it."""
    return _compose(seed, index, seconds)[1]


def make(seed: int, index: int, seconds: float) -> tuple[np.ndarray, dict]:
    """Clip `index` of the set of a seed: audio (2, s) and its metadata; depends on these arguments alone.

    Every eight clips in a row hold each class once.
    """
    score, metadata, rng = _compose(seed, index, seconds)
    return render(score, metadata["style"], seconds, rng), metadata
