"""Tones of the practice set's instruments, one note at a time: (s,) float32 at 48 kHz, peak near the velocity.

Struck and plucked tones are sums of decaying partials, sum_p a_p exp((-d_p + i w_p) t). With t = block·B + offset the
exponential factors, so that the sum over partials is one matrix product of (blocks, p) by (p, B). Sustained tones read
band-limited single-cycle tables at a phase that carries vibrato and detuning.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.signal import butter, sosfilt

SAMPLE_RATE = 48000
_TABLE = 2048
_BLOCK = 512


def frequency(pitch: float) -> float:
    """Hertz of a MIDI pitch, A4 = 440."""
    return 440.0 * 2.0 ** ((pitch - 69) / 12)


def modes(frequencies: np.ndarray, amplitudes: np.ndarray, decays: np.ndarray, phases: np.ndarray, n: int) -> np.ndarray:
    """Sum of decaying sines: frequencies in Hz, decays in 1/s, phases in radians, each (p,). Returns (n,)."""
    keep = (frequencies < 0.45 * SAMPLE_RATE) & (amplitudes != 0)
    rate = (-decays[keep] + 2j * np.pi * frequencies[keep]) / SAMPLE_RATE
    blocks = -(-n // _BLOCK)
    coarse = np.exp(np.outer(np.arange(blocks) * _BLOCK, rate)) * (amplitudes[keep] * np.exp(1j * (phases[keep] - np.pi / 2)))
    fine = np.exp(np.outer(rate, np.arange(_BLOCK)))
    left = np.concatenate([coarse.real, -coarse.imag], axis=1).astype(np.float32)
    right = np.concatenate([fine.real, fine.imag], axis=0).astype(np.float32)
    return (left @ right).reshape(-1)[:n]


def fade(tone: np.ndarray, attack: float, release: float) -> np.ndarray:
    """Raised-cosine attack and release, in seconds, in place."""
    a, r = min(int(attack * SAMPLE_RATE), len(tone)), min(int(release * SAMPLE_RATE), len(tone))
    if a > 1:
        tone[:a] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(a, dtype=np.float32) / a)
    if r > 1:
        tone[-r:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(r, dtype=np.float32) / r)
    return tone


@lru_cache(maxsize=64)
def _filter(kind: str, low: float, high: float, order: int) -> np.ndarray:
    edges = {"low": high, "high": low, "band": (low, high)}[kind]
    return butter(order, edges, kind, fs=SAMPLE_RATE, output="sos")


def filtered(audio: np.ndarray, kind: str, low: float = 0.0, high: float = 0.0, order: int = 2) -> np.ndarray:
    """Butterworth low-, high- or band-pass along the last axis; edges in Hz."""
    return sosfilt(_filter(kind, low, high, order), audio).astype(np.float32)


def noise(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(n, dtype=np.float32)


# Struck and plucked


def piano(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Stiff string of three slightly detuned strands, two-stage decay, hammer thump; rings 0.35 s after release."""
    f0 = frequency(pitch)
    h = np.arange(1, int(min(36, 12000 / f0)) + 2)
    stiffness = 1e-4 * 2 ** ((pitch - 45) / 14)
    partials = h * f0 * np.sqrt(1 + stiffness * h**2)
    brightness = 0.75 + 0.9 * velocity
    amplitudes = np.abs(np.sin(np.pi * h / 8.3)) ** 0.7 * np.exp(-h * f0 / (900 * brightness + f0)) / h**0.35
    slow = 0.28 * 2 ** ((pitch - 60) / 14) * (1 + 0.16 * h)
    spread = f0 * 0.0006
    frequencies = np.concatenate([partials - spread * h**0.5, partials + spread * h**0.5])
    decays = np.concatenate([slow * 5.0, slow])
    weights = np.concatenate([amplitudes * 0.65, amplitudes * 0.5])
    n = int((seconds + 0.35) * SAMPLE_RATE)
    tone = modes(frequencies, weights, decays, rng.uniform(0, 0.6, len(weights)), n)
    thump = min(n, 1600)
    knock = filtered(noise(thump, rng), "low", high=700.0) * np.exp(-np.arange(thump) / 350).astype(np.float32)
    felt = filtered(noise(thump, rng), "band", 1500.0, 6000.0, order=1) * np.exp(-np.arange(thump) / 120).astype(np.float32)
    tone[:thump] += velocity * (0.18 * knock + 0.06 * felt)
    return velocity**1.5 * 0.6 * fade(tone, 0.002, 0.3)


