"""Tones: closed forms, pitch, and nothing that passes full scale or is not finite."""

from __future__ import annotations

import numpy as np
import pytest

from mousai.data.synth import instruments
from mousai.data.synth.voices import VOICES


def test_modes_equal_the_sum_written_out() -> None:
    frequencies, amplitudes = np.array([220.0, 660.5, 30000.0]), np.array([1.0, 0.4, 1.0])
    decays, phases = np.array([3.0, 9.0, 1.0]), np.array([0.0, 0.7, 0.0])
    t = np.arange(5000) / 48000
    audible = zip(frequencies[:2], amplitudes, decays, phases)  # 30 kHz is beyond what 48 kHz can hold
    expected = sum(a * np.exp(-d * t) * np.sin(2 * np.pi * f * t + p) for f, a, d, p in audible)
    np.testing.assert_allclose(instruments.modes(frequencies, amplitudes, decays, phases, 5000), expected, atol=1e-4)


def test_oscillators_do_not_alias() -> None:
    n, hertz = 48000, 1319.0
    spectrum = np.abs(np.fft.rfft(instruments.oscillator("saw", hertz, n) * np.hanning(n)))
    distance = np.abs(np.arange(len(spectrum)) - hertz * np.round(np.arange(len(spectrum)) / hertz))
    assert np.argmax(spectrum) == pytest.approx(hertz, abs=1)
    assert spectrum[distance > 5].max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("name", [name for name, voice in VOICES.items() if voice.tone and name not in ("air", "vinyl crackle")])
def test_voices_sound_the_pitch_that_they_are_asked_for(name) -> None:
    tone = VOICES[name].tone(57, 1.0, 0.8, np.random.default_rng(0))  # A3, 220 Hz
    mono = tone if tone.ndim == 1 else tone.mean(0)
    assert tone.dtype == np.float32 and np.isfinite(tone).all() and 0.02 < np.abs(tone).max() < 3
    spectrum = np.abs(np.fft.rfft(mono[:48000] * np.hanning(min(len(mono), 48000)), 48000))
    score = [sum(spectrum[round(hertz * h) - 4 : round(hertz * h) + 5].max() for h in (1, 2, 3)) for hertz in 220 * 2 ** (np.arange(-5, 6) / 12)]
    assert np.argmax(score) == 5


@pytest.mark.parametrize("name", [name for name, voice in VOICES.items() if voice.kit])
def test_drums_are_hits(name) -> None:
    for make_hit, _, _ in VOICES[name].kit.values():
        hit = make_hit(np.random.default_rng(1))
        mono = np.abs(hit if hit.ndim == 1 else hit.mean(0))
        assert np.isfinite(hit).all() and 0.3 < mono.max() < 2.5
        assert mono[: len(mono) // 2].max() > 2 * mono[-len(mono) // 10 :].max()
