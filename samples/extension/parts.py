"""A codec, a conditioner and a generator of one's own, each as small as it can be: docs/extending.md goes through them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from mousai.codecs.windowed import WindowedCodec
from mousai.diffusion.guidance import guided
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import PLAIN, sample_latents
from mousai.types import Callback, Condition, ConditionShape, RowPredict, SamplingSettings


@dataclass(frozen=True)
class BlocksConfig:
    """A cosine transform of blocks of samples."""

    hop: int = 256
    kept: int = 16  # coefficients of a block and channel, the lowest ones


class Blocks(WindowedCodec):
    """The lowest cosine coefficients of each block, at unit variance: a linear codec that draws nothing."""

    def __init__(self, config: BlocksConfig) -> None:
        super().__init__()
        self.sample_rate, self.channels, self.hop = 48000, 2, config.hop
        self.latent_channels = 2 * config.kept
        self.default_steps, self.stride_frames, self.context_frames, self.dtype = 0, 256, 0, torch.float32
        frame, band = torch.arange(config.hop), torch.arange(config.kept)
        basis = torch.cos(math.pi / config.hop * (frame + 0.5) * band[:, None]) * math.sqrt(2 / config.hop)
        self.register_buffer("basis", basis / torch.where(band == 0, math.sqrt(2.0), 1.0)[:, None])  # (kept, hop)
        self.register_buffer("deviation", torch.ones(self.latent_channels, 1))
        self.gain = nn.Parameter(torch.ones(self.latent_channels, 1))

    def set_precision(self, dtype: torch.dtype) -> None:
        """Nothing here is worth less precision."""

    def encode_window(self, audio: Tensor) -> Tensor:
        blocks = rearrange(audio, "b c (l h) -> b c l h", h=self.hop)
        return rearrange(blocks @ self.basis.T, "b c l k -> b (c k) l") / self.deviation

    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        blocks = [rearrange(window * self.deviation * self.gain, "b (c k) l -> b c l k", c=2) @ self.basis for window in windows]
        return [rearrange(block, "b c l h -> b c (l h)") for block in blocks]

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        (decoded,) = self.decode_windows([self.encode_window(audio)], [0], [0], 0, lambda done, total: None)
        return (decoded - audio).square().mean(), {}

    @torch.no_grad()
    def calibrate(self, batches: Sequence[Tensor]) -> None:
        """The spread of the latents over training audio; called once, before the weights are written."""
        latents = torch.cat([rearrange(self.encode_window(audio), "b d l -> d (b l)") for audio in batches], dim=1)
        self.deviation *= latents.std(1, keepdim=True).clamp(min=1e-4)


@dataclass(frozen=True)
class WordsConfig:
    """A vector for a text: the mean of one for each of its words."""

    features: int = 16


class Words:
    """Each word is a point on a sphere that its letters alone decide; nothing is learned, nothing is loaded."""

    def __init__(self, config: WordsConfig) -> None:
        self.config, self.device = config, torch.device("cpu")
        self.gives = ConditionShape(vectors={"words": config.features})

    @staticmethod
    def licence_of(config: WordsConfig) -> str:
        return "MIT"

    def to(self, device: torch.device | str) -> Words:
        self.device = torch.device(device)
        return self

    def encode(self, texts: list[str]) -> Condition:
        means = [torch.stack([self._word(word) for word in text.lower().split() or [""]]).mean(0) for text in texts]
        return Condition(vectors={"words": torch.stack(means).to(self.device)})

    def _word(self, word: str) -> Tensor:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little")
        return nn.functional.normalize(torch.randn(self.config.features, generator=torch.Generator().manual_seed(seed)), dim=0)


@dataclass(frozen=True)
class WaysConfig:
    """A flow over latents, told a vector of words."""

    latent_channels: int = 32
    features: int = 16
    width: int = 64
    drop: float = 0.1  # probability of "no condition" in training


class Ways(nn.Module):
    """A velocity for each latent frame from itself, its neighbours, the time and the words: straight-path flow matching."""

    process, samplers, frame_multiple, dtype = PROCESSES["flow"], tuple(SAMPLERS), 1, torch.float32

    def __init__(self, config: WaysConfig) -> None:
        super().__init__()
        self.config, self.latent_channels = config, config.latent_channels
        self.accepts = ConditionShape(vectors={"words": config.features})
        self.sampling = SamplingSettings(steps=8, sampler="midpoint", guidance=2.0).over(PLAIN)
        self.null = nn.Parameter(torch.zeros(config.features))
        self.told = nn.Linear(config.features + 1, config.width)
        self.heard = nn.Conv1d(config.latent_channels, config.width, 5, padding=2)
        self.out = nn.Conv1d(config.width, config.latent_channels, 1)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Nothing here is worth less precision."""

    def velocity(self, x: Tensor, t: Tensor, words: Tensor) -> Tensor:
        """dx/dt `(b, d, l)` at `t (b,)` for vectors `(b, e)`."""
        told = self.told(torch.cat([words, t[:, None].to(words)], dim=1))
        return self.out(torch.tanh(self.heard(x) + told[:, :, None])) + x

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        b = len(latents)
        t, noise = torch.rand(b, generator=generator).to(latents), torch.randn(latents.shape, generator=generator).to(latents)
        dropped = (torch.rand(b, generator=generator) < self.config.drop).to(latents.device)[:, None]
        words = torch.where(dropped, self.null, condition.vectors["words"])
        error = self.velocity(self.process.add_noise(latents, noise, t), t, words) - self.process.target(latents, noise, t)
        real = torch.arange(latents.shape[-1], device=latents.device) < (latents.shape[-1] if frames is None else frames.to(latents.device)[:, None])
        weight = real.expand(b, -1)[:, None].to(latents)  # (b, 1, l): what is behind an item's frames is padding
        return (error.square() * weight).sum() / (weight.sum() * self.latent_channels), {}

    def sample(self, condition: Condition, num_frames: int, **how) -> Tensor:
        return sample_latents(self, condition, num_frames, device=self.null.device, **how)

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        words = torch.stack([self.null if each is None else each.vectors["words"][0].to(self.null) for each in conditions])
        rows = lambda x, t, which, first: self.velocity(x, t.to(x), words[which.to(x.device)])  # noqa: E731
        return guided(self.process, rows, settings.over(self.sampling))
