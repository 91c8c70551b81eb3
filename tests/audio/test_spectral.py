"""Spectra against librosa, pyloudnorm and closed forms."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import torch

from mousai.audio import spectral


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_magnitude_is_librosas() -> None:
    audio = noise(2, 3, 10_000)
    ours = spectral.stft_magnitude(audio, 1024, 300)
    theirs = np.abs(librosa.stft(audio.numpy(), n_fft=1024, hop_length=300, pad_mode="constant"))
    assert ours.shape == (2, 3, 513, 34)
    assert np.abs(ours.numpy() - theirs).max() < 1e-3


@pytest.mark.parametrize("rate", [16000, 48000])
def test_mel_filters_are_those_of_htk(rate: int) -> None:
    theirs = librosa.filters.mel(sr=rate, n_fft=2048, n_mels=80, htk=True, norm=None)
    assert np.abs(spectral.mel_filterbank(rate).numpy() - theirs).max() < 1e-5


def test_mel_density_is_the_slope_of_the_mel_scale() -> None:
    density = spectral.mel_density(512, 48000).numpy()
    edges = librosa.hz_to_mel(np.linspace(0, 24000, 513), htk=True)
    assert np.abs(density - np.diff(edges) / np.diff(edges).mean()).max() < 2e-2
    assert abs(density.mean() - 1) < 1e-5


def test_the_distance_is_the_one_that_is_written_down() -> None:
    a, b = noise(2, 2, 20_000), noise(2, 2, 20_000, seed=1).cumsum(-1)
    wanted = []
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        levels = []
        for signal in (x, y):
            signal = signal * 0.1 / np.sqrt((signal**2).mean())
            power = np.abs(librosa.stft(signal, n_fft=2048, hop_length=512, pad_mode="constant")) ** 2
            levels.append(10 * np.log10(np.maximum(librosa.filters.mel(sr=48000, n_fft=2048, n_mels=80, htk=True, norm=None) @ power, 1e-6)))
        wanted.append(np.abs(levels[0] - levels[1]).mean())
    assert torch.allclose(spectral.log_mel_distance_db(a, b), torch.tensor(np.array(wanted), dtype=torch.float32), rtol=1e-3)


def test_the_distance_ignores_level_and_takes_silence() -> None:
    a = noise(2, 9_000)
    assert spectral.log_mel_distance_db(a, 0.01 * a) < 1e-3
    assert torch.isfinite(spectral.log_mel_distance_db(a, torch.zeros_like(a)))
    assert spectral.log_mel_distance_db(torch.zeros(1, 10), torch.zeros(1, 10)) == 0
    with pytest.raises(ValueError, match="of one shape"):
        spectral.log_mel_distance_db(a, a[:, 1:])


@pytest.mark.parametrize(("hz", "pitch_class"), [(440.0, 9), (261.63, 0), (1174.66, 2)])
def test_chroma_names_the_pitch_class(hz: float, pitch_class: int) -> None:
    audio = torch.sin(2 * math.pi * hz * torch.arange(48_000) / 48_000)
    shares = spectral.chroma(torch.stack([audio, torch.zeros_like(audio)]))
    assert shares.shape == (2, 12, 24)
    assert (shares[0].argmax(0) == pitch_class).all() and shares[0, pitch_class, 5:-5].min() > 0.9
    assert shares[1].abs().max() == 0 and torch.allclose(shares[0].sum(0), torch.ones(24))
