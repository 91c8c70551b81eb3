"""A joint text–music encoder of our own: an audio tower over mel spectra beside a frozen text encoder, by contrast.

Both ends give unit vectors; of a batch, each clip's vector is to be nearer to its own caption's than to the others', and the
other way round (InfoNCE, van den Oord et al., arXiv 1807.03748; symmetric and with a learned temperature as in CLIP, arXiv
2103.00020, and MuLan, arXiv 2208.12415). Clips of a batch whose captions are equal all belong to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.conditioners.mel import LogMelConfig
from mousai.conditioners.text import TextConditioner, TextConfig
from mousai.networks.mel_tower import MelTower, MelTowerConfig
from mousai.types import Condition, ConditionShape

TEXT = "text"  # the vector of a pooled text, as it is cached
LARGEST_SCALE = math.log(100)  # of the cosines, as in CLIP
EQUAL = 1 - 1e-5  # cosine of the pooled states of one and the same text


@dataclass(frozen=True)
class ContrastiveConfig:
    """Both towers, and how the spectra of training clips are disturbed."""

    features: int = 256  # of the joint space
    mel: LogMelConfig = LogMelConfig()
    tower: MelTowerConfig = MelTowerConfig()
    text: TextConfig = TextConfig(max_length=48)
    text_features: int = 384  # of the text encoder's states
    hidden: int = 512  # of the layer between the text's pooled states and its vector
    clip_seconds: float = 10.0  # what is longer is heard in equal clips of at most this length, and their vectors averaged
    dropout: float = 0.1  # of the text's hidden layer
    tilt_db: float = 6.0  # largest gain of a random curve over the bands
    masked: float = 0.15  # largest part of the bands, and of the frames, that is silenced

    def __post_init__(self) -> None:
        if min(self.features, self.hidden) < 1 or not self.clip_seconds > 0:
            raise ValueError(f"expected features and hidden of 1 or more and clip_seconds above 0, came {self}")
        if self.tilt_db < 0 or not (0 <= self.masked < 1 and 0 <= self.dropout < 1):
            raise ValueError(f"expected tilt_db of 0 or more, masked and dropout from 0 to below 1, came {self}")


class PooledText:
    """Texts to the mean of their states, as a condition's vector `text`: what is cached of captions, and what the text's end begins with."""

    def __init__(self, config: TextConfig) -> None:
        self.text = TextConditioner(config)
        self.gives = ConditionShape(vectors={TEXT: self.text.gives.tokens})

    def to(self, device: torch.device | str) -> PooledText:
        self.text.to(device)
        return self

    def encode(self, texts: list[str]) -> Condition:
        condition = self.text.encode(texts)
        real = condition.mask[..., None]
        return Condition(vectors={TEXT: (condition.tokens * real).sum(1) / real.sum(1)})


class Contrastive(nn.Module):
    """The trained part of both ends; the text encoder's own weights are not in it."""

    def __init__(self, config: ContrastiveConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.mel.bands  # of what it is trained on
        self.accepts = ConditionShape(vectors={TEXT: config.text_features})
        self.tower = MelTower(config.tower, config.mel.bands, config.features)
        self.enter, self.leave = nn.Linear(config.text_features, config.hidden), nn.Linear(config.hidden, config.features)
        self.past = nn.Linear(config.text_features, config.features, bias=False)  # beside the hidden layer
        self.dropout = nn.Dropout(config.dropout)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # logarithm of what cosines are multiplied by

    def of_mel(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """Unit vectors `(b, features)` of spectra `(b, bands, l)`, of which the first `frames (b,)` are real."""
        return F.normalize(self.tower(mel, frames), dim=-1)

    def of_pooled(self, pooled: Tensor) -> Tensor:
        """Unit vectors `(b, features)` of pooled texts `(b, text_features)`."""
        pooled = F.layer_norm(pooled, pooled.shape[-1:])
        return F.normalize(self.past(pooled) + self.leave(self.dropout(F.gelu(self.enter(pooled)))), dim=-1)

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The contrast of a batch of spectra `(b, bands, l)` with their pooled texts; in training the spectra are disturbed, by `generator`."""
        pooled = condition.vectors[TEXT]
        mel = disturbed(latents, self.config, generator) if self.training else latents
        loss, hits = contrast(self.of_mel(mel, frames), self.of_pooled(pooled), alike(pooled), self.scale.clamp(max=LARGEST_SCALE).exp())
        return loss, {"contrast": loss.detach(), "hits": hits}


def alike(pooled: Tensor) -> Tensor:
    """Which texts of a batch `(b, e)` are the same, `(b, b)` boolean."""
    unit = F.normalize(pooled.float(), dim=-1)
    return unit @ unit.T > EQUAL


def contrast(audio: Tensor, text: Tensor, same: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """The symmetric InfoNCE of unit vectors `(b, e)`, and how often the nearest text is a clip's own.

    `same (b, b)` says which texts belong to which clips: each of a row's counts alike.
    """
    logits = scale * audio @ text.T
    targets = same / same.sum(1, keepdim=True)
    loss = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    return loss, same.gather(1, logits.argmax(1, keepdim=True)).float().mean().detach()


def disturbed(mel: Tensor, config: ContrastiveConfig, generator: torch.Generator) -> Tensor:
    """Spectra as another recording of the same music might have them: other tone controls, bands and frames that are not heard."""
    b, bands, length = mel.shape
    curve = F.interpolate(2 * torch.rand(b, 1, 5, generator=generator) - 1, bands, mode="linear", align_corners=True)
    mel = mel + config.tilt_db * curve.transpose(1, 2).to(mel)
    floor = mel.amin((1, 2), keepdim=True)
    for axis, size in ((1, bands), (2, length)):
        width = (config.masked * size * torch.rand(b, generator=generator)).long()
        first = (torch.rand(b, generator=generator) * (size - width)).long()
        place = torch.arange(size)
        hidden = (place >= first[:, None]) & (place < (first + width)[:, None])
        mel = torch.where(hidden.unsqueeze(3 - axis).to(mel.device), floor, mel)
    return mel
