"""Triads and scales are in their key, sines are voiced, and noise is neither."""

from __future__ import annotations

import math

import pytest
import torch

from mousai.evaluation.harmony import KEYS, aperiodicity, concentration, key_fits, key_profile, pitch_classes, relative, voiced_share

RATE = 48000


def tones(*semitones: float, seconds: float = 2.0, rate: int = RATE) -> torch.Tensor:
    """Harmonic tones, counted in semitones above middle C, sounding together `(2, s)`."""
    time = torch.arange(round(seconds * rate)) / rate
    sound = sum(torch.sin(2 * math.pi * 261.6256 * 2 ** (note / 12) * k * time) / k for note in semitones for k in range(1, 6))
    return 0.05 * sound.expand(2, -1)


@pytest.mark.parametrize("rate", [RATE, 44100, 22050])
@pytest.mark.parametrize("root", [0, 5, 10])
def test_scales_and_triads_have_their_key(root, rate) -> None:
    for mode, steps in (("major", (0, 2, 4, 5, 7, 9, 11)), ("minor", (0, 2, 3, 5, 7, 8, 10))):
        scale = torch.cat([tones(root + step - 12, seconds=0.4, rate=rate) for step in (*steps, *(steps[i] for i in (0, 2, 4, 0)))], dim=1)
        fits = key_fits(pitch_classes(scale, rate))
        assert fits[KEYS.index((root, mode))] > 0.6
        assert KEYS[fits.argmax()] in ((root, mode), relative(root, mode))
        triad = key_fits(pitch_classes(tones(root - 12, root + steps[2] - 12, root + 7 - 12, rate=rate), rate))
        assert KEYS[triad.argmax()] == (root, mode)


def test_a_key_fits_itself_and_best() -> None:
    for number, (root, mode) in enumerate(KEYS):
        fits = key_fits(key_profile(root, mode))
        assert fits[number] == pytest.approx(1, abs=1e-5) and fits.argmax() == number


def test_relatives_have_the_same_tones() -> None:
    assert relative(0, "major") == (9, "minor") and relative(9, "minor") == (0, "major") and relative(10, "major") == (7, "minor")
    assert all(relative(*relative(*key)) == key for key in KEYS)


def test_noise_has_no_pitch_classes_of_its_own() -> None:
    noise = 0.1 * torch.randn(2, 6 * RATE, generator=torch.Generator().manual_seed(0))
    assert concentration(pitch_classes(noise, RATE)) < 0.005
    assert concentration(pitch_classes(tones(0), RATE)) > 0.3
    assert concentration(torch.eye(12)[3]) == pytest.approx(1) and concentration(torch.full((12,), 1 / 12)) == pytest.approx(0, abs=1e-6)


def test_silence_has_no_key_and_no_pitch() -> None:
    silence = torch.zeros(2, RATE)
    assert pitch_classes(silence, RATE).sum() == 0 == key_fits(torch.zeros(12)).abs().sum()
    assert voiced_share(silence, RATE) == 0 == concentration(torch.zeros(12)) == voiced_share(torch.zeros(2, 100), RATE)


def test_voices_are_voiced() -> None:
    noise = 0.1 * torch.randn(2, 2 * RATE, generator=torch.Generator().manual_seed(2))
    assert voiced_share(tones(-5), RATE) == 1 and voiced_share(noise, RATE) == 0
    assert voiced_share(torch.cat([tones(-5), noise], dim=1), RATE) == pytest.approx(0.5, abs=0.05)
    assert voiced_share(tones(-5, 1, 3.5), RATE) < 0.2  # three that do not go together


def test_aperiodicity_is_yins_by_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(4)
    audio = tones(2, seconds=0.2, rate=16000)[:1] + 0.02 * torch.randn(1, 3200, generator=generator)
    frame, width = audio[0, : 1024 + 246].double(), 1024
    difference = torch.stack([(frame[:width] - frame[lag : lag + width]).square().sum() for lag in range(1, 247)])
    normalised = difference * torch.arange(1, 247) / difference.cumsum(0)
    assert aperiodicity(audio, 16000)[0].item() == pytest.approx(normalised[15:].min().item(), rel=1e-6)
