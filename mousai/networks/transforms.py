"""Invertible maps between a waveform and the frames that a 1D U-Net works on.

`LearnedTransform` is Moûsai's pair of learned filter banks (Schneider et al., arXiv 2301.11757, section 3.2;
the `LTPlugin` of audio-diffusion-pytorch). `MDCT` is the fixed orthonormal lapped transform of Princen, Johnson and
Bradley (ICASSP 1987) with a sine window, on the sum and the difference of the two channels.

Both give frames `(b, channels * bands, l)`, one frame for every `hop` samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class TransformConfig:
    type: Literal["learned", "mdct"] = "learned"
    bands: int = 128  # filters of the learned transform, or MDCT bands, a channel
    window_length: int = 64  # samples; the learned transform only (the MDCT's is twice its bands)
    stride: int = 64  # samples; the learned transform only (the MDCT's is its bands)

    def __post_init__(self) -> None:
        if min(self.bands, self.window_length, self.stride) < 1:
            raise ValueError(f"bands, window_length and stride are at least 1; got {self}")

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.bands if self.type == "mdct" else self.stride


class LearnedTransform(nn.Module):
    """Moûsai's learned analysis and synthesis filters, one strided convolution each way."""

    def __init__(self, config: TransformConfig, channels: int) -> None:
        super().__init__()
        padding = config.window_length // 2 - config.stride // 2
        shape = {"kernel_size": config.window_length, "stride": config.stride, "padding": padding, "bias": False}
        self.features = channels * config.bands
        self.analysis_filters = nn.Conv1d(channels, self.features, padding_mode="reflect", **shape)
        self.synthesis_filters = nn.ConvTranspose1d(self.features, channels, **shape)

    def analysis(self, audio: Tensor) -> Tensor:
        """Frames `(b, channels * bands, s / stride)` of audio `(b, c, s)`."""
        return self.analysis_filters(audio)

    def synthesis(self, frames: Tensor) -> Tensor:
        """Audio `(b, c, l * stride)` of frames `(b, channels * bands, l)`."""
        return self.synthesis_filters(frames)


class MDCT(nn.Module):
    """Orthonormal MDCT with `n` bands (hop n, window 2n); stereo goes through as (left ± right) / sqrt(2).

    X[k] = sqrt(2/n) Σ_j w[j] x[j] cos(π/n (j + 1/2 + n/2)(k + 1/2)),  w[j] = sin(π (j + 1/2) / 2n).

    Audio of l·n samples is taken as silent on both sides, so that l + 1 frames give it back exactly.
    """

    def __init__(self, config: TransformConfig, channels: int) -> None:
        super().__init__()
        n = config.bands
        self.bands, self.channels, self.features = n, channels, channels * n
        j, k = torch.arange(2 * n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)
        window = torch.sin(math.pi * (j + 0.5) / (2 * n))
        basis = math.sqrt(2 / n) * torch.cos(math.pi / n * (j + 0.5 + n / 2) * (k[:, None] + 0.5)) * window
        self.register_buffer("basis", basis.float(), persistent=False)  # (n, 2n)

    def analysis(self, audio: Tensor) -> Tensor:
        """Frames `(b, c * n, s / n + 1)` of audio `(b, c, s)`, s a multiple of n."""
        padded = F.pad(mid_side(audio.float()), (self.bands, self.bands))
        with torch.autocast(audio.device.type, enabled=False):  # bf16 would leave noise 48 dB below the loudest band
            frames = padded.unfold(-1, 2 * self.bands, self.bands) @ self.basis.float().T  # (b, c, l, n)
        return rearrange(frames, "b c l n -> b (c n) l")

    def synthesis(self, frames: Tensor) -> Tensor:
        """Audio `(b, c, (l - 1) * n)` of frames `(b, c * n, l)`, the inverse of `analysis`."""
        with torch.autocast(frames.device.type, enabled=False):
            blocks = rearrange(frames.float(), "b (c n) l -> b c l n", c=self.channels) @ self.basis.float()  # (b, c, l, 2n)
        first, second = blocks.chunk(2, dim=-1)
        audio = first[:, :, 1:] + second[:, :, :-1]  # time-domain aliasing cancels in the sum of neighbours
        return mid_side(rearrange(audio, "b c l n -> b c (l n)"))


def mid_side(audio: Tensor) -> Tensor:
    """Sum and difference of two channels over sqrt(2), its own inverse; other channel counts pass unchanged."""
    if audio.shape[1] != 2:
        return audio
    left, right = audio.unbind(1)
    return torch.stack([left + right, left - right], dim=1) * math.sqrt(0.5)


def build_transform(config: TransformConfig, channels: int) -> LearnedTransform | MDCT:
    """The transform that `config` names, for audio of `channels` channels."""
    return (MDCT if config.type == "mdct" else LearnedTransform)(config, channels)
