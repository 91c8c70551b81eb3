"""Tones of blown, sung and bowed instruments and organs, and of bells and harps: (s,) or (2, s) float32 at 48 kHz."""

from __future__ import annotations

import numpy as np

from mousai.data.synth.instruments import SAMPLE_RATE, fade, fade_stereo, filtered, frequency, modes, noise, oscillator

Rng = np.random.Generator


def _vibrato(f0: float, n: int, rng: Rng, cents: float, sets_in: float = 0.5, rate: float = 5.4) -> np.ndarray:
    """Frequency in Hz, (n,), that begins straight and a shade low, and comes to swing."""
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    depth = cents * np.minimum(time / sets_in, 1) ** 2
    bend = depth * np.sin(2 * np.pi * (rate * rng.uniform(0.93, 1.07) * time + rng.random())) - 18 * np.exp(-time / 0.025)
    return f0 * 2 ** (bend / 1200)


def _blown(pitch: float, seconds: float, velocity: float, rng: Rng, shapes: tuple[str, str], top: float, air: float, attack: float, cents: float) -> np.ndarray:
    """A dull and a bright wave, the bright one as far as the breath goes, and the breath itself in a band at the pitch."""
    n = int((seconds + 0.09) * SAMPLE_RATE)
    f0 = frequency(pitch)
    hertz = _vibrato(f0, n, rng, cents)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    breath = (1 - 0.35 * np.exp(-time / 0.12)) * (1 - np.exp(-time / attack))
    phase = rng.random()
    tone = oscillator(shapes[0], hertz, n, phase, top=top * 0.4)
    tone += (0.35 + 0.65 * velocity) * breath**2 * oscillator(shapes[1], hertz, n, phase, top=top * (0.5 + 0.7 * velocity))
    hiss = filtered(noise(n, rng), "band", min(f0, 6000.0), min(3 * f0, 14000.0), order=1)
    tone += air * hiss * (1 + 2 * np.exp(-time / 0.03))
    return velocity * 0.8 * fade((tone * breath).astype(np.float32), 0.004, 0.08)


