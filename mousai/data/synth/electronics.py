"""Synthesiser tones of dance music, and the noise of old records: (s,) or (2, s) float32 at 48 kHz."""

from __future__ import annotations

import numpy as np

from mousai.data.synth.instruments import SAMPLE_RATE, fade, fade_stereo, filtered, frequency, noise, oscillator

Rng = np.random.Generator


def saw_lead(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Five detuned saws across the stereo field, (2, s)."""
    n = int((seconds + 0.12) * SAMPLE_RATE)
    f0 = frequency(pitch)
    audio = np.zeros((2, n), np.float32)
    for i, cents in enumerate((-11, -5, 0, 6, 12)):
        tone = oscillator("saw", f0 * 2 ** (cents / 1200), n, rng.random(), top=4000 + 7000 * velocity)
        side = i / 4
        audio[0] += np.float32(np.cos(side * np.pi / 2)) * tone
        audio[1] += np.float32(np.sin(side * np.pi / 2)) * tone
    return velocity * 0.4 * fade_stereo(audio, 0.006, 0.11)


def soft_lead(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """A triangle that glides in and sways, nearly whistled."""
    n = int((seconds + 0.2) * SAMPLE_RATE)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    hertz = frequency(pitch) * 2 ** ((-40 * np.exp(-time / 0.03) + 9 * np.minimum(time / 0.4, 1) * np.sin(2 * np.pi * 5 * time)) / 1200)
    return velocity * 0.9 * fade(oscillator("triangle", hertz, n, rng.random(), top=6000.0), 0.02, 0.18)


def pluck(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """A saw whose filter shuts at once."""
    n = int((min(seconds, 1.5) + 0.25) * SAMPLE_RATE)
    f0 = frequency(pitch)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    phase = rng.random()
    tone = oscillator("saw", f0, n, phase, top=3000 + 6000 * velocity) * np.exp(-time / 0.06)
    tone += oscillator("soft", f0, n, phase, top=2500.0) * np.exp(-time / 0.35)
    return velocity * 0.7 * fade(tone.astype(np.float32), 0.002, 0.1)


def deep_bass(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """A sine with a little of its octave: felt more than heard."""
    n = int((seconds + 0.02) * SAMPLE_RATE)
    f0 = frequency(pitch)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    tone = oscillator("sine", f0, n) + (0.25 + 0.3 * np.exp(-time / 0.08)) * oscillator("soft", f0, n, top=700.0)
    return velocity * fade(tone.astype(np.float32), 0.004, 0.02)


def reese_bass(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Three saws that beat against one another over a sine, (2, s)."""
    n = int((seconds + 0.04) * SAMPLE_RATE)
    f0 = frequency(pitch)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    moving = 0.6 + 0.4 * np.sin(2 * np.pi * (rng.uniform(0.3, 1.2) * time + rng.random())).astype(np.float32)
    audio = np.empty((2, n), np.float32)
    for side, cents in enumerate(((-14, 9), (13, -8))):
        audio[side] = sum(oscillator("saw", f0 * 2 ** (c / 1200), n, rng.random(), top=900.0) for c in cents)
        audio[side] += 0.4 * moving * oscillator("saw", f0, n, rng.random(), top=2600.0)
    return velocity * 0.5 * fade_stereo(audio + 0.9 * oscillator("sine", f0, n), 0.006, 0.035)


def acid_bass(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """A saw with a resonance that falls past its harmonics."""
    n = int(seconds * SAMPLE_RATE)
    f0 = frequency(pitch)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    edge = 300 + (1200 + 2200 * velocity) * np.exp(-time / 0.07)
    h = np.arange(1, max(2, int(5000 / f0)))[:, None]
    gain = 1 / (1 + (h * f0 / edge) ** 4) + 1.6 * np.exp(-(((h * f0 - edge) / (0.12 * edge)) ** 2))
    tone = np.sum(gain / h * np.sin(2 * np.pi * h * f0 * time), axis=0)
    return velocity * 0.5 * fade(tone.astype(np.float32), 0.003, 0.015)


def crackle(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """An old record: a hiss, and clicks at random, (2, s)."""
    n = int(seconds * SAMPLE_RATE)
    clicks = (rng.random((2, n)) < 9e-5) * rng.exponential(1.0, (2, n))
    hiss = 0.004 * np.stack([noise(n, rng), noise(n, rng)])
    return velocity * filtered(filtered(clicks, "low", high=5000.0) * 3 + hiss, "high", low=300.0)
