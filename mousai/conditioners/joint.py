"""Joint text–music embeddings: texts and recordings as unit vectors of one space, near where they belong together.

Three families give such a space: our own (contrastive.py, a model folder or the shipped "starter_joint"), MuQ-MuLan
(mulan.py, arXiv 2501.01108) and CLAP (clap.py, arXiv 2211.06687). A recording is heard in mono at the family's rate, in equal
clips of at most so many seconds; their vectors are averaged and brought back to unit length.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from mousai.audio.level import at_rms
from mousai.audio.remix import remix
from mousai.types import Condition, ConditionShape

VECTOR = "music"  # the name of a joint vector in a condition
STARTER = "starter_joint"
FAMILIES = {"mousai": "own", "mulan": "mulan", "clap": "clap"}  # module of this package, which has `load(config)` and `licence_of(config)`
LEAST_SECONDS = 0.2  # that are heard; what is shorter is repeated


@dataclass(frozen=True)
class JointConfig:
    """Whose space."""

    name: str = STARTER  # a shipped name or a folder; of mulan and clap a Hugging Face name too
    family: Literal["mousai", "mulan", "clap"] = "mousai"
    revision: str | None = None  # a commit or tag of a Hugging Face name

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("name: expected a folder or the name of a joint encoder, came an empty text")
        if self.revision is not None and self.family == "mousai":
            raise ValueError("revision: belongs to a Hugging Face name; leave it away")

    def __str__(self) -> str:
        return self.name if self.family == "mousai" else f"{self.family} {self.name}"


class Encoder(Protocol):
    """What a family gives: both ends of its space, frozen."""

    features: int
    sample_rate: int  # of what it hears, mono
    clip_seconds: float  # the longest that it hears at once
    whole_clips: bool  # it hears clips of exactly that length: the last one goes on with the recording's beginning
    rms: float | None  # that it wants to hear a recording at; None = as it comes
    fingerprint: str  # names the space: vectors of two encoders of one fingerprint may be compared

    def to(self, device: torch.device | str) -> Encoder:
        """Moves it."""

    def of_texts(self, texts: list[str]) -> Tensor:
        """Vectors `(b, features)`."""

    def of_clips(self, audio: Tensor) -> Tensor:
        """Vectors `(b, features)` of mono audio `(b, s)`, no longer than a clip."""


class Joint:
    """A joint space: unit vectors float32 on the device it was moved to."""

    channels = 1

    def __init__(self, config: JointConfig) -> None:
        """Loads the encoder; FileNotFoundError, ImportError or ValueError says what is missing or wrong."""
        self.config, self.device = config, torch.device("cpu")
        self.encoder: Encoder = family_of(config).load(config)
        self.features, self.sample_rate = self.encoder.features, self.encoder.sample_rate
        self.clip_samples = round(self.encoder.clip_seconds * self.sample_rate)

    @property
    def space(self) -> str:
        """The fingerprint of the space."""
        return self.encoder.fingerprint

    def to(self, device: torch.device | str) -> Joint:
        self.device = torch.device(device)
        self.encoder.to(self.device)
        return self

    @torch.no_grad()
    def texts(self, texts: list[str]) -> Tensor:
        """Unit vectors `(b, e)` of texts."""
        with torch.autocast(self.device.type, enabled=False):
            return self._unit(self.encoder.of_texts(list(texts)), "a text")

    @torch.no_grad()
    def clips(self, audio: Tensor) -> Tensor:
        """Unit vectors `(b, n, e)` of the n clips of audio `(b, c, s)` at its `sample_rate`."""
        audio = audio.to(self.device, torch.float32)
        if self.encoder.rms is not None:
            audio = at_rms(audio, self.encoder.rms)
        with torch.autocast(self.device.type, enabled=False):
            found = [self.encoder.of_clips(clip) for clip in self._cut(remix(audio, 1)[:, 0])]
        return self._unit(torch.stack(found, dim=1), "a recording")

    def _cut(self, mono: Tensor) -> list[Tensor]:
        """The clips of audio `(b, s)`."""
        least = self.clip_samples if self.encoder.whole_clips else math.ceil(LEAST_SECONDS * self.sample_rate)
        mono = mono.repeat(1, max(1, math.ceil(least / max(1, mono.shape[-1])))) if mono.shape[-1] < least else mono
        count = math.ceil(mono.shape[-1] / self.clip_samples)
        if self.encoder.whole_clips:
            return list(torch.cat([mono, mono], dim=-1)[:, : count * self.clip_samples].split(self.clip_samples, dim=-1))
        edges = [mono.shape[-1] * i // count for i in range(count + 1)]
        return [mono[:, begin:end] for begin, end in zip(edges, edges[1:])]

    def audio(self, audio: Tensor) -> Tensor:
        """Unit vectors `(b, e)` of audio `(b, c, s)` at its `sample_rate`: the mean of its clips', brought back to unit length."""
        return F.normalize(self.clips(audio).mean(1), dim=-1)

    def _unit(self, vectors: Tensor, what: str) -> Tensor:
        if not bool(vectors.isfinite().all()):
            raise ValueError(f"{self.config}: the vector of {what} is no number; its weights, or what it heard, are damaged")
        return F.normalize(vectors.float(), dim=-1)


class JointConditioner:
    """Texts to a condition's vector `music`, a point of the joint space; and recordings, for what a generator is trained on."""

    def __init__(self, config: JointConfig) -> None:
        self.config, self.joint = config, Joint(config)
        self.gives = ConditionShape(vectors={VECTOR: self.joint.features})

    @staticmethod
    def licence_of(config: JointConfig) -> str | None:
        """That of the space's weights, as far as it is known."""
        return family_of(config).licence_of(config)

    def to(self, device: torch.device | str) -> JointConditioner:
        self.joint.to(device)
        return self

    def encode(self, texts: list[str]) -> Condition:
        """Where texts lie in the space."""
        return Condition(vectors={VECTOR: self.joint.texts(texts)})

    def of_audio(self, audio: Tensor, sample_rate: int) -> dict[str, Tensor]:
        """The parts of a condition `(b, e)` that recordings `(b, c, s)` themselves say."""
        return {f"vectors.{VECTOR}": self.joint.audio(resampled(audio, sample_rate, self.joint.sample_rate))}


def family_of(config: JointConfig):
    """The module of a family: `load(config)` gives its `Encoder`, `licence_of(config)` its licence; the import of what it needs comes later."""
    return importlib.import_module(f"mousai.conditioners.{FAMILIES[config.family]}")


def resampled(audio: Tensor, sample_rate: int, wanted: int) -> Tensor:
    """Audio `(..., s)` at another rate."""
    if sample_rate == wanted:
        return audio
    from torchaudio.functional import resample

    return resample(audio.float(), sample_rate, wanted)