def flute(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    return _blown(pitch, seconds, velocity, rng, ("sine", "soft"), 5000.0, 0.05, 0.035, 14.0)


def reed(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Saxophone, harmonica: all harmonics, a rough attack."""
    return _blown(pitch, seconds, velocity, rng, ("soft", "pulse25"), 7000.0, 0.03, 0.02, 16.0)


def clarinet(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Odd harmonics."""
    return _blown(pitch, seconds, velocity, rng, ("sine", "pulse50"), 4500.0, 0.012, 0.03, 5.0)


def brass(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """The louder the breath, the higher its harmonics reach."""
    return _blown(pitch, seconds, velocity, rng, ("soft", "saw"), 1500.0 + 9 * frequency(pitch), 0.008, 0.03, 8.0)


def solo_bowed(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """One player of a violin, viola or cello: a bow's noise at the attack, vibrato that sets in."""
    n = int((seconds + 0.12) * SAMPLE_RATE)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    tone = oscillator("bow", _vibrato(frequency(pitch), n, rng, 16.0, 0.35, 5.8), n, rng.random(), top=11000.0)
    scratch = np.exp(-time / 0.05)
    tone = tone + filtered(noise(n, rng), "band", 1500.0, 6000.0, order=1) * (0.012 + 0.08 * scratch).astype(np.float32)
    swell = 0.75 + 0.25 * np.sin(np.pi * np.minimum(time / max(seconds, 0.3), 1)) + 0.25 * scratch
    return velocity * 0.9 * fade((tone * swell).astype(np.float32), 0.035, 0.11)


def short_bowed(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """A plucked string section: few partials that die at once."""
    f0 = frequency(pitch)
    h = np.arange(1, 13)
    n = int((min(seconds, 0.6) + 0.3) * SAMPLE_RATE)
    return velocity * 0.8 * fade(modes(h * f0, 1 / h**1.2, 5.0 + 2.5 * h, rng.uniform(0, 1, 12), n), 0.002, 0.2)


def choir(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Six voices on "ah" in stereo (2, s): saws through the vowel's resonances."""
    n = int((seconds + 0.35) * SAMPLE_RATE)
    f0 = frequency(pitch)
    audio = np.zeros((2, n), np.float32)
    for singer in range(6):
        hertz = _vibrato(f0 * 2 ** (rng.normal(0, 6) / 1200), n, rng, 18.0, 0.6, 5.0)
        audio[singer % 2] += oscillator("saw", hertz, n, rng.random(), top=5000.0)
    vowel = sum(gain * filtered(audio, "band", 0.88 * formant, 1.14 * formant, order=1) for formant, gain in ((700.0, 1.0), (1150.0, 0.6), (2800.0, 0.25)))
    return velocity * 0.7 * fade_stereo(vowel + 0.1 * filtered(audio, "low", high=500.0), 0.18, 0.33)


def organ(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Drawbars with key click; a rotating speaker is an effect of its bus."""
    n = int((seconds + 0.02) * SAMPLE_RATE)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    f0 = frequency(pitch)
    tone = np.zeros(n, np.float32)
    for ratio, drawbar in ((0.5, 0.7), (1.0, 1.0), (1.5, 0.6), (2.0, 0.6), (3.0, 0.3), (4.0, 0.35), (8.0, 0.12)):
        if ratio * f0 < 9000:
            tone += drawbar * np.sin(2 * np.pi * (ratio * f0 * time + rng.random())).astype(np.float32)
    click = min(n, 300)
    tone[:click] += noise(click, rng) * np.exp(-np.arange(click) / 60).astype(np.float32)
    return 0.25 * (0.6 + 0.4 * velocity) * fade(tone, 0.002, 0.015)


def vibraphone(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    f0 = frequency(pitch)
    n = int((seconds + 0.4) * SAMPLE_RATE)
    tone = modes(np.array([1.0, 3.98, 9.9]) * f0, np.array([1.0, 0.25 * velocity, 0.08 * velocity]), np.array([0.9, 4.0, 12.0]), rng.uniform(0, 1, 3), n)
    return velocity * 0.6 * fade(tone, 0.002, 0.35)


def bells(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Celesta, music box, glass: inharmonic bars that ring on."""
    f0 = frequency(pitch)
    n = int((seconds + 1.2) * SAMPLE_RATE)
    ratios, weights = np.array([1.0, 2.76, 5.4, 8.93]), np.array([1.0, 0.4, 0.2 * velocity, 0.1 * velocity])
    return velocity * 0.5 * fade(modes(ratios * f0, weights, np.array([1.6, 3.5, 7.0, 14.0]), rng.uniform(0, 1, 4), n), 0.001, 0.8)


def harp(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    """Plucked in the middle: odd partials are strongest; rings on."""
    f0 = frequency(pitch)
    h = np.arange(1, int(min(20, 9000 / f0)) + 2)
    amplitudes = np.abs(np.sin(np.pi * h * 0.42)) / h**1.1
    n = int((seconds + 0.8) * SAMPLE_RATE)
    return velocity * 0.6 * fade(modes(h * f0, amplitudes, 0.9 + 0.5 * h, rng.uniform(0, 1, len(h)), n), 0.002, 0.6)


def timpani(pitch: float, seconds: float, velocity: float, rng: Rng) -> np.ndarray:
    f0 = frequency(pitch)
    n = int((seconds + 0.6) * SAMPLE_RATE)
    tone = modes(np.array([1.0, 1.5, 1.99, 2.44]) * f0, np.array([1.0, 0.7, 0.4, 0.25]), np.array([2.0, 2.6, 3.6, 5.0]), rng.uniform(0, 1, 4), n)
    strike = min(n, 2000)
    tone[:strike] += 0.4 * filtered(noise(strike, rng), "low", high=600.0) * np.exp(-np.arange(strike) / 500).astype(np.float32)
    return velocity * fade(tone, 0.002, 0.4)
