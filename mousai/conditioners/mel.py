"""What the audio tower of our own joint encoder hears: log-mel spectra of mono audio, cached as a codec's latents are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mousai.audio.spectral import log_mel


@dataclass(frozen=True)
class LogMelConfig:
    sample_rate: int = 24000
    n_fft: int = 1024
    hop: int = 480
    bands: int = 80

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.n_fft, self.hop, self.bands) < 1 or self.hop > self.n_fft:
            raise ValueError(f"expected sample_rate, n_fft, hop and bands of 1 or more, and hop <= n_fft, came {self}")


class LogMel:
    """Audio `(b, 1, s)` to decibels in mel bands `(b, bands, ceil(s / hop))`; of a codec it has what a cache asks for."""

    channels = 1

    def __init__(self, config: LogMelConfig) -> None:
        self.config = config
        self.sample_rate, self.hop, self.latent_channels = config.sample_rate, config.hop, config.bands

    @property
    def fingerprint(self) -> str:
        """What its spectra follow from."""
        c = self.config
        return f"log_mel {c.sample_rate} {c.n_fft} {c.hop} {c.bands}"

    def encode(self, audio: Tensor) -> Tensor:
        c = self.config
        mel = log_mel(audio[:, 0].float(), c.sample_rate, c.bands, c.n_fft, c.hop)
        return mel[..., : -(-audio.shape[-1] // c.hop)]

    def to(self, device: torch.device | str) -> LogMel:
        return self
