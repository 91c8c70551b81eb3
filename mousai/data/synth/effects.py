"""What happens to a part's bus (2, s) before the mix: amplifiers, side chains, filters, rotating speakers."""

from __future__ import annotations

import numpy as np

from mousai.data.synth.instruments import SAMPLE_RATE, filtered, smooth_random
from mousai.data.synth.score import Score

Rng = np.random.Generator


def distort(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """High-gain amplifier: high-pass, soft clip, speaker."""
    driven = np.tanh(6.0 * filtered(bus, "high", low=110.0, order=1))
    return filtered(driven, "low", high=4500.0, order=3)


def sing(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """A driven amplifier with a mid that carries, and an echo an eighth later."""
    driven = filtered(np.tanh(5.0 * filtered(bus, "high", low=200.0, order=1)), "low", high=3800.0)
    return echo(driven, score, rng)


def crunch(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    return filtered(np.tanh(2.0 * bus), "low", high=2200.0)


def duck(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Side chain: the kick on every beat pushes the part down."""
    beat = 60.0 / score.bpm
    since = (np.arange(bus.shape[-1]) / SAMPLE_RATE + score.lead * beat) % beat
    return bus * (1 - 0.75 * np.exp(-since / 0.09)).astype(np.float32)


def sweep(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Ducking and a low-pass that opens and closes slowly."""
    amount = 0.5 + 0.5 * smooth_random(bus.shape[-1], 0.3, rng)
    dark = filtered(bus, "low", high=700.0)
    return duck(dark + amount * (filtered(bus, "low", high=4500.0) - dark), score, rng)


def echo(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Three repeats in dotted eighths that change sides and grow dull."""
    delay = int(0.75 * 60.0 / score.bpm * SAMPLE_RATE)
    wet, tap = bus.copy(), bus
    for gain in (0.3, 0.16, 0.08):
        tap = np.roll(tap, delay, axis=-1)[::-1].copy()
        tap[:, :delay] = 0
        wet += np.float32(gain) * tap
    return wet


def tremolo(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """Stereo tremolo of an electric piano: the sides breathe against each other."""
    phase = 2 * np.pi * 4.5 * np.arange(bus.shape[-1]) / SAMPLE_RATE
    wave = 0.25 * np.sin(phase).astype(np.float32)
    return bus * np.stack([1 + wave, 1 - wave])


def rotate(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """A rotating speaker, fast or slow: loudness and side in turn."""
    rate = 6.2 if rng.random() < 0.5 else 0.9
    phase = 2 * np.pi * rate * np.arange(bus.shape[-1]) / SAMPLE_RATE
    wave = 0.3 * np.sin(phase).astype(np.float32)
    return np.tanh(1.5 * bus) * np.stack([1 + wave, 1 - wave])


def dusty(bus: np.ndarray, score: Score, rng: Rng) -> np.ndarray:
    """An old sampler: dull, without the lowest octave, a little saturated."""
    return np.tanh(1.5 * filtered(filtered(bus, "low", high=5200.0), "high", low=45.0))