def guitar(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Plucked steel string: the modes of a Karplus-Strong loop, with its pluck-position comb and pick noise."""
    f0 = frequency(pitch)
    count = int(min(44, 13000 / f0)) + 1
    h = np.arange(1, count + 1)
    position = rng.uniform(0.12, 0.2)
    amplitudes = (
        np.abs(np.sin(np.pi * h * position))
        / h**0.75
        * rng.uniform(0.7, 1.3, count)
        * np.exp(-h * f0 / (3500 + 4500 * velocity))
    )
    decays = 0.7 + 0.9 * (f0 / 200) ** 0.5 + 2.2e-7 * (h * f0) ** 2
    n = int((seconds + 0.12) * SAMPLE_RATE)
    tone = modes(h * f0 * np.sqrt(1 + 3e-5 * h**2), amplitudes, decays, rng.uniform(-0.4, 0.4, count), n)
    pick = min(n, 900)
    tone[:pick] += (
        0.25 * velocity * filtered(noise(pick, rng), "high", low=2500.0) * np.exp(-np.arange(pick) / 180).astype(np.float32)
    )
    return velocity * 0.6 * fade(tone, 0.0008, 0.1)


def upright_bass(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Plucked double bass: few partials, thumpy attack."""
    f0 = frequency(pitch)
    h = np.arange(1, 15)
    amplitudes = 1 / h**1.5 * np.abs(np.sin(np.pi * h * 0.27)) ** 0.5 * np.exp(-h * f0 / 900)
    n = int((seconds + 0.08) * SAMPLE_RATE)
    tone = modes(h * f0, amplitudes, 1.6 + 1.1 * h, rng.uniform(0, 1, 14), n)
    thump = min(n, 1800)
    tone[:thump] += (
        0.35 * filtered(noise(thump, rng), "band", 300.0, 1400.0) * np.exp(-np.arange(thump) / 400).astype(np.float32)
    )
    return velocity * 0.9 * fade(tone, 0.004, 0.07)


def electric_piano(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Tine piano: a bell-like bar over a rounded fundamental, harder when struck harder."""
    f0 = frequency(pitch)
    ratios = np.array([1.0, 2.0, 3.0, 4.0, 6.98, 14.1])
    amplitudes = np.array([1.0, 0.35 * velocity, 0.2 * velocity, 0.08 * velocity, 0.22 * velocity, 0.10 * velocity])
    decays = np.array([1.0, 1.5, 2.2, 3.0, 9.0, 22.0])
    n = int((seconds + 0.15) * SAMPLE_RATE)
    tone = modes(ratios * f0, amplitudes, decays, rng.uniform(0, 1, 6), n)
    return velocity * 0.5 * fade(tone, 0.003, 0.12)


# Sustained


@lru_cache(maxsize=256)
def _table(shape: str, harmonics: int) -> np.ndarray:
    """One period, band-limited, RMS 0.3, with two samples repeated at the end for interpolation."""
    h = np.arange(1, harmonics + 1)
    if shape == "saw":
        amplitudes = 1 / h
    elif shape == "soft":  # a saw through a gentle low-pass
        amplitudes = 1 / h * np.exp(-h / 3.0)
    elif shape == "bow":  # a saw behind a wooden body: rolls off smoothly towards the top
        amplitudes = h**-0.9 * np.exp(-3.5 * h / harmonics) * (0.75 + 0.25 * np.sin(2.4 * h))
    elif shape == "sine":
        amplitudes = (h == 1).astype(float)
    elif shape.startswith("pulse"):  # pulse50, pulse25, pulse12: duty in percent
        amplitudes = np.sin(np.pi * h * int(shape[5:]) / 100) / h
    else:
        assert shape == "triangle", shape
        amplitudes = np.where(h % 2 == 1, 1 / h**2, 0.0) * np.where(h % 4 == 3, -1, 1)
    spectrum = np.zeros(_TABLE // 2 + 1, complex)
    spectrum[1 : harmonics + 1] = -1j * amplitudes
    period = np.fft.irfft(spectrum, _TABLE)
    period *= 0.3 / np.sqrt(np.mean(period**2))
    return np.append(period, period[:2]).astype(np.float32)  # float32 places may round up to a whole turn


def oscillator(shape: str, hertz: np.ndarray | float, n: int, phase: float = 0.0, top: float = 16000.0) -> np.ndarray:
    """Band-limited table oscillator; hertz is a number or (n,) for vibrato and glides; nothing above `top` Hz."""
    highest = float(np.max(hertz))
    harmonics = int(np.clip(top / highest, 1, 700))
    if harmonics > 16:  # few distinct tables
        harmonics = int(16 * 2 ** (np.floor(6 * np.log2(harmonics / 16)) / 6))
    table = _table(shape, harmonics)
    if np.ndim(hertz) == 0:
        turns = phase + np.arange(n) * (highest / SAMPLE_RATE)
    else:
        turns = phase + np.cumsum(hertz, dtype=np.float64) / SAMPLE_RATE
    place = ((turns % 1.0) * _TABLE).astype(np.float32)
    whole = place.astype(np.int32)
    fraction = place - whole.astype(np.float32)
    below = table[whole]
    return below + fraction * (table[whole + 1] - below)


def smooth_random(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """A slow random curve in about [-1, 1], (n,), with `rate` turning points a second."""
    points = int(n / SAMPLE_RATE * rate) + 3
    values = np.clip(rng.standard_normal(points) * 0.6, -1, 1)
    where = np.linspace(0, points - 1.001, n, dtype=np.float32)
    whole = where.astype(np.int32)
    ease = where - whole
    ease = ease * ease * (3 - 2 * ease)
    return (values[whole] * (1 - ease) + values[whole + 1] * ease).astype(np.float32)


def bowed(pitch: float, seconds: float, velocity: float, rng: np.random.Generator, attack: float = 0.1) -> np.ndarray:
    """A section of three string players in stereo (2, s): detuned, vibrato that sets in late, a swell, bow noise."""
    n = int((seconds + 0.2) * SAMPLE_RATE)
    time = np.arange(n, dtype=np.float32) / SAMPLE_RATE
    f0 = frequency(pitch)
    audio = np.zeros((2, n), np.float32)
    onset = np.minimum(time / 0.5, 1)
    for player in range(3):
        cents = rng.normal(0, 4) + onset * rng.uniform(9, 16) * np.sin(2 * np.pi * (rng.uniform(5, 6.2) * time + rng.random()))
        tone = oscillator("bow", f0 * (1 + cents * 0.000578), n, rng.random(), top=14000.0)
        position = (player + 0.5) / 3
        audio[0] += np.float32(np.cos(position * np.pi / 2)) * tone
        audio[1] += np.float32(np.sin(position * np.pi / 2)) * tone
    scratch = np.exp(-time / 0.08).astype(np.float32)
    audio += filtered(noise(n, rng), "band", 1500.0, 6000.0, order=1) * (0.02 + 0.12 * scratch)
    swell = 0.65 + 0.35 * np.sin(np.pi * np.minimum(time / max(seconds, 0.3), 1)) + 0.35 * scratch
    return velocity * 0.8 * fade_stereo(audio * swell, attack, 0.19)


def fade_stereo(audio: np.ndarray, attack: float, release: float) -> np.ndarray:
    for channel in audio:
        fade(channel, attack, release)
    return audio


def pad(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Slow synthesiser pad in stereo (2, s): two detuned soft saws a side, a filter that opens and closes slowly."""
    n = int((seconds + 1.5) * SAMPLE_RATE)
    f0 = frequency(pitch)
    audio = np.empty((2, n), np.float32)
    opening = 0.5 + 0.5 * smooth_random(n, 0.5, rng)
    for side in range(2):
        detune = 1 + rng.uniform(0.001, 0.003) * (1 if side else -1)
        dark = oscillator("soft", f0 * detune, n, rng.random(), top=2500.0) + oscillator("sine", f0 / detune, n, rng.random())
        bright = oscillator("soft", f0 / detune, n, rng.random(), top=6000.0)
        audio[side] = 0.7 * dark + opening * bright
    return velocity * 0.5 * fade_stereo(audio, 1.2, 1.4)


def air(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Breath around a pad in stereo (2, s): noise in a band above the pitch that swells slowly, each side for itself."""
    n = int((seconds + 1.0) * SAMPLE_RATE)
    f0 = frequency(pitch)
    swell = np.stack([0.55 + 0.45 * smooth_random(n, 0.4, rng) for _ in range(2)])
    breath = np.stack([filtered(noise(n, rng), "band", f0, 3 * f0, order=1) for _ in range(2)])
    return velocity * 0.3 * fade_stereo(breath * swell, 1.0, 0.9)


def pulse(pitch: float, seconds: float, velocity: float, duty: int = 50, vibrato: bool = False) -> np.ndarray:
    """8-bit pulse voice: hard gate, four-bit stepped volume decay at 60 Hz."""
    n = int(seconds * SAMPLE_RATE)
    hertz: np.ndarray | float = frequency(pitch)
    if vibrato:
        hertz = hertz * (1 + 0.004 * np.sin(2 * np.pi * 6 * np.arange(n) / SAMPLE_RATE))
    tone = oscillator(f"pulse{duty}", hertz, n)
    frames = np.arange(n) // (SAMPLE_RATE // 60)
    volume = np.round(15 * np.maximum(0.45, np.exp(-frames / 18.0))) / 15
    return velocity * fade(tone * volume.astype(np.float32), 0.0003, 0.002)


def triangle(pitch: float, seconds: float, velocity: float) -> np.ndarray:
    """8-bit triangle voice for the bass."""
    return velocity * 1.4 * fade(oscillator("triangle", frequency(pitch), int(seconds * SAMPLE_RATE)), 0.0005, 0.003)


def synth_bass(pitch: float, seconds: float, velocity: float, cutoff: float = 600.0) -> np.ndarray:
    """Saw with a filter envelope: a bright table decays into a dark one."""
    n = int(seconds * SAMPLE_RATE)
    f0 = frequency(pitch)
    envelope = np.exp(-np.arange(n, dtype=np.float32) / (0.09 * SAMPLE_RATE))
    tone = oscillator("saw", f0, n, top=cutoff) + envelope * oscillator("saw", f0, n, top=cutoff * 5)
    return velocity * fade(tone, 0.003, 0.02)


def electric_guitar(pitch: float, seconds: float, velocity: float, rng: np.random.Generator) -> np.ndarray:
    """Electric string before its amplifier: strong harmonics and a pick attack (distort the sum of a chord's notes)."""
    f0 = frequency(pitch)
    h = np.arange(1, int(min(30, 6000 / f0)) + 1)
    amplitudes = np.abs(np.sin(np.pi * h * 0.14)) / h**0.8
    n = int((seconds + 0.03) * SAMPLE_RATE)
    tone = modes(h * f0, amplitudes, 0.8 + 0.5 * h, rng.uniform(-1, 1, len(h)), n)
    pick = min(n, 600)
    tone[:pick] += 0.5 * noise(pick, rng) * np.exp(-np.arange(pick) / 120).astype(np.float32)
    return velocity * fade(tone, 0.001, 0.03)
