"""From parts to a mix: levels by ear (K-weighted loudness), places, one reverb, one loudness for the whole."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.fft
from scipy.signal import sosfilt

from mousai.data.synth.instruments import SAMPLE_RATE, filtered

LOUDNESS_LUFS = -18.0
# ITU-R BS.1770-5, annex 1, tables 1 and 2: the two stages of K-weighting at 48 kHz
_K_WEIGHTING = np.array(
    [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
)


def loudness(audio: np.ndarray) -> float:
    """Integrated loudness of audio (c, s) by BS.1770-5, in LUFS, over blocks of 0.4 s every 0.1 s; -inf for silence."""
    hop = SAMPLE_RATE // 10
    weighted = sosfilt(_K_WEIGHTING, audio).astype(np.float32)
    whole = max(weighted.shape[-1] // hop, 1)
    padded = np.pad(weighted, ((0, 0), (0, max(whole * hop - weighted.shape[-1], 0))))[:, : whole * hop]
    tenths = np.mean(np.square(padded).reshape(len(audio), whole, hop), axis=-1).sum(axis=0)  # (tenths of a second,)
    blocks = np.convolve(tenths, np.full(4, 0.25), "valid") if whole >= 4 else np.array([tenths.mean()])
    loud = blocks[_lufs(blocks) > -70]
    if not len(loud):
        return -np.inf
    return float(_lufs(loud[_lufs(loud) > _lufs(loud.mean()) - 10].mean()))


def _lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-12))


def at_loudness(audio: np.ndarray, lufs: float) -> np.ndarray:
    """Stereo (2, s) brought to about another loudness, by its mono sum; silence stays."""
    now = loudness((audio[:1] + audio[1:]) * np.float32(0.7071))
    return audio if now == -np.inf else audio * np.float32(10 ** ((lufs - now) / 20))


def at_rms(audio: np.ndarray, rms: float) -> np.ndarray:
    """Brought to a root mean square where it sounds, so that amplifiers are driven alike."""
    power = np.mean(audio[:, : audio.shape[-1] // 480 * 480].reshape(2, -1, 480) ** 2, axis=(0, 2))
    heard = power[power > 1e-3 * power.max()] if power.size else power
    return audio * np.float32(rms / np.sqrt(heard.mean())) if heard.size and heard.mean() > 0 else audio


def balance(audio: np.ndarray, pan: float) -> np.ndarray:
    """Stereo (2, s) turned to a side: equal power, -1 left, 1 right; what was wide becomes narrower at the sides."""
    if pan == 0:
        return audio
    middle, side = (audio[0] + audio[1]) / 2, (audio[0] - audio[1]) / 2 * np.float32(1 - abs(pan))
    angle = (pan + 1) * np.pi / 4
    left, right = np.float32(1.414 * np.cos(angle)), np.float32(1.414 * np.sin(angle))
    return np.stack([left * middle + side, right * middle - side])


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


@lru_cache(maxsize=20)
def _room_spectrum(seconds: float, size: int) -> np.ndarray:
    return scipy.fft.rfft(_room(seconds), size)


def reverberate(send: np.ndarray, seconds: float) -> np.ndarray:
    size = scipy.fft.next_fast_len(send.shape[-1] + int(seconds * SAMPLE_RATE), real=True)
    spectrum = scipy.fft.rfft(send, size) * _room_spectrum(seconds, size)
    return scipy.fft.irfft(spectrum, size)[:, : send.shape[-1]].astype(np.float32)


def mastering_gain(audio: np.ndarray) -> np.float32:
    """The factor that brings a mix to LOUDNESS_LUFS; silence stays."""
    now = loudness(audio)
    return np.float32(1.0 if now == -np.inf else 10 ** ((LOUDNESS_LUFS - now) / 20))


def limit(audio: np.ndarray) -> np.ndarray:
    """What passes 0.7 bends softly towards 0.98, in place."""
    loud = np.abs(audio) > 0.7
    audio[loud] = np.sign(audio[loud]) * (0.7 + 0.28 * np.tanh((np.abs(audio[loud]) - 0.7) / 0.28))
    return audio


def fade_out(audio: np.ndarray, num_samples: int = 480) -> np.ndarray:
    """A straight fade of 10 ms where the clip is cut, in place."""
    audio[:, -num_samples:] *= np.linspace(1, 0, min(num_samples, audio.shape[-1]), dtype=np.float32)
    return audio
