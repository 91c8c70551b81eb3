"""What a listener follows through a codec: lines, grain, peaks and the key, of a clip beside its original.

Lines are what stands out from its neighbours along frequency and lasts: the log magnitude less its mean over 25 bins (290
Hz at 48 kHz), averaged over 8 frames (0.17 s). Grain is the rest, what flickers from frame to frame; it differs from one
noise to another of the same kind, so its spread tells, not its course. Both are of the sum of the channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.audio.spectral import at_rms, chroma, stft_magnitude

N_FFT, HOP = 4096, 1024
NEIGHBOURS = 25  # bins that a bin is compared with
LASTING = 8  # frames
FLOOR = 1e-3  # of the unscaled STFT of audio at rms 0.1
BANDS_HZ = {"lines_low": (70, 410), "lines_mid": (410, 1500), "lines_high": (1500, 6000)}
GRAIN_HZ = (70, 3600)
STRONGEST = 20  # peaks a frame
DB_PER_NEPER = 8.686

# How well each pitch class fits a key on C (Krumhansl and Kessler, Psychological Review 89, 1982).
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

MEASURES = {  # name: heading of the table
    **{name: f"lines {low:,} … {high:,} Hz" for name, (low, high) in BANDS_HZ.items()},
    "grain_db": "grain, dB",
    "peaks_kept": "peaks kept",
    "key_kept": "key kept",
}


def measure(candidates: Sequence[Tensor], references: Sequence[Tensor], sample_rate: int) -> dict[str, list[float]]:
    """Every measure of `MEASURES`, one number a clip, of candidates `(c, s)` against their references."""
    if len(candidates) != len(references) or not references:
        raise ValueError(f"expected as many candidates as references, at least one; came {len(candidates)} and {len(references)}")
    rows = [one(a, b, sample_rate) for a, b in zip(candidates, references, strict=True)]
    return {name: [row[name] for row in rows] for name in MEASURES}


def one(candidate: Tensor, reference: Tensor, sample_rate: int) -> dict[str, float]:
    """The measures of one clip `(c, s)` against its reference."""
    levels = [log_magnitude(x) for x in (candidate, reference)]
    lasting = [lines(level) for level in levels]
    bands = {name: bins_between(*hz, sample_rate) for name, hz in BANDS_HZ.items()}
    return {
        **{name: correlation(*(x[band] for x in lasting)) for name, band in bands.items()},
        "grain_db": grain(levels[0][bins_between(*GRAIN_HZ, sample_rate)]),
        "peaks_kept": peaks_kept(*(level[bins_between(70, 6000, sample_rate)] for level in levels)),
        "key_kept": float(key(candidate, sample_rate) == key(reference, sample_rate)),
    }


def log_magnitude(audio: Tensor) -> Tensor:
    """Log magnitudes `(n_fft // 2 + 1, l)` in nepers of the mean of the channels of audio `(c, s)`, brought to rms 0.1."""
    return stft_magnitude(at_rms(audio).mean(0), N_FFT, HOP).clamp(min=FLOOR).log()


def bins_between(low_hz: float, high_hz: float, sample_rate: int) -> slice:
    """The STFT's bins from one frequency up to another."""
    return slice(round(low_hz * N_FFT / sample_rate), round(high_hz * N_FFT / sample_rate))


def standing_out(level: Tensor) -> Tensor:
    """`level (f, l)` less its local mean along frequency."""
    return level - F.avg_pool1d(level.T[:, None], NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)[:, 0].T


def lines(level: Tensor) -> Tensor:
    """What stands out and lasts, `(f, l // 8)` of `(f, l)`; ValueError for less than 8 frames."""
    if level.shape[1] < LASTING:
        raise ValueError(f"expected at least {LASTING * HOP} samples, came {(level.shape[1] - 1) * HOP}")
    return in_groups(standing_out(level)).mean(2)


def grain(level: Tensor) -> float:
    """The spread in dB of what stands out and does not last."""
    groups = in_groups(standing_out(level))
    return (groups - groups.mean(2, keepdim=True)).std().item() * DB_PER_NEPER


def in_groups(x: Tensor) -> Tensor:
    """`(f, l)` in groups of frames `(f, l // 8, 8)`."""
    return x[:, : x.shape[1] // LASTING * LASTING].unflatten(1, (-1, LASTING))


def peaks_kept(level: Tensor, reference: Tensor) -> float:
    """The share of the 20 strongest peaks of each frame of `reference (f, l)` that `level` has among its own, within a bin."""
    found, wanted = (strongest_peaks(x) for x in (level, reference))
    near = found.clone()
    near[1:] |= found[:-1]
    near[:-1] |= found[1:]
    return ((wanted & near).sum() / wanted.sum().clamp(min=1)).item()


def strongest_peaks(level: Tensor) -> Tensor:
    """Where the strongest local maxima of each frame of `(f, l)` are, boolean."""
    peak = torch.zeros_like(level, dtype=torch.bool)
    peak[1:-1] = (level[1:-1] > level[:-2]) & (level[1:-1] >= level[2:])
    ranked = level.masked_fill(~peak, -torch.inf).topk(min(STRONGEST, len(level)), dim=0).indices
    return torch.zeros_like(peak).scatter_(0, ranked, True) & peak


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's over all places; 0 where one of them is constant, to rounding."""
    a, b = (x.double() - x.double().mean() for x in (a, b))
    power = a.square().sum() * b.square().sum()
    return ((a * b).sum() / power.sqrt()).item() if power > 1e-12 else 0.0


def key_correlations(audio: Tensor, sample_rate: int) -> Tensor:
    """How the pitch classes of audio `(c, s)` fit each key `(24,)`: C major, C# major, … B major, C minor, … B minor."""
    classes = chroma(audio.mean(0), sample_rate).mean(1)
    profiles = torch.stack([torch.tensor(profile).roll(tonic) for profile in (MAJOR, MINOR) for tonic in range(12)])
    return torch.corrcoef(torch.cat([classes[None].float(), profiles]))[0, 1:].nan_to_num()


def key(audio: Tensor, sample_rate: int) -> int:
    """The number of the key that fits best, 0 … 23 as in `key_correlations`."""
    return int(key_correlations(audio, sample_rate).argmax())
