"""The confusion of styles as a table, and sounds to compare a codec with: coloured noise, Griffin-Lim."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mousai.audio.griffin_lim import griffin_lim
from mousai.audio.level import at_rms, rms_of
from mousai.audio.spectral import mel_filterbank


def confusion_table(prompted: Sequence[str], named: Sequence[str], labels: Sequence[str]) -> Tensor:
    """Counts (labels, labels): row = what was asked for, column = what the classifier heard."""
    if len(prompted) != len(named):
        raise ValueError(f"expected as many names as prompts, came {len(named)} names and {len(prompted)} prompts")
    place = {label: i for i, label in enumerate(labels)}
    unknown = sorted({label for label in (*prompted, *named) if label not in place})
    if unknown:
        raise ValueError(f"unknown labels {', '.join(unknown)}; the table has {', '.join(labels)}")
    table = torch.zeros(len(labels), len(labels), dtype=torch.long)
    for asked, heard in zip(prompted, named):
        table[place[asked], place[heard]] += 1
    return table


def table_accuracy(table: Tensor) -> float:
    """Share of clips on the diagonal of a confusion table."""
    return (table.diagonal().sum() / table.sum()).item()


def long_term_noise(audio: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of the same shape (c, s) with the audio's long-term magnitude spectrum and loudness: random phases.

    The spectrum is smoothed over 1/512 of its bins, so that no tone and no rhythm survives.
    """
    smooth = smooth_spectrum(torch.fft.rfft(audio).abs().square())
    white = torch.randn(audio.shape, generator=generator)
    return at_rms(torch.fft.irfft(torch.fft.rfft(white) * smooth.sqrt(), audio.shape[-1]), rms_of(audio))


def smooth_spectrum(power: Tensor) -> Tensor:
    """Power spectra (c, f), each bin averaged with its neighbours over 1/512 of all bins."""
    width = 2 * (power.shape[-1] // 1024) + 1
    return torch.nn.functional.avg_pool1d(power[:, None], width, 1, width // 2, count_include_pad=False)[:, 0]


def mel_resynthesis(audio: Tensor, bands: int, hop: int, sample_rate: int = 48000, steps: int = 32, seed: int = 0) -> Tensor:
    """Audio (c, s) from nothing but its mel magnitudes: `bands` values every `hop` samples a channel.

    The baseline of a codec with as many values a second: bands · c / hop against d / hop. The FFT spans four hops, at
    least 1024 samples; mel magnitudes become bins by the filterbank's pseudo-inverse, phases come by Griffin-Lim.
    """
    n_fft, length = max(1024, 4 * hop), audio.shape[-1]
    window = torch.hann_window(n_fft)
    filters = mel_filterbank(sample_rate, n_fft, bands)
    target = torch.stft(audio, n_fft, hop, window=window, pad_mode="constant", return_complex=True).abs()
    target = (torch.linalg.pinv(filters) @ (filters @ target)).clamp_min(0)
    generator = torch.Generator().manual_seed(seed)
    phase = 2 * math.pi * torch.rand(target.shape, generator=generator)
    start = torch.istft(torch.polar(target, phase), n_fft, hop, window=window, length=length)
    return griffin_lim(start, target, n_fft, hop, steps, momentum=0.0)
