"""Mel spectra and their pooled statistics, for judging generated clips."""

from __future__ import annotations

import torch
from torch import Tensor

from mousai.audio.level import at_rms
from mousai.audio.spectral import HOP, MEL_BANDS, N_FFT, mel_filterbank, stft_magnitude

FLOOR = 1e-6  # of power a frequency bin
SAMPLE_RATE = 48000
_MODULATIONS = 24  # modulation-rate bins kept
_GROUPS = 10  # groups of bands whose envelopes' rhythm is looked at
_RHYTHM_FRAMES = 256  # frames of a rhythm window, 2.7 s
NUM_STATISTICS = 5 * MEL_BANDS + _GROUPS * _MODULATIONS


def mel_power(audio: Tensor) -> Tensor:
    """Mel power spectrogram of clips at 48 kHz, each scaled to rms 0.1, averaged over channels.

    audio: (b, c, s) with s >= 2048. Returns (b, 80, l) float32, l = 1 + s // 512.
    """
    if audio.ndim != 3 or audio.shape[-1] < N_FFT:
        raise ValueError(f"expected audio (b, c, s) of at least {N_FFT} samples, came {tuple(audio.shape)}")
    power = stft_magnitude(at_rms(audio.float()), N_FFT, HOP).square() / N_FFT
    return (mel_filterbank(SAMPLE_RATE).to(audio.device) @ power).mean(dim=1)


def decibels(power: Tensor) -> Tensor:
    """Mel power in dB, nothing below −60 dB."""
    return 10 * torch.log10(power.clamp_min(FLOOR))


def statistics(log_power: Tensor) -> Tensor:
    """Pooled statistics of log-mel spectrograms (b, 80, l): (b, 640), whatever the length.

    Per band: mean, standard deviation over time, mean rise from frame to frame, the levels that 10 % and 90 % of the
    frames (every third is looked at) stay below. Per group of bands: magnitude of the envelope's modulation spectrum up
    to 8.8 Hz in windows of 2.7 s: the rhythm. Short clips are repeated to fill one window.
    """
    rise = log_power.diff(dim=-1).clamp_min(0).mean(-1)
    low, high = torch.quantile(log_power[..., ::3], torch.tensor([0.1, 0.9], device=log_power.device), dim=-1)
    envelopes = log_power.unflatten(1, (_GROUPS, -1)).mean(2)  # (b, groups, l)
    repeats = -(-_RHYTHM_FRAMES // envelopes.shape[-1])
    windows = envelopes.repeat(1, 1, repeats).unfold(-1, _RHYTHM_FRAMES, _RHYTHM_FRAMES // 2)  # (b, groups, w, 256)
    windows = (windows - windows.mean(-1, keepdim=True)) * torch.hann_window(_RHYTHM_FRAMES, device=windows.device)
    rhythm = torch.fft.rfft(windows).abs()[..., 1 : _MODULATIONS + 1].mean(2) / _RHYTHM_FRAMES
    parts = [log_power.mean(-1), log_power.std(-1), rise, low, high, rhythm.flatten(1)]
    return torch.cat(parts, dim=1)
