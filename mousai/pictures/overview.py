"""A picture of a whole piece, from audio that comes in blocks: its sections, spectrogram and level, and what sounds like what.

Nothing of a piece is kept but sums: frames of the STFT, on a grid that begins with the piece, add up to at most 2000 columns of
a spectrogram and at most 600 of mel levels and chroma. Ten seconds and a day take the same memory, and how the blocks are cut
changes no bit. The similarity is that of J. Foote, "Visualizing Music and Audio using Self-Similarity" (1999), here of MFCCs
for the timbre, by librosa, and chroma for the harmony: a section is a square, a repetition a line beside the diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mousai.audio.spectral import chroma_filterbank, mel_filterbank, stft_magnitude
from mousai.pictures.figures import save_png
from mousai.pictures.overview_drawing import FLOOR_DB, Shown, draw
from mousai.words import clock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, FEATURES = 2000, 600  # at most
FRAMES = 128  # computed at a time
BANDS, LOWEST_HZ, HIGHEST_HZ = 240, 32.7, 20000.0  # of the spectrogram
MEL_BANDS, MFCCS = 64, 14
SMOOTH_SECONDS = 2.0  # deviation of the Gaussian over features; a fortieth of the piece if that is less
LEAST_SPREAD = np.array([8.0] * MFCCS + [0.05] * 12)[:, None]  # what varies less is no sign of a new section


@dataclass(frozen=True)
class Grid:
    """The frames of a piece: frame i is the `n_fft` samples around the `hop` samples from i x `hop` on."""

    num_frames: int
    hop: int
    n_fft: int
    column: int  # frames in a column of the picture
    feature: int  # frames in a column of the features


def frame_grid(num_samples: int, sample_rate: int) -> Grid:
    """Hops of 11 ms, up to 85 ms in long pieces; frames of 85 ms or, where the hops are long, 171 ms; features of 0.1 s or more."""
    base = 2 ** max(1, round(math.log2(sample_rate / 94)))
    hop = base * min(8, 2 ** max(0, int(math.log2(max(1, num_samples / base / COLUMNS)))))
    frames = -(-num_samples // hop)
    feature = max(-(-frames // FEATURES), round(0.1 * sample_rate / hop), 1)
    return Grid(frames, hop, base * (8 if hop < 4 * base else 16), -(-frames // COLUMNS), feature)


class Overview:
    """Takes a piece of `num_samples` in block by block and draws it; `sections` are (start in seconds, label), in order.

    Raises ValueError for numbers below one, and for sections out of order or outside the piece.
    """

    def __init__(
        self, sample_rate: int, channels: int, num_samples: int, sections: Sequence[tuple[float, str]] = (), title: str = ""
    ):
        if min(sample_rate, channels, num_samples) < 1:
            raise ValueError(f"expected a rate, channels and samples, came {sample_rate} Hz, {channels} and {num_samples}")
        self.sample_rate, self.channels, self.num_samples = sample_rate, channels, num_samples
        self.sections, self.title, self.seconds = tuple(sections), title, num_samples / sample_rate
        edges = [*(start for start, _ in sections), self.seconds]
        if edges[0] < 0 or any(later <= earlier for earlier, later in zip(edges, edges[1:])):
            raise ValueError(f"expected sections in order within {self.seconds:g} s, came starts at {edges[:-1]} s")
        self.grid = grid = frame_grid(num_samples, sample_rate)
        full_scale = (4 / grid.n_fft) ** 2
        self.bands = log_filterbank(sample_rate, grid.n_fft) * full_scale
        self.mel = mel_filterbank(sample_rate, grid.n_fft, MEL_BANDS) * full_scale
        self.pitches = chroma_filterbank(sample_rate, grid.n_fft) * full_scale
        columns, features = -(-grid.num_frames // grid.column), -(-grid.num_frames // grid.feature)
        self.power = torch.zeros(BANDS, columns, dtype=torch.float64)
        self.squares, self.peak = torch.zeros(2, columns, dtype=torch.float64)
        self.features = torch.zeros(MEL_BANDS + 12, features, dtype=torch.float64)
        self.received = self.frames = 0
        self.window = torch.zeros(channels, (FRAMES - 1) * grid.hop + grid.n_fft)
        self.held = (grid.n_fft - grid.hop) // 2  # samples in the window; first the silence before the piece

    def add(self, audio: Tensor) -> None:
        """The next samples, audio `(c, s)` of any length. Raises ValueError for other channels and for more than the piece has."""
        if audio.dim() != 2 or audio.shape[0] != self.channels:
            raise ValueError(f"expected audio ({self.channels}, s), came {tuple(audio.shape)}")
        if self.received + audio.shape[1] > self.num_samples:
            raise ValueError(f"expected {self.num_samples} samples in all, came {self.received + audio.shape[1]}")
        self.received, audio = self.received + audio.shape[1], audio.detach()
        while audio.shape[1]:
            room = self.window[:, self.held : self.held + audio.shape[1]]
            room.copy_(audio[:, : room.shape[1]])
            self.held, audio = self.held + room.shape[1], audio[:, room.shape[1] :]
            if self.held == self.window.shape[1]:
                self._count()
        while self.received == self.num_samples and self.frames < self.grid.num_frames:
            self.window[:, self.held :] = 0
            self._count()

    def _count(self) -> None:
        """Add the frames of the full window to their columns, and keep what the next window begins with."""
        hop, n_fft = self.grid.hop, self.grid.n_fft
        count, edge = min(FRAMES, self.grid.num_frames - self.frames), n_fft // 2 // hop
        power = stft_magnitude(self.window, n_fft, hop).square().mean(0)[:, edge : edge + FRAMES]
        pitches = self.pitches @ power
        pitches = pitches / (pitches.sum(0) + 10 ** (FLOOR_DB / 10))  # shares; silence has none
        features = torch.cat([decibels(self.mel @ power), pitches])
        samples = self.window[:, (n_fft - hop) // 2 :][:, : FRAMES * hop].unflatten(1, (FRAMES, hop))[:, :count]

        frames = torch.arange(self.frames, self.frames + count)
        column, feature = frames // self.grid.column, frames // self.grid.feature
        self.power.index_add_(1, column, (self.bands @ power)[:, :count].double())
        self.features.index_add_(1, feature, features[:, :count].double())
        self.squares.index_add_(0, column, samples.square().mean(0).sum(1).double())
        np.maximum.at(self.peak.numpy(), column.numpy(), samples.abs().amax((0, 2)).numpy())

        self.frames, self.held = self.frames + count, n_fft - hop
        self.window[:, : self.held] = self.window[:, -self.held :].clone()

    def shown(self) -> Shown:
        """What the picture shows. Raises ValueError before the last sample has come."""
        if self.received != self.num_samples:
            raise ValueError(f"the piece has {self.num_samples} samples, only {self.received} came: add them all, then draw")
        grid, hop_seconds = self.grid, self.grid.hop / self.sample_rate
        samples = parts(grid.num_frames, grid.column) * grid.hop
        samples[-1] -= grid.num_frames * grid.hop - self.num_samples
        return Shown(
            levels_db=decibels(self.power / parts(grid.num_frames, grid.column)),
            rms_db=decibels(self.squares / samples),
            peak_db=decibels(self.peak.square()),
            similarity=similarity(self.features / parts(grid.num_frames, grid.feature), grid.feature * hop_seconds),
            lowest_hz=LOWEST_HZ,
            highest_hz=highest_hz(self.sample_rate),
            column_seconds=grid.column * hop_seconds,
            feature_seconds=grid.feature * hop_seconds,
        )

    def draw(self) -> Figure:
        """The picture. Raises ValueError before the last sample has come."""
        facts = f"{clock(self.seconds)}  ·  {self.sample_rate / 1000:g} kHz"
        return draw(self.shown(), self.seconds, self.sections, self.title, facts)

    def save(self, path: str | Path) -> None:
        """Draw the piece to a PNG file, 1400 pixels wide, that appears under its name when it is whole.

        Raises ValueError before the last sample has come, OSError where the file cannot be written; then nothing is left.
        """
        save_png(self.draw(), path, dpi=100)


def decibels(power: Tensor) -> Tensor:
    return 10 * power.clamp(min=10 ** (FLOOR_DB / 10)).log10()


def parts(length: int, size: int) -> Tensor:
    """How many there are in each part when `length` things are cut into parts of `size`, the last one maybe smaller."""
    counts = torch.full((-(-length // size),), size)
    counts[-1] = length - size * (len(counts) - 1)
    return counts


def highest_hz(sample_rate: int) -> float:
    return min(HIGHEST_HZ, sample_rate / 2.1)


def log_filterbank(sample_rate: int, n_fft: int) -> Tensor:
    """Weights `(f, n_fft // 2 + 1)` of triangular bands, equally far apart in octaves, height 1, at least a bin to either side."""
    ratio = highest_hz(sample_rate) / LOWEST_HZ
    centres = LOWEST_HZ * ratio ** torch.linspace(0, 1, BANDS, dtype=torch.float64) * n_fft / sample_rate  # in bins
    reach = (centres * (centres[1] / centres[0] - 1)).clamp(min=1)
    distance = (torch.arange(n_fft // 2 + 1) - centres[:, None]).abs()
    return (1 - distance / reach[:, None]).clamp(min=0).float()


def similarity(features: Tensor, seconds: float) -> Tensor:
    """How alike the columns of mel levels in dB and chroma `(f, n)`, each `seconds` long, are: `(n, n)`, 1 on the diagonal.

    exp(-distance / 2) of MFCCs and square roots of chroma, smoothed, brought to deviation 1 or, where they hardly vary, less,
    and weighted so that 2 is about the distance between moments that have nothing in common.
    """
    import librosa
    from scipy.ndimage import gaussian_filter1d

    mel, chroma = features.numpy()[:MEL_BANDS], features.numpy()[MEL_BANDS:]
    vectors = np.concatenate([librosa.feature.mfcc(S=mel, n_mfcc=MFCCS), np.sqrt(chroma)])
    sigma = min(SMOOTH_SECONDS / seconds, vectors.shape[1] / 40)
    vectors = gaussian_filter1d(vectors, sigma, axis=1, mode="nearest")
    vectors = (vectors - vectors.mean(1, keepdims=True)) / np.maximum(vectors.std(1, keepdims=True), LEAST_SPREAD)
    vectors /= np.sqrt(np.array([MFCCS] * MFCCS + [12] * 12))[:, None]
    distance = librosa.segment.cross_similarity(vectors, vectors, mode="distance", full=True)
    return torch.from_numpy(np.exp(-distance / 2))
