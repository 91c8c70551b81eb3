"""What a listener follows through a codec: lines, grain, peaks, pulse and pitch, of a clip beside its original.

Lines are what stands out from its neighbours along frequency and lasts: the log magnitude less its mean over 25 bins (290
Hz at 48 kHz), averaged over 8 frames (0.17 s). Grain is the rest, what flickers from frame to frame; it differs from one
noise to another of the same kind, so its spread tells, not its course. Both are of the sum of the channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.audio.level import at_rms
from mousai.audio.spectral import stft_magnitude
from mousai.evaluation.harmony import key_fits, pitch_classes, voiced_share
from mousai.evaluation.phases import counted, silent
from mousai.evaluation.pulse import FINER, FRAMES_A_SECOND, pulse_of
from mousai.types import Callback

N_FFT, HOP = 4096, 1024
NEIGHBOURS = 25  # bins that a bin is compared with
LASTING = 8  # frames
FLOOR = 1e-3  # of the unscaled STFT of audio at rms 0.1
BANDS_HZ = {"lines_low": (70, 410), "lines_mid": (410, 1500), "lines_high": (1500, 6000)}
GRAIN_HZ = (70, 3600)
STRONGEST = 20  # peaks a frame
DB_PER_NEPER = 8.686

PULSE_SECONDS = (0.3, 3.0)
AS_GOOD = 0.05  # less of a correlation is no reason to prefer one key to another

MEASURES = {  # name: heading of the table
    **{name: f"lines {low:,} … {high:,} Hz" for name, (low, high) in BANDS_HZ.items()},
    "grain_db": "grain, dB",
    "peakiness_db": "peakiness, dB",
    "peaks_kept": "peaks kept",
    "pulse_kept": "pulse kept",
    "chroma_kept": "chroma kept",
    "key_kept": "key kept",
    "key_fits": "or as good",
    "voiced": "voiced",
}
SHARES = ("peaks_kept", "key_kept", "key_fits", "voiced")  # shown in per cent


def measure(candidates: Sequence[Tensor], references: Sequence[Tensor], sample_rate: int, progress: Callback = silent("")) -> dict[str, list[float]]:
    """Every measure of `MEASURES`, one number a clip, of candidates `(c, s)` against their references."""
    if len(candidates) != len(references) or not references:
        raise ValueError(f"expected as many candidates as references, at least one; came {len(candidates)} and {len(references)}")
    rows = [one(a, b, sample_rate) for a, b in counted(list(zip(candidates, references, strict=True)), progress)]
    return {name: [row[name] for row in rows] for name in MEASURES}


def one(candidate: Tensor, reference: Tensor, sample_rate: int) -> dict[str, float]:
    """The measures of one clip `(c, s)` against its reference; grain, peakiness and what is voiced are its own."""
    levels = [log_magnitude(x) for x in (candidate, reference)]
    lasting = [lines(level) for level in levels]
    bands = {name: bins_between(*hz, sample_rate) for name, hz in BANDS_HZ.items()}
    heard = bins_between(70, 6000, sample_rate)
    classes = [pitch_classes(x, sample_rate) for x in (candidate, reference)]
    fits = [key_fits(each) for each in classes]
    key = int(fits[1].argmax())
    return {
        **{name: correlation(*(x[band] for x in lasting)) for name, band in bands.items()},
        "grain_db": grain(levels[0][bins_between(*GRAIN_HZ, sample_rate)]),
        "peakiness_db": peakiness(levels[0][heard]),
        "peaks_kept": peaks_kept(*(level[heard] for level in levels)),
        "pulse_kept": correlation(*pulse_curves(candidate, reference, sample_rate)),
        "chroma_kept": correlation(*classes),
        "key_kept": float(fits[0].argmax() == key),
        "key_fits": float(fits[0][key] >= fits[0].max() - AS_GOOD),
        "voiced": voiced_share(candidate, sample_rate),
    }


def pulse_curves(candidate: Tensor, reference: Tensor, sample_rate: int) -> list[Tensor]:
    """How far each of two clips is like itself 0.3 to 3 s on, as `pulse.autocorrelation` has it."""
    first, last = (round(seconds * FRAMES_A_SECOND * FINER) for seconds in PULSE_SECONDS)
    return [pulse_of(audio, sample_rate).curve[first:last] for audio in (candidate, reference)]


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


def peakiness(level: Tensor) -> float:
    """How far in dB the 20 strongest peaks of each frame of `level (f, l)` stand above their neighbours, on average."""
    peaks = strongest_peaks(level)
    return standing_out(level)[peaks].mean().item() * DB_PER_NEPER if peaks.any() else 0.0


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


def table(rows: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Markdown of summaries (`codec.summary`) by name: means over clips."""
    lines = [f"| | {' | '.join(MEASURES.values())} |", "|---" * (len(MEASURES) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{100 * row[key]['mean']:.0f} %" if key in SHARES else f"{row[key]['mean']:.2f}" for key in MEASURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
