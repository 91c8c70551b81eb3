"""Pitch classes and the key of a clip, and how much of it has a pitch at all."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.audio.level import SILENT, at_rms
from mousai.audio.spectral import stft_magnitude
from mousai.theory import MODES, SCALES

WINDOW_SECONDS = 0.17
CLASS_HZ = (90, 1000)
NEIGHBOURS = 31  # bins that a bin is compared with, 180 Hz
FLOOR = 1e-4  # of magnitudes
SCALE, ROOT, FIFTH = 1.0, 0.5, 0.3  # what the tones of a key count, and root and fifth beside that
KEYS = [(root, mode) for mode in MODES for root in range(12)]  # C major, C# major, … B minor

PITCH_HZ = (65, 1000)
PITCH_RATE = 16000
PITCH_SECONDS = 0.064
APERIODIC = 0.15  # YIN's threshold: of a frame's power, so much is not repeated


def pitch_classes(audio: Tensor, sample_rate: int) -> Tensor:
    """How strong each pitch class is in audio `(c, s)`, C first: `(12,)`, shares of 1; zeros where no tone stands out.

    What stands out from its neighbours along frequency, in log magnitude, times the fourth root of the magnitude, so that neither
    noise nor a single loud tone decides; averaged over the bins of a class between 90 and 1000 Hz and over time.
    """
    n_fft = 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))
    magnitude = stft_magnitude(at_rms(audio.float()).mean(0), n_fft, n_fft // 4)
    level = magnitude.clamp(min=FLOOR).log()
    standing = (level - F.avg_pool1d(level.T[:, None], NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)[:, 0].T).clamp(min=0)
    strength = (standing * magnitude**0.25).mean(1)
    hertz = torch.arange(len(strength), dtype=torch.float64) * sample_rate / n_fft
    used = (hertz > CLASS_HZ[0]) & (hertz < CLASS_HZ[1])
    classes = (69 + 12 * (hertz[used] / 440).log2()).round().long() % 12
    sums = torch.zeros(12).index_add(0, classes, strength[used]) / torch.bincount(classes, minlength=12).clamp(min=1)
    return sums / sums.sum().clamp(min=1e-12)


def key_fits(classes: Tensor) -> Tensor:
    """How the pitch classes `(12,)` of a clip fit each of `KEYS`: correlation with the key's scale, root and fifth weighing more, `(24,)`."""
    profiles = torch.stack([key_profile(root, mode) for root, mode in KEYS])
    centred = classes - classes.mean()
    profiles = profiles - profiles.mean(1, keepdim=True)
    return (profiles @ centred) / (profiles.norm(dim=1) * centred.norm()).clamp(min=1e-9)


def key_profile(root: int, mode: str) -> Tensor:
    """What each pitch class counts in a key, `(12,)`."""
    profile = torch.zeros(12)
    profile[list(SCALES[mode])] = SCALE
    profile[0] += ROOT
    profile[7] += FIFTH
    return profile.roll(root)


def relative(root: int, mode: str) -> tuple[int, str]:
    """The key of the other mode with the same tones."""
    return ((root + 9) % 12, "minor") if mode == "major" else ((root + 3) % 12, "major")


def concentration(classes: Tensor) -> float:
    """How far a clip's pitch classes `(12,)` are from all being alike: 0 where they are, 1 where there is one alone (1 - entropy / log 12)."""
    return (1 + torch.special.xlogy(classes, classes).sum() / math.log(12)).item() if classes.sum() > 0 else 0.0


def voiced_share(audio: Tensor, sample_rate: int) -> float:
    """The share of frames of audio `(c, s)` that one pitch between 65 and 1000 Hz explains, as YIN has it (JASA 111, 2002); 0 … 1.

    A frame counts whose normalised difference function falls below 0.15 within the range of pitches. A lone voice is near
    1, a full band and noise are near 0.
    """
    aperiodic = aperiodicity(audio, sample_rate)
    return (aperiodic < APERIODIC).double().mean().item() if len(aperiodic) else 0.0


def aperiodicity(audio: Tensor, sample_rate: int) -> Tensor:
    """The least of YIN's cumulative mean normalised difference function over the range of pitches, frame by frame: `(l,)`; 1 for silence."""
    from torchaudio.functional import resample

    mono = resample(audio.float().mean(0), sample_rate, PITCH_RATE) if sample_rate != PITCH_RATE else audio.float().mean(0)
    width, longest, shortest = round(PITCH_SECONDS * PITCH_RATE), PITCH_RATE // PITCH_HZ[0], PITCH_RATE // PITCH_HZ[1]
    if len(mono) < width + longest:
        return torch.ones(0)
    frames = mono.double().unfold(0, width + longest, width)  # (l, width + longest)
    size = 2 * (width + longest)
    spectra = torch.fft.rfft(frames[:, :width], size).conj() * torch.fft.rfft(frames, size)
    products = torch.fft.irfft(spectra, size)[:, : longest + 1]
    sums = F.pad(frames.square().cumsum(1), (1, 0))
    powers = sums[:, width : width + longest + 1] - sums[:, : longest + 1]
    difference = (powers[:, :1] + powers - 2 * products).clamp(min=0)[:, 1:]
    mean = difference.cumsum(1) / torch.arange(1, longest + 1)
    normalised = torch.where(mean > width * SILENT**2, difference / mean.clamp(min=1e-30), 1.0)
    return normalised[:, shortest - 1 :].amin(1)
