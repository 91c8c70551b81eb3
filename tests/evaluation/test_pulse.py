"""Click tracks have the pulse they were made with, and noise has none."""

from __future__ import annotations

import math

import pytest
import torch

from mousai.evaluation.pulse import autocorrelation, onset_strength, pulse_of, relation

RATE = 48000


def clicks(bpm: float, seconds: float = 8.0, rate: int = RATE) -> torch.Tensor:
    """A short tone on every beat over soft noise, `(2, s)`."""
    generator = torch.Generator().manual_seed(0)
    audio = 0.003 * torch.randn(2, round(seconds * rate), generator=generator)
    tone = torch.sin(2 * math.pi * 900 * torch.arange(rate // 20) / rate) * torch.linspace(1, 0, rate // 20)
    beat = 0.1
    while (place := round(beat * rate)) + len(tone) <= audio.shape[-1]:
        audio[:, place : place + len(tone)] += 0.5 * tone
        beat += 60 / bpm
    return audio


@pytest.mark.parametrize("bpm", [63, 90, 120, 174])
def test_clicks_have_their_tempo_and_no_other(bpm) -> None:
    pulse = pulse_of(clicks(bpm), RATE)
    assert pulse.clarity > 0.85 and pulse.at(bpm) > 0.85
    assert pulse.elsewhere(bpm) < 0.15 and pulse.at(bpm * 1.25) < 0.3
    assert relation(pulse.tempo, bpm, 0.02) == ("octave" if bpm == 174 else "same")  # which is tapped at 87 as well


def test_noise_and_a_held_tone_have_no_pulse() -> None:
    noise = 0.1 * torch.randn(2, 8 * RATE, generator=torch.Generator().manual_seed(1))
    tone = torch.sin(2 * math.pi * 440 * torch.arange(8 * RATE) / RATE)[None]
    for audio in (noise, tone):
        pulse = pulse_of(audio, RATE)
        assert pulse.clarity < 0.35 and abs(pulse.at(120)) < 0.05


def test_silence_has_no_tempo() -> None:
    pulse = pulse_of(torch.zeros(1, 2 * RATE), RATE)
    assert pulse.clarity == 0 and math.isnan(pulse.tempo)


def test_level_and_rate_make_no_difference() -> None:
    loud, soft, low = pulse_of(clicks(100), RATE), pulse_of(0.05 * clicks(100), RATE), pulse_of(clicks(100, rate=16000), 16000)
    assert soft.at(100) == pytest.approx(loud.at(100), abs=0.01) and low.at(100) == pytest.approx(loud.at(100), abs=0.1)


def test_what_a_clip_is_too_short_for_is_not_known() -> None:
    pulse = pulse_of(clicks(60, 1.0), RATE)
    assert math.isnan(pulse.at(30)) and math.isnan(pulse.clarity)
    assert 60 / 0.75 < pulse_of(clicks(150, 1.0), RATE).tempo
    with pytest.raises(ValueError, match="a quarter of a second, came 0.20 s"):
        pulse_of(clicks(60, 0.2), RATE)


def test_the_autocorrelation_of_a_cosine_is_a_cosine() -> None:
    period = 23.4
    strength = 1 + torch.cos(2 * math.pi * torch.arange(1500) / period)
    curve = autocorrelation(strength)
    expected = torch.cos(2 * math.pi * torch.arange(1600) / 8 / period)
    assert torch.allclose(curve[:1600].float(), expected, atol=0.05)


def test_onset_strength_is_that_of_librosa() -> None:
    """Two readings of the same onsets: the curves rise and fall together."""
    librosa = pytest.importorskip("librosa")
    audio = clicks(97)
    theirs = torch.from_numpy(librosa.onset.onset_strength(y=audio.mean(0).numpy(), sr=RATE, hop_length=512, center=False))
    ours = onset_strength(audio, RATE)
    theirs = theirs[1 : 1 + len(ours)].float()
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.8


def test_how_tempos_answer_to_one_another() -> None:
    assert [relation(bpm, 120) for bpm in (120, 124.7, 60, 240, 180, 80, 40, 360, 100, 130, math.nan)] == [
        "same", "same", "octave", "octave", "third", "third", "third", "third", None, None, None,
    ]  # fmt: skip
