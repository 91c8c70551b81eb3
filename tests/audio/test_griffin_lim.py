"""Griffin-Lim against librosa's, and what it is for."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from mousai.audio.griffin_lim import griffin_lim


def magnitudes(audio: torch.Tensor) -> torch.Tensor:
    window = torch.hann_window(512)
    return torch.stft(audio, 512, 128, window=window, pad_mode="constant", return_complex=True).abs()


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_from_the_same_phases_it_is_librosas(momentum: float) -> None:
    """librosa can begin with phases of 0, whose audio is an inverse STFT of the magnitudes themselves."""
    target = magnitudes(torch.randn(1, 4096, generator=torch.Generator().manual_seed(0)))
    start = torch.istft(target.to(torch.complex64), 512, 128, window=torch.hann_window(512), length=4096)
    ours = griffin_lim(start, target, 512, 128, 6, momentum)[0].numpy()
    theirs = librosa.griffinlim(target[0].numpy(), n_iter=6, hop_length=128, momentum=momentum, init=None, length=4096)
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


def test_the_right_phases_stay() -> None:
    audio = torch.randn(2, 4096, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(griffin_lim(audio, magnitudes(audio), 512, 128, 8), audio, atol=1e-4, rtol=0)
