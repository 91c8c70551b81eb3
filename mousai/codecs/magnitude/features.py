"""What the magnitude codec keeps of sound: log magnitudes of a long window for tones, band levels of a short one for attacks.

Both belong to latent-rate frames centred at (i + 1/2) * hop. Features are laid out along one axis, first the slow path of
every channel (`rows` a channel, lowest frequency first), then the fast path (`bands * sub` a channel, band by band).
Logarithms are natural; two channels are taken as mid and side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mousai.audio.spectral import mel_filterbank
from mousai.networks.transforms import mid_side


@dataclass(frozen=True)
class FeatureConfig:
    n_fft: int = 4096  # window of the slow path, in samples
    hop: int = 1024  # samples a frame
    groups: tuple[tuple[int, int], ...] = ((512, 1), (128, 4), (64, 16))  # (rows, bins a row), from 0 Hz on
    magnitude_floor: float = 1e-3  # of the unscaled STFT, for audio of rms 0.1
    fast_n_fft: int = 1024
    fast_hop: int = 256
    bands: int = 20  # mel bands of the fast path
    power_floor: float = 1e-7  # of the mean power in a band

    def __post_init__(self) -> None:
        if sum(rows * size for rows, size in self.groups) != self.n_fft // 2 or self.groups[0][1] != 1:
            raise ValueError(f"groups: expected n_fft / 2 = {self.n_fft // 2} bins in all, the first ones singly; came {self.groups}")
        if self.hop % self.fast_hop or self.n_fft % 2 or self.fast_n_fft % 2 or self.bands < 1:
            raise ValueError(f"expected even windows, fast_hop a divisor of hop and at least one band, came {self}")
        for n_fft, hop in ((self.n_fft, self.hop), (self.fast_n_fft, self.fast_hop)):
            if n_fft % hop or n_fft < 2 * hop:
                raise ValueError(f"expected windows of two hops or more whole ones, came {n_fft} and {hop}")
        if not (self.magnitude_floor > 0 and self.power_floor > 0):
            raise ValueError(f"expected floors above 0, came {self.magnitude_floor} and {self.power_floor}")

    @property
    def rows(self) -> int:
        """Rows of the slow path a channel."""
        return sum(rows for rows, _ in self.groups)

    @property
    def single(self) -> int:
        """The lowest rows, which are one bin each."""
        return self.groups[0][0]

    @property
    def sub(self) -> int:
        """Frames of the fast path a frame."""
        return self.hop // self.fast_hop

    @property
    def per_channel(self) -> int:
        return self.rows + self.bands * self.sub


class Features(nn.Module):
    """Audio `(b, c, s)` to features `(b, c * per_channel, s / hop)` and the parts of those."""

    def __init__(self, config: FeatureConfig, channels: int, sample_rate: int) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        filters = mel_filterbank(sample_rate, config.fast_n_fft, config.bands)
        if bool((filters.sum(1) == 0).any()):
            raise ValueError(f"bands: {config.bands} are too many for fast_n_fft {config.fast_n_fft}: one has no bin")
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("fast_window", torch.hann_window(config.fast_n_fft), persistent=False)
        self.register_buffer("filters", filters / filters.sum(1, keepdim=True), persistent=False)  # mean power in a band
        self.register_buffer("spread", filters / filters.sum(0).clamp(min=1e-6), persistent=False)  # bands to bins

    @property
    def width(self) -> int:
        return self.channels * self.config.per_channel

    def forward(self, audio: Tensor) -> Tensor:
        """Features of audio whose length is a multiple of hop; what lies around it counts as silence."""
        config, items = self.config, len(audio)
        with torch.autocast(audio.device.type, enabled=False):
            x = mid_side(audio.float()).flatten(0, 1)
            slow = self.grouped(stft(x, config.n_fft, config.hop, self.window).abs().clamp(min=config.magnitude_floor).log())
            fast = self.band_levels(stft(x, config.fast_n_fft, config.fast_hop, self.fast_window))
        fast = fast.unflatten(2, (-1, config.sub)).transpose(2, 3).flatten(1, 2)  # (b c, bands, l sub) -> (b c, bands sub, l)
        return torch.cat([part.unflatten(0, (items, -1)).flatten(1, 2) for part in (slow, fast)], dim=1)

    def grouped(self, log_magnitude: Tensor) -> Tensor:
        """Rows `(..., rows, l)` of `(..., n_fft // 2 + 1, l)`: the mean over the bins of each."""
        parts, first = [], 0
        for rows, size in self.config.groups:
            parts.append(log_magnitude[..., first : first + rows * size, :].unflatten(-2, (rows, size)).mean(-2))
            first += rows * size
        return torch.cat(parts, dim=-2)

    def ungrouped(self, slow: Tensor) -> Tensor:
        """Log magnitudes `(..., n_fft // 2 + 1, l)` of rows `(..., rows, l)`; bins of a row are alike."""
        parts = slow.split([rows for rows, _ in self.config.groups], dim=-2)
        bins = [part.repeat_interleave(size, -2) for part, (_, size) in zip(parts, self.config.groups, strict=True)]
        return torch.cat([*bins, bins[-1][..., -1:, :]], dim=-2)

    def band_levels(self, spectrum: Tensor) -> Tensor:
        """Log root mean power `(..., bands, l)` in the bands of a fast spectrum."""
        return 0.5 * (self.filters @ power(spectrum)).clamp(min=self.config.power_floor).log()

    def slow(self, features: Tensor) -> Tensor:
        """The slow path `(b, c, rows, l)` of features."""
        return features[:, : self.channels * self.config.rows].unflatten(1, (self.channels, -1))

    def fast(self, features: Tensor) -> Tensor:
        """The fast path `(b, c, bands, l * sub)` of features, in its own frames."""
        part = features[:, self.channels * self.config.rows :]
        return part.unflatten(1, (self.channels, self.config.bands, self.config.sub)).transpose(3, 4).flatten(3)


def stft(x: Tensor, n_fft: int, hop: int, window: Tensor) -> Tensor:
    """The complex STFT `(b, n_fft // 2 + 1, s / hop)` of `(b, s)`, frame i centred at (i + 1/2) * hop, silence around."""
    edge = (n_fft - hop) // 2
    frames = nn.functional.pad(x, (edge, n_fft - hop - edge)).unfold(-1, n_fft, hop)
    return torch.fft.rfft(frames * window).transpose(1, 2)


def power(spectrum: Tensor) -> Tensor:
    """The squared magnitude, in a fraction of the time that the magnitude takes."""
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)


def istft(spectrum: Tensor, n_fft: int, hop: int, window: Tensor) -> Tensor:
    """Audio `(b, l * hop)` whose `stft` comes nearest to `spectrum (b, n_fft // 2 + 1, l)` (Griffin and Lim 1984, equation 6)."""
    frames = torch.fft.irfft(spectrum.transpose(1, 2), n_fft) * window
    length, edge = frames.shape[1] * hop, (n_fft - hop) // 2
    audio = overlap_add(frames, hop)[..., edge : edge + length]
    power = overlap_add((window * window).expand(1, frames.shape[1], -1), hop)[..., edge : edge + length]
    return audio / power.clamp(min=1e-3)


def overlap_add(frames: Tensor, hop: int) -> Tensor:
    """The sum `(b, (l - 1) * hop + n)` of frames `(b, l, n)` that begin `hop` apart, a divisor of n."""
    b, length, n = frames.shape
    hops = frames.reshape(b, length, n // hop, hop)
    total = frames.new_zeros(b, length + n // hop - 1, hop)
    for place in range(n // hop):
        total[:, place : place + length] += hops[:, :, place]
    return total.flatten(1)
