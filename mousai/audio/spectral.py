"""Spectra of audio: magnitude, mel bands, chroma, distances and pictures.

Mel bands follow the HTK formula, mel = 2595 log10(1 + f / 700), as triangles of height 1, on the power of an
unscaled STFT with a Hann window: torchaudio's defaults.
"""

from __future__ import annotations

import math
import warnings
from os import PathLike

import torch
from torch import Tensor

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


def mel_filterbank(sample_rate: int, n_fft: int = N_FFT, bands: int = MEL_BANDS) -> Tensor:
    """Weights `(bands, n_fft // 2 + 1)` of triangular mel bands from 0 Hz to half the sample rate."""
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, bands + 2, dtype=torch.float64) / 2595) - 1)
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    rise = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp(min=0).float()


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


def at_rms(audio: Tensor, rms: float = 0.1) -> Tensor:
    """Audio `(..., c, s)`, each item scaled to `rms` over its channels and samples; silence stays silent."""
    power = audio.square().mean((-2, -1), keepdim=True)
    return torch.where(power > 0, audio * rms * power.clamp(min=1e-30).rsqrt(), audio)


def chroma(audio: Tensor, sample_rate: int = 48000, n_fft: int = 8192, hop: int = 2048) -> Tensor:
    """Share of each pitch class, C first, in the power between 55 and 5000 Hz: `(..., 12, 1 + s // hop)` of audio `(..., s)`.

    Equal temperament on A = 440 Hz; a bin belongs to its nearest pitch. Frames sum to 1, those of silence to 0.
    """
    frequencies = torch.arange(1, n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    pitch = (69 + 12 * (frequencies / 440).log2()).round().long() % 12
    used = (frequencies > 55) & (frequencies < 5000)
    classes = torch.nn.functional.one_hot(pitch, 12).T * used  # (12, f)
    power = classes.to(audio) @ stft_magnitude(audio, n_fft, hop)[..., 1:, :].square()
    total = power.sum(-2, keepdim=True)
    return torch.where(total > 0, power / total.clamp(min=1e-30), power)


def spectrogram_png(audio: Tensor, sample_rate: int, path: str | PathLike, title: str = "") -> None:
    """Draw the log-mel spectrogram of audio `(c, s)`, one panel a channel, 80 dB deep, to a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels = log_mel(audio.detach().cpu().float(), sample_rate, bands=128).numpy()
    seconds, top = audio.shape[-1] / sample_rate, levels.max()
    figure = Figure(figsize=(10, 2.6 * len(levels) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    ticks = [100, 300, 1000, 3000, 10000]
    highest = math.log10(1 + sample_rate / 2 / 700)
    for panel, level in zip(panels, levels, strict=True):
        shown = panel.imshow(
            level, origin="lower", aspect="auto", extent=(0, seconds, 0, 1), vmin=top - 80, vmax=top, cmap="magma"
        )
        panel.set_yticks([math.log10(1 + hz / 700) / highest for hz in ticks], [f"{hz:,}" for hz in ticks])
        panel.set_ylabel("Hz")
    panels[-1].set_xlabel("seconds")
    figure.suptitle(title)
    figure.colorbar(shown, ax=list(panels), label="dB")
    with warnings.catch_warnings():  # a title in a script that the font has not
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, format="png", dpi=100)
