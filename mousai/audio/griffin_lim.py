"""Phases that agree with magnitudes: fast Griffin-Lim (Perraudin, Balazs and Søndergaard, WASPAA 2013).

librosa's and torchaudio's `griffinlim` are the same algorithm, to float rounding, but begin from phases of their own
choice: constant, or drawn from a global generator. Here they begin as those of some audio.
"""

from __future__ import annotations

import torch
from torch import Tensor


def griffin_lim(start: Tensor, magnitude: Tensor, n_fft: int, hop: int, iterations: int, momentum: float = 0.99) -> Tensor:
    """Audio `(b, s)` whose STFT has nearly the magnitudes `(b, n_fft // 2 + 1, 1 + s // hop)`; phases begin as those of `start`.

    A Hann window, frames centred, zeros around the ends. With momentum 0 it is plain Griffin-Lim.
    """
    window = torch.hann_window(n_fft, device=start.device)
    x, before = start, None
    for _ in range(iterations):
        spectrum = torch.stft(x, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
        ahead = spectrum if before is None else spectrum + momentum * (spectrum - before)
        before = spectrum
        x = torch.istft(magnitude * ahead / ahead.abs().clamp(min=1e-9), n_fft, hop, window=window, length=start.shape[-1])
    return x
