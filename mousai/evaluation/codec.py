"""How near decode(encode(x)) comes to x, beside what says how much that is: noises, another clip, Griffin-Lim.

Every baseline has the clips' shape. The coloured noises know the music's spectrum but nothing of its course; Griffin-Lim
(IEEE TASSP 32, 1984) knows mel magnitudes, as many numbers a second as the latents have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.audio.level import at_rms, rms_of
from mousai.audio.spectral import log_mel, log_mel_distance_db, stft_magnitude
from mousai.evaluation.metrics import long_term_noise, mel_resynthesis, smooth_spectrum

TONE_N_FFT, TONE_HOP = 4096, 1024
TONE_BINS = slice(6, 512)  # 70 … 6000 Hz at 48 kHz
TONE_SMOOTHING = 25  # bins, 290 Hz at 48 kHz: what is narrower counts as a tone
MAGNITUDE_FLOOR = 1e-3  # of the unscaled STFT of audio at rms 0.1: the log-mel's floor of 1e-6 in power
FRAMES_PER_ROW = (1, 2)  # Griffin-Lim's trade of bands for frames: this many times the latents' hop, the better one counts
GRIFFIN_LIM_STEPS = 32

MEASURES = {  # name: heading of the table
    "log_mel_db": "log-mel distance, dB",
    "log_stft_decades": "log-STFT distance, decades",
    "tones": "tones",
    "attacks": "attacks",
    "rms_ratio": "rms ratio",
}


def log_stft_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference in decades of STFT magnitudes of audio `(..., c, s)`, each item at rms 0.1: `(...)`."""
    levels = [stft_magnitude(at_rms(x)).clamp(min=MAGNITUDE_FLOOR).log10() for x in (a, b)]
    return (levels[0] - levels[1]).abs().mean((-3, -2, -1))


def tone_correlation(a: Tensor, b: Tensor) -> float:
    """Correlation of what stands out from its neighbours along frequency in two spectrograms: 1 = the same tones, 0 = none in common.

    Audio `(c, s)`; log magnitudes between 70 and 6000 Hz, less their mean over 290 Hz (for 48 kHz).
    """
    return _correlation(*(_tones(x) for x in (a, b)))


def _tones(audio: Tensor) -> Tensor:
    """Log magnitudes less their local mean along frequency `(c, l, bins)`."""
    levels = stft_magnitude(at_rms(audio), TONE_N_FFT, TONE_HOP)[:, TONE_BINS].clamp(min=MAGNITUDE_FLOOR).log10().transpose(1, 2)
    return levels - F.avg_pool1d(levels, TONE_SMOOTHING, 1, TONE_SMOOTHING // 2, count_include_pad=False)


def attack_correlation(a: Tensor, b: Tensor, sample_rate: int) -> float:
    """Correlation over time of how much the log-mel spectrum rises from frame to frame: 1 = the same attacks, 0 = none in common."""
    rises = [log_mel(at_rms(x), sample_rate).diff(dim=-1).clamp(min=0).mean((0, 1)) for x in (a, b)]
    return _correlation(*rises)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's; 0 where one of them is constant."""
    a, b = (x.double() - x.double().mean() for x in (a, b))
    power = a.square().sum() * b.square().sum()
    return ((a * b).sum() / power.sqrt()).item() if power > 0 else 0.0


def rms_ratio(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square of audio `(..., c, s)` over that of `b`: `(...)`."""
    powers = [x.square().mean((-2, -1)) for x in (a, b)]
    return (powers[0] / powers[1].clamp(min=1e-20)).sqrt()


def measure(candidates: Sequence[Tensor], references: Sequence[Tensor], sample_rate: int) -> dict[str, list[float]]:
    """Every measure of `MEASURES`, one number a clip, of candidates `(c, s)` against their references."""
    if len(candidates) != len(references) or not references:
        raise ValueError(
            f"expected as many candidates as references, at least one; came {len(candidates)} and {len(references)}"
        )
    pairs = list(zip(candidates, references, strict=True))
    return {
        "log_mel_db": [log_mel_distance_db(a, b, sample_rate).item() for a, b in pairs],
        "log_stft_decades": [log_stft_distance(a, b).item() for a, b in pairs],
        "tones": [tone_correlation(a, b) for a, b in pairs],
        "attacks": [attack_correlation(a, b, sample_rate) for a, b in pairs],
        "rms_ratio": [rms_ratio(a, b).item() for a, b in pairs],
    }


def baselines(
    references: Sequence[Tensor], sample_rate: int, hop: int, latent_channels: int, seed: int = 0
) -> dict[str, list[Tensor]]:
    """What a codec is compared with, by name, each one clip `(c, s)` a reference; all clips of one shape.

    Griffin-Lim gets `latent_channels * sample_rate / hop` mel magnitudes a second, both channels counted together, in
    each arrangement of `FRAMES_PER_ROW`.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = references[0].shape[0]
    rows = {
        "noise with the clip's own long-term spectrum": [long_term_noise(clip, generator) for clip in references],
        "noise with the set's long-term spectrum": set_noise(references, generator),
        "another clip": [*references[1:], references[0]],
        "white noise": [_as_loud(torch.randn(clip.shape, generator=generator), clip) for clip in references],
    }
    if len(references) == 1:
        del rows["another clip"]
    for factor in FRAMES_PER_ROW:
        bands = latent_channels * factor // channels
        name = f"Griffin-Lim, {bands} mel bands a channel every {hop * factor} samples"
        rows[name] = [mel_resynthesis(clip, bands, hop * factor, sample_rate, GRIFFIN_LIM_STEPS, seed) for clip in references]
    return rows


def set_noise(references: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Noise `(c, s)` as loud as each reference, with the mean long-term spectrum of all of them brought to one loudness."""
    power = torch.stack([torch.fft.rfft(at_rms(clip)).abs().square().mean(0) for clip in references]).mean(0)
    gain = smooth_spectrum(power[None])[0].sqrt()
    length = references[0].shape[-1]
    whites = (torch.randn(clip.shape, generator=generator) for clip in references)
    return [_as_loud(torch.fft.irfft(torch.fft.rfft(white) * gain, length), clip) for white, clip in zip(whites, references)]


def _as_loud(noise: Tensor, clip: Tensor) -> Tensor:
    return at_rms(noise, rms_of(clip))


def summary(values: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation, least and greatest over the clips of each measure, and the values themselves."""
    result = {}
    for name, numbers in values.items():
        tensor = torch.tensor(numbers, dtype=torch.float64)
        spread = {"sd": tensor.std(correction=0), "min": tensor.min(), "max": tensor.max()}
        result[name] = {"mean": tensor.mean().item(), **{key: value.item() for key, value in spread.items()}, "clips": numbers}
    return result


def table(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown of summaries by name, nearest first: means with the standard deviation over clips."""
    lines = [f"| | {' | '.join(MEASURES.values())} |", "|---" * (len(MEASURES) + 1) + "|"]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["log_mel_db"]["mean"]):
        cells = [f"{row[key]['mean']:.2f} ± {row[key]['sd']:.2f}" for key in MEASURES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
