"""Percussion of the practice set: each hit is (s,), or (2, s) where metal spreads, float32 at 48 kHz, peak near 1."""

from __future__ import annotations

import numpy as np

from mousai.data.synth.instruments import SAMPLE_RATE, fade, filtered, modes, noise


def _time(seconds: float) -> np.ndarray:
    return np.arange(int(seconds * SAMPLE_RATE), dtype=np.float32) / SAMPLE_RATE


def _normal(tone: np.ndarray) -> np.ndarray:
    return (tone / np.max(np.abs(tone))).astype(np.float32)


def kick(
    rng: np.random.Generator, low: float = 48.0, sweep: float = 180.0, decay: float = 0.16, click: float = 0.3
) -> np.ndarray:
    """Sine that falls from low + sweep to low Hz, with a click."""
    t = _time(decay * 3)
    turns = low * t + sweep * 0.03 * (1 - np.exp(-t / 0.03))
    tone = np.sin(2 * np.pi * turns) * np.exp(-((t / decay) ** 1.4))
    tone[:480] += click * filtered(noise(480, rng), "high", low=1500.0) * np.exp(-t[:480] / 0.002)
    return fade(_normal(tone), 0.0003, 0.01)


def snare(rng: np.random.Generator, tone_hertz: float = 190.0, decay: float = 0.11, rattle: float = 1.0) -> np.ndarray:
    t = _time(decay * 4)
    shell = np.sin(2 * np.pi * tone_hertz * t) + 0.6 * np.sin(2 * np.pi * 1.6 * tone_hertz * t)
    wires = filtered(noise(len(t), rng), "band", 1200.0, 11000.0, order=1)
    return fade(_normal(0.7 * shell * np.exp(-t / 0.05) + rattle * wires * np.exp(-t / decay)), 0.0003, 0.02)


def clap(rng: np.random.Generator) -> np.ndarray:
    t = _time(0.3)
    bursts: np.ndarray = sum(
        np.exp(-np.maximum(t - d, 0) / (0.006 if d < 0.03 else 0.07)) * (t >= d) for d in (0.0, 0.011, 0.022, 0.031)
    )
    return _stereo(lambda: _normal(filtered(noise(len(t), rng), "band", 900.0, 5000.0, order=1) * bursts), 0.6)


def _metal(rng: np.random.Generator, seconds: float, low: float, high: float, decay: float, count: int = 60) -> np.ndarray:
    """Cymbal plate: many inharmonic modes between low and high Hz, (s,)."""
    frequencies = np.exp(rng.uniform(np.log(low), np.log(high), count))
    amplitudes = rng.uniform(0.3, 1.0, count)
    n = int(seconds * SAMPLE_RATE)
    return modes(frequencies, amplitudes, rng.uniform(0.7, 1.6, count) / decay, rng.uniform(0, 6.28, count), n)


def _stereo(make_take, amount: float) -> np.ndarray:
    """Two takes of a cymbal, heard a little from either side: (2, s)."""
    one, two = make_take(), make_take()
    return np.stack([one + (1 - amount) * two, two + (1 - amount) * one])


def hat(rng: np.random.Generator, open_: bool = False) -> np.ndarray:
    decay = 0.16 if open_ else 0.03
    t = _time(decay * 5)

    def take() -> np.ndarray:
        hiss = filtered(noise(len(t), rng), "high", low=6500.0, order=3) * np.exp(-t / decay)
        return fade(_normal(4.0 * hiss + 0.2 * _metal(rng, decay * 5, 5000, 14000, decay, 24)), 0.0005, 0.01)

    return _stereo(take, 0.5)


def ride(rng: np.random.Generator) -> np.ndarray:
    """Ride cymbal: a stick's ping over a dense shimmer."""
    t = _time(1.0)

    def take() -> np.ndarray:
        plate = _metal(rng, 1.0, 2500, 15000, 0.22, 160)
        wash = filtered(noise(len(t), rng), "high", low=4000.0, order=1) * np.exp(-t / 0.2)
        ping = modes(
            np.array([3150.0, 4470.0, 5920.0]), np.array([6.0, 5.0, 4.0]), np.array([22.0, 26.0, 30.0]), np.zeros(3), len(t)
        )
        stick = filtered(noise(len(t), rng), "high", low=5000.0) * np.exp(-t / 0.008)
        return fade(_normal(plate + ping + 2 * wash + 5 * stick), 0.0005, 0.1)

    return _stereo(take, 0.6)


def crash(rng: np.random.Generator) -> np.ndarray:
    t = _time(2.0)

    def take() -> np.ndarray:
        hiss = filtered(noise(len(t), rng), "high", low=3000.0, order=1) * np.exp(-t / 0.5)
        return fade(_normal(2.5 * hiss + 0.15 * _metal(rng, 2.0, 2500, 14000, 0.6)), 0.001, 0.2)

    return _stereo(take, 0.7)


def tom(rng: np.random.Generator, hertz: float = 110.0) -> np.ndarray:
    t = _time(0.5)
    turns = hertz * t + 0.6 * hertz * 0.05 * (1 - np.exp(-t / 0.05))
    return fade(
        _normal(np.sin(2 * np.pi * turns) * np.exp(-t / 0.14) + 0.1 * noise(len(t), rng) * np.exp(-t / 0.01)), 0.0005, 0.02
    )


def rim(rng: np.random.Generator) -> np.ndarray:
    """Stick on the rim: a short wooden knock."""
    t = _time(0.12)
    knock = modes(np.array([430.0, 1720.0, 2600.0]), np.array([0.6, 1.0, 0.5]), np.array([60.0, 70.0, 90.0]), np.zeros(3), len(t))
    return fade(_normal(knock + 0.15 * noise(len(t), rng) * np.exp(-t / 0.004)), 0.0003, 0.02)


def shaker(rng: np.random.Generator) -> np.ndarray:
    t = _time(0.12)
    grains = filtered(noise(len(t), rng), "band", 5000.0, 13000.0, order=1)
    return _normal(grains * np.minimum(t / 0.025, 1) * np.exp(-np.maximum(t - 0.025, 0) / 0.02))


def tambourine(rng: np.random.Generator) -> np.ndarray:
    return fade(_normal(_metal(rng, 0.35, 6000, 15000, 0.09, 40) + 0.5 * filtered(noise(16800, rng), "high", low=7000.0) * np.exp(-_time(0.35) / 0.05)), 0.0005, 0.05)


def conga(rng: np.random.Generator, hertz: float) -> np.ndarray:
    t = _time(0.35)
    skin = modes(np.array([1.0, 1.6, 2.3]) * hertz, np.array([1.0, 0.5, 0.3]), np.array([12.0, 24.0, 36.0]), np.zeros(3), len(t))
    return fade(_normal(skin + 0.3 * filtered(noise(len(t), rng), "band", 800.0, 4000.0) * np.exp(-t / 0.006)), 0.0003, 0.05)


def chip_noise(rng: np.random.Generator, decay: float, hold: int) -> np.ndarray:
    """8-bit noise channel: random bits held for `hold` samples, stepped decay."""
    t = _time(decay * 4)
    bits = np.repeat(rng.choice(np.array([-1.0, 1.0], np.float32), len(t) // hold + 1), hold)[: len(t)]
    return bits * (np.round(15 * np.exp(-t / decay)) / 15).astype(np.float32)
