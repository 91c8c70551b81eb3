"""Spectra of audio: magnitude, mel bands, chroma and distances.

Mel bands follow the HTK formula, mel = 2595 log10(1 + f / 700), as triangles of height 1, on the power of an
unscaled STFT with a Hann window: torchaudio's defaults.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mousai.audio.level import at_rms

N_FFT = 2048
HOP = 512
MEL_BANDS = 80
POWER_FLOOR = 1e-6  # of log_mel; the music it is meant for has rms 0.1


def stft_magnitude(audio: Tensor, n_fft: int = N_FFT, hop: int = HOP) -> Tensor:
    """Magnitudes `(..., n_fft // 2 + 1, 1 + s // hop)` of audio `(..., s)`, frames centred, zeros around the ends."""
    window = torch.hann_window(n_fft, device=audio.device, dtype=audio.dtype)
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(flat, n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    return spectrum.abs().reshape(*audio.shape[:-1], *spectrum.shape[-2:])


def in_blocks(audio: Tensor, hop: int, work: Callable[[Tensor], Tensor], block_frames: int = 4096, margin: int = 16) -> Tensor:
    """`work` on audio `(s,)` block by block, so that memory does not grow with it: what it gives for all, `(..., 1 + s // hop)`.

    `work` gives a centred frame every `hop` samples of what it gets, none of which may reach further than `margin` of them.
    """
    found, total = [], 1 + audio.shape[-1] // hop
    for first in range(0, total, block_frames):
        begin, stop = max(0, first - margin), min(total, first + block_frames)
        found.append(work(audio[begin * hop : (stop + margin) * hop])[..., first - begin : stop - begin])
    return torch.cat(found, dim=-1)


def mel_filterbank(sample_rate: int, n_fft: int = N_FFT, bands: int = MEL_BANDS) -> Tensor:
    """Weights `(bands, n_fft // 2 + 1)` of triangular mel bands from 0 Hz to half the sample rate, made by torchaudio."""
    from torchaudio.functional import melscale_fbanks

    with torch.device("cpu"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "At least one mel filterbank")  # low bands narrower than a bin have none
        return melscale_fbanks(n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate).T.contiguous()


def mel_density(bands: int, sample_rate: int) -> Tensor:
    """How many mels a hertz is worth in each of `bands` equal bands up to half the sample rate, of mean 1."""
    frequencies = (torch.arange(bands) + 0.5) * sample_rate / (2 * bands)
    density = 1 / (700 + frequencies)  # the derivative of 2595 log10(1 + f / 700)
    return density / density.mean()


def log_mel(
    audio: Tensor, sample_rate: int = 48000, bands: int = MEL_BANDS, n_fft: int = N_FFT, hop: int = HOP, floor: float = POWER_FLOOR
) -> Tensor:
    """Power in mel bands, in dB, `(..., bands, 1 + s // hop)` of audio `(..., s)`; nothing below `10 log10(floor)`."""
    power = stft_magnitude(audio, n_fft, hop).square()
    return 10 * (mel_filterbank(sample_rate, n_fft, bands).to(audio) @ power).clamp(min=floor).log10()


def log_mel_distance_db(a: Tensor, b: Tensor, sample_rate: int = 48000) -> Tensor:
    """Mean absolute difference in dB of the log-mel spectra of audio `(..., c, s)`, one number an item: `(...)`.

    Each item is first brought to rms 0.1 over its channels and samples; channels are compared one by one and averaged.
    White noise lies about 27 dB from music, another piece of music about 16 dB. Raises ValueError for unequal shapes.
    """
    if a.shape != b.shape or a.dim() < 2:
        raise ValueError(f"expected two signals (..., c, s) of one shape, came {tuple(a.shape)} and {tuple(b.shape)}")
    difference = log_mel(at_rms(a), sample_rate) - log_mel(at_rms(b), sample_rate)
    return difference.abs().mean((-3, -2, -1))


def chroma(audio: Tensor, sample_rate: int = 48000, n_fft: int = 8192, hop: int = 2048) -> Tensor:
    """Share of each pitch class, C first, in the power between 55 and 5000 Hz: `(..., 12, 1 + s // hop)` of audio `(..., s)`.

    Equal temperament on A = 440 Hz; a bin belongs to its nearest pitch. Frames sum to 1, those of silence to 0.
    """
    power = chroma_filterbank(sample_rate, n_fft)[:, 1:].to(audio) @ stft_magnitude(audio, n_fft, hop)[..., 1:, :].square()
    total = power.sum(-2, keepdim=True)
    return torch.where(total > 0, power / total.clamp(min=1e-30), power)


def chroma_filterbank(sample_rate: int, n_fft: int) -> Tensor:
    """Weights `(12, n_fft // 2 + 1)`, 0 or 1, that sum the bins of each pitch class, C first, between 55 and 5000 Hz."""
    frequencies = torch.arange(1, n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    pitch = (69 + 12 * (frequencies / 440).log2()).round().long() % 12
    used = (frequencies > 55) & (frequencies < 5000)
    classes = torch.nn.functional.one_hot(pitch, 12).T * used
    return torch.nn.functional.pad(classes, (1, 0)).float()
